"""F-scores of audio-visual video parsing: 18 columns, their support-only versions, and two trivial parsers.

Columns: A, Ao, V, Vo, AV, Type@AV, Type@AVo, Event@AV, Event@AVo, at segment and event level (Tian et al., ECCV
2020; those with "o": CoLeaF, ECCV 2024, eq. 14-15). TP, FP and FN are counted per video and class. A video's score is
the mean F over its classes with any TP, FP or FN, and 1 without such a class; a column is the mean over videos.
Support-only columns average over the videos with such a class. Shape letters: see `protocol.py`; N videos.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from coleaf_framework.metrics.events import list_runs, run_starts, split_types

LEVELS = ("segment", "event")
COLUMNS = ("A", "Ao", "V", "Vo", "AV", "Type@AV", "Type@AVo", "Event@AV", "Event@AVo")
KEYS = tuple(f"{level}/{column}" for level in LEVELS for column in COLUMNS)
SUPPORT = "support/"
ALL_KEYS = (*KEYS, *(SUPPORT + key for key in KEYS))
_MEASURED = ("A", "V", "Ao", "Vo", "AV", "Event@AV", "Event@AVo")
_TYPE_MEANS = {"Type@AV": ("A", "V", "AV"), "Type@AVo": ("Ao", "Vo", "AV")}


def segment_counts(predicted: Tensor, true: Tensor) -> Tensor:
    """TP, FP and FN of segments: two (K,T,C) bool -> (3,K,C) integer."""
    return torch.stack([(predicted & true).sum(1), (predicted & ~true).sum(1), (~predicted & true).sum(1)])


def event_counts(predicted: Tensor, true: Tensor) -> Tensor:
    """TP, FP and FN of events: two (K,T,C) bool -> (3,K,C) integer.

    A predicted event is a TP if it has IoU >= 0.5 with a true event of its class, else an FP. A true event without such
    a predicted event is an FN.

    Args:
        predicted: (K,T,C) bool.
        true: (K,T,C) bool.

    Returns:
        (3,K,C) int64.
    """
    predicted, true = predicted.mT, true.mT  # (K,C,T)
    p_runs, t_runs = run_starts(predicted).sum(-1), run_starts(true).sum(-1)
    counts = torch.stack([torch.zeros_like(p_runs), p_runs, t_runs])
    both = (p_runs > 0) & (t_runs > 0)  # only these rows can match, and they are few
    ps, pe, p_there = list_runs(predicted[both])  # (R,P), and (R,Q) of the true ones
    ts, te, t_there = list_runs(true[both])
    first, last = torch.maximum(ps[:, :, None], ts[:, None, :]), torch.minimum(pe[:, :, None], te[:, None, :])
    overlap = (last - first).clamp(min=0)
    union = (pe - ps)[:, :, None] + (te - ts)[:, None, :] - overlap
    match = p_there[:, :, None] & t_there[:, None, :] & (2 * overlap >= union)
    hits = match.any(2).sum(-1)
    counts[0, both] = hits
    counts[1, both] -= hits
    counts[2, both] -= match.any(1).sum(-1)
    return counts


def _video_scores(counts: Tensor) -> tuple[Tensor, Tensor]:
    """(3,N,C) counts -> F of each video, (N,) float64, and whether it has any support, (N,) bool."""
    tp, fp, fn = counts.double()
    any_ = (tp + fp + fn) > 0
    f = torch.where(any_, 2 * tp / (2 * tp + fp + fn).clamp(min=1), 0.0)
    supported = any_.any(1)
    return torch.where(supported, f.sum(1) / any_.sum(1).clamp(min=1), 1.0), supported


def _check(predictions: Tensor, ground_truth: Tensor) -> None:
    for name, x in (("predictions", predictions), ("ground_truth", ground_truth)):
        if x.dtype != torch.bool or x.ndim != 4 or x.shape[2] != 2:
            raise ValueError(f"{name} must be bool (N,T,M=2,C), got {x.dtype} {tuple(x.shape)}")
    if predictions.shape != ground_truth.shape:
        raise ValueError(
            f"predictions {tuple(predictions.shape)} and ground_truth {tuple(ground_truth.shape)} differ in shape"
        )


def video_scores(predictions: Tensor, ground_truth: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of each video, from which `columns` computes all columns.

    The 14 rows are the columns A, V, Ao, Vo, AV, Event@AV and Event@AVo, at segment and then at event level.

    Args:
        predictions: (N,T,M,C) bool.
        ground_truth: (N,T,M,C) bool.

    Returns:
        F (14,N) float64 in [0,1], and support (14,N) bool. Support is False where a video has neither an event of the
        column's type nor a prediction of one; F is 1 there.
    """
    _check(predictions, ground_truth)
    types = zip(split_types(predictions), split_types(ground_truth), strict=True)
    p, t = (torch.cat(xs).transpose(1, 2) for xs in zip(*((p.mT, t.mT) for p, t in types), strict=True))
    n, rows = len(predictions), []
    for count in (segment_counts, event_counts):
        audible, visible, audible_only, visible_only, both = torch.split(count(p, t), n, dim=1)
        pooled = (audible + visible, audible_only + visible_only)
        rows += [_video_scores(c) for c in (audible, visible, audible_only, visible_only, both, *pooled)]
    f, supported = (torch.stack(x) for x in zip(*rows, strict=True))
    return f, supported


def columns(f: Tensor, supported_f: Tensor) -> Tensor:
    """All columns in percent, from the mean scores of `video_scores`.

    Args:
        f: (...,14) in [0,1], the mean F over all videos.
        supported_f: (...,14) in [0,1], the mean F over the videos with support; NaN where there are none.

    Returns:
        (...,36), in the order of `ALL_KEYS`.
    """
    by_level = torch.stack([f, supported_f], dim=-2).unflatten(-1, (len(LEVELS), -1))  # type: ignore[no-untyped-call]
    measured = dict(zip(_MEASURED, (100 * by_level).unbind(-1), strict=True))
    for mean, parts in _TYPE_MEANS.items():
        measured[mean] = torch.stack([measured[part] for part in parts]).nanmean(0)
    return torch.stack([measured[column] for column in COLUMNS], dim=-1).flatten(-3)


def _finish(sums: Tensor, supported_sums: Tensor, supports: Tensor, videos: Tensor | int) -> dict[str, float]:
    values = columns(sums / videos, supported_sums / supports)  # 0 / 0 is NaN: no video with support
    return dict(zip(ALL_KEYS, values.tolist(), strict=True))


def _sums(predictions: Tensor, ground_truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    f, supported = video_scores(predictions, ground_truth)
    return f.sum(1), (f * supported).sum(1), supported.sum(1).double()


def parsing_scores(predictions: Tensor, ground_truth: Tensor) -> dict[str, float]:
    """The 18 published columns in percent, from "segment/A" to "event/Event@AVo".

    Args:
        predictions: (N,T,M,C) bool, N at least 1.
        ground_truth: (N,T,M,C) bool.

    Returns:
        Column -> percent in [0,100], in the order of `KEYS`.

    Raises:
        ValueError: another shape or dtype, or no video.

    Example:
        >>> truth = torch.zeros(1, 10, 2, 1, dtype=torch.bool)
        >>> truth[0, :4, 0] = True  # heard from 0 to 4 s
        >>> prediction = truth.clone()
        >>> prediction[0, 3, 0] = False  # one of four segments is missed
        >>> scores = parsing_scores(prediction, truth)
        >>> round(scores["segment/A"], 1), scores["event/A"]  # 6 / 7; IoU 0.75
        (85.7, 100.0)
    """
    scores = all_scores(predictions, ground_truth)
    return {key: scores[key] for key in KEYS}


def support_only_scores(predictions: Tensor, ground_truth: Tensor) -> dict[str, float]:
    """The 18 columns over the videos with support; see `ParsingScores`.

    Args:
        predictions: (N,T,M,C) bool, N at least 1.
        ground_truth: (N,T,M,C) bool.

    Returns:
        Name in `KEYS` -> percent in [0,100]; NaN where no video has support.

    Raises:
        ValueError: another shape or dtype, or no video.

    Example:
        >>> truth = torch.zeros(1, 10, 2, 1, dtype=torch.bool)  # a video without events
        >>> parsing_scores(truth, truth)["segment/A"], support_only_scores(truth, truth)["segment/A"]
        (100.0, nan)
    """
    scores = all_scores(predictions, ground_truth)
    return {key: scores[SUPPORT + key] for key in KEYS}


def all_scores(predictions: Tensor, ground_truth: Tensor) -> dict[str, float]:
    """All 36 columns in percent, published and support-only; see `ParsingScores`.

    Args:
        predictions: (N,T,M,C) bool, N at least 1.
        ground_truth: (N,T,M,C) bool.

    Returns:
        Column -> percent in [0,100], in the order of `ALL_KEYS`; a support-only column is NaN where no video has
        support.

    Raises:
        ValueError: another shape or dtype, or no video.

    Example:
        >>> truth = torch.ones(1, 10, 2, 1, dtype=torch.bool)
        >>> scores = all_scores(truth, truth)
        >>> len(scores), scores["support/event/AV"]
        (36, 100.0)
    """
    _check(predictions, ground_truth)
    if not len(predictions):
        raise ValueError("no videos to score")
    return _finish(*_sums(predictions, ground_truth), len(predictions))


def empty_parser(ground_truth: Tensor) -> Tensor:
    """Predictions of the trivial parser that predicts nothing.

    Args:
        ground_truth: (N,T,M,C) bool.

    Returns:
        (N,T,M,C) bool, all False.

    Example:
        >>> empty_parser(torch.ones(1, 10, 2, 3, dtype=torch.bool)).any()
        tensor(False)
    """
    return torch.zeros_like(ground_truth)


def video_label_parser(labels: Tensor, mask: Tensor) -> Tensor:
    """Predictions of the trivial parser that spreads the true video labels over all segments and both modalities.

    Args:
        labels: (N,C) in {0,1}, weak labels.
        mask: (N,T) bool, True = real segment.

    Returns:
        (N,T,M,C) bool, False in padding.

    Example:
        >>> labels, mask = torch.tensor([[1.0]]), torch.tensor([[True, True, False]])
        >>> video_label_parser(labels, mask).shape, video_label_parser(labels, mask)[0, :, 0, 0]
        (torch.Size([1, 3, 2, 1]), tensor([ True,  True, False]))
    """
    return (mask[:, :, None, None] & labels.bool()[:, None, None, :]).expand(-1, -1, 2, -1)


def over_seeds(by_seed: Tensor) -> tuple[dict[str, float], dict[str, float] | None]:
    """Mean and standard deviation of each column over seeds.

    Args:
        by_seed: (S,36) in percent, in the order of `ALL_KEYS`; NaN where a column is undefined.

    Returns:
        Column -> mean over the seeds that have a value, NaN without any; and column -> standard deviation (n - 1) over
        those seeds, NaN with fewer than two. With S = 1 there are no deviations, and the second one is None.

    Example:
        >>> means, deviations = over_seeds(torch.stack([torch.full((36,), 40.0), torch.full((36,), 42.0)]))
        >>> means["segment/A"], round(deviations["segment/A"], 3)
        (41.0, 1.414)
    """
    means = dict(zip(ALL_KEYS, by_seed.nanmean(0).tolist(), strict=True))
    if len(by_seed) < 2:
        return means, None
    squares = (by_seed - by_seed.nanmean(0)).nan_to_num().square().sum(0)
    degrees = ((~by_seed.isnan()).sum(0) - 1).clamp(min=0)  # 0 / 0 is NaN: one value has no deviation
    return means, dict(zip(ALL_KEYS, (squares / degrees).sqrt().tolist(), strict=True))


def mean_of(scores: Mapping[str, float], columns: tuple[str, ...]) -> float:
    """Mean of the named columns that are defined; NaN where none is.

    Args:
        scores: column -> percent, NaN where it is undefined.
        columns: names of those that are averaged.

    Returns:
        The mean, in the unit of the columns.

    Example:
        >>> mean_of({"segment/Ao": 40.0, "segment/Vo": math.nan}, ("segment/Ao", "segment/Vo"))
        40.0
    """
    values = [scores[column] for column in columns if not math.isnan(scores[column])]
    return sum(values) / len(values) if values else math.nan
