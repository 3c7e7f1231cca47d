"""The field's 18 columns, their support-only twins and the two trivial parsers.

Columns: A, Ao, V, Vo, AV, Type@AV, Type@AVo, Event@AV, Event@AVo, at segment and event level (Tian et al., ECCV
2020; the o-columns: CoLeaF, ECCV 2024, eq. 14-15). Per video and class TP, FP and FN; F per class; the mean over
the classes with any of the three; the mean over videos. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from coleaf_framework.metrics.events import run_ends, run_starts, split_types

LEVELS = ("segment", "event")
COLUMNS = ("A", "Ao", "V", "Vo", "AV", "Type@AV", "Type@AVo", "Event@AV", "Event@AVo")
KEYS = tuple(f"{level}/{column}" for level in LEVELS for column in COLUMNS)
SUPPORT = "support/"
ALL_KEYS = (*KEYS, *(SUPPORT + key for key in KEYS))
_MEASURED = ("A", "V", "Ao", "Vo", "AV", "Event@AV", "Event@AVo")
_TYPE_MEANS = {"Type@AV": ("A", "V", "AV"), "Type@AVo": ("Ao", "Vo", "AV")}


def segment_counts(predicted: Tensor, true: Tensor) -> Tensor:
    """TP, FP and FN in segments: two (K,T,C) bool -> (3,K,C) integer."""
    return torch.stack([(predicted & true).sum(1), (predicted & ~true).sum(1), (~predicted & true).sum(1)])


def event_counts(predicted: Tensor, true: Tensor) -> Tensor:
    """TP, FP and FN in events: two (K,T,C) bool -> (3,K,C) integer.

    A predicted event is a TP if some true event of its class has IoU >= 0.5 with it, else an FP; a true event
    that no predicted one matches so is an FN.
    """
    predicted, true = predicted.mT, true.mT  # (K,C,T)
    p_runs, t_runs = run_starts(predicted).sum(-1), run_starts(true).sum(-1)
    counts = torch.stack([torch.zeros_like(p_runs), p_runs, t_runs])
    met = (p_runs > 0) & (t_runs > 0)  # only rows with both can match, and they are few
    predicted, true = predicted[met], true[met]  # (R,T)
    ps, pe, ts, te = run_starts(predicted), run_ends(predicted), run_starts(true), run_ends(true)
    at = torch.arange(predicted.shape[-1], device=predicted.device)
    overlap = (torch.minimum(pe[:, :, None], te[:, None, :]) - torch.maximum(at[:, None], at[None, :])).clamp(min=0)
    union = (pe - at)[:, :, None] + (te - at)[:, None, :] - overlap
    match = ps[:, :, None] & ts[:, None, :] & (2 * overlap >= union)
    hits = match.any(2).sum(-1)
    counts[0, met] = hits
    counts[1, met] -= hits
    counts[2, met] -= match.any(1).sum(-1)
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
    """What each video adds to each score, from which all columns follow (`columns`).

    Args:
        predictions, ground_truth: (N,T,M,C) bool.

    Returns: for the two levels times the seven measured columns, F in [0,1], (14,N) float64, 1 where there is nothing
        to find and nothing was found; and where there is something, (14,N) bool.
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
    """Means over videos of `video_scores` -> every column in percent.

    Args:
        f: (...,14), the mean of F over videos. supported_f: (...,14), over the videos with support, or NaN.

    Returns: (...,36), in the order of `ALL_KEYS`.
    """
    by_level = torch.stack([f, supported_f], dim=-2).unflatten(-1, (len(LEVELS), -1))  # type: ignore[no-untyped-call]
    measured = dict(zip(_MEASURED, (100 * by_level).unbind(-1), strict=True))
    for mean, parts in _TYPE_MEANS.items():
        measured[mean] = torch.stack([measured[part] for part in parts]).nanmean(0)
    return torch.stack([measured[column] for column in COLUMNS], dim=-1).flatten(-3)


def _finish(sums: Tensor, supported_sums: Tensor, supports: Tensor, videos: Tensor | int) -> dict[str, float]:
    values = columns(sums / videos, supported_sums / supports)  # 0 / 0 is NaN: no such event, no score
    return dict(zip(ALL_KEYS, values.tolist(), strict=True))


def _sums(predictions: Tensor, ground_truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    f, supported = video_scores(predictions, ground_truth)
    return f.sum(1), (f * supported).sum(1), supported.sum(1).double()


def parsing_scores(predictions: Tensor, ground_truth: Tensor) -> dict[str, float]:
    """The 18 columns in percent, under "segment/A" ... "event/Event@AVo".

    Args:
        predictions, ground_truth: (N,T,M,C) bool, N at least 1.

    Raises:
        ValueError: another shape or dtype, or no video.
    """
    scores = all_scores(predictions, ground_truth)
    return {key: scores[key] for key in KEYS}


def support_only_scores(predictions: Tensor, ground_truth: Tensor) -> dict[str, float]:
    """The 18 columns over the videos with support; see `ParsingScores`. Arguments as in `parsing_scores`."""
    scores = all_scores(predictions, ground_truth)
    return {key: scores[SUPPORT + key] for key in KEYS}


def all_scores(predictions: Tensor, ground_truth: Tensor) -> dict[str, float]:
    """Both kinds at once, as `ParsingScores.compute` gives them."""
    _check(predictions, ground_truth)
    if not len(predictions):
        raise ValueError("no videos to score")
    return _finish(*_sums(predictions, ground_truth), len(predictions))


def empty_parser(ground_truth: Tensor) -> Tensor:
    """The parser that predicts nothing: (N,T,M,C) bool, all False."""
    return torch.zeros_like(ground_truth)


def video_label_parser(labels: Tensor, mask: Tensor) -> Tensor:
    """The parser that spreads the true video label over all real segments and both modalities.

    Args:
        labels: (N,C) weak labels in {0,1}. mask: (N,T) bool, True = real segment.

    Returns: (N,T,M,C) bool.
    """
    return (mask[:, :, None, None] & labels.bool()[:, None, None, :]).expand(-1, -1, 2, -1)


def over_seeds(by_seed: Tensor) -> tuple[dict[str, float], dict[str, float] | None]:
    """Columns of several trainings together.

    Args:
        by_seed: (S,36) in percent, in the order of `ALL_KEYS`; NaN where a training has no value.

    Returns: column -> mean over the seeds that have a value, NaN where none has; column -> standard deviation (n - 1)
        over them, NaN where fewer than two have one, and None in all with one seed.
    """
    means = dict(zip(ALL_KEYS, by_seed.nanmean(0).tolist(), strict=True))
    if len(by_seed) < 2:
        return means, None
    gaps = (by_seed - by_seed.nanmean(0)).nan_to_num().square().sum(0)
    others = ((~by_seed.isnan()).sum(0) - 1).clamp(min=0)  # 0 / 0 is NaN: one value has no spread
    return means, dict(zip(ALL_KEYS, (gaps / others).sqrt().tolist(), strict=True))


def mean_of(scores: Mapping[str, float], columns: tuple[str, ...]) -> float:
    """Mean of the named columns that have a value; NaN where none has."""
    values = [scores[column] for column in columns if not math.isnan(scores[column])]
    return sum(values) / len(values) if values else math.nan
