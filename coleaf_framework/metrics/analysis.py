"""Error analysis: confusion of event types, F-score of each class, and calibration of segment probabilities.

Shape letters: see `protocol.py`; N videos.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coleaf_framework.metrics.events import EVENT_TYPES, split_types
from coleaf_framework.metrics.scores import event_counts, segment_counts

SEGMENT_TYPES = (*EVENT_TYPES, "none")
"""The event type of a class in a segment, "none" where it is absent; rows and columns of `type_table`."""
CLASS_COLUMNS = ("A", "V", "Ao", "Vo", "AV")
"""The rows of `class_scores`."""


def type_table(predictions: Tensor, ground_truth: Tensor, mask: Tensor) -> Tensor:
    """Confusion matrix of event types, over all real segments and classes.

    Args:
        predictions: (N,T,M,C) bool.
        ground_truth: (N,T,M,C) bool.
        mask: (N,T) bool, True = real segment.

    Returns:
        (4,4) integer counts, true type (rows) by predicted type (columns), in the order of `SEGMENT_TYPES`.

    Example:
        >>> true = torch.tensor([True, False]).view(1, 1, 2, 1)  # one segment, one class, heard only
        >>> type_table(torch.ones_like(true), true, torch.ones(1, 1, dtype=torch.bool))[0]  # predicted: heard and seen
        tensor([0, 0, 1, 0])
    """
    true, predicted = (_types(x)[mask] for x in (ground_truth, predictions))  # (segments, C)
    n = len(SEGMENT_TYPES)
    return torch.bincount((n * true + predicted).flatten(), minlength=n * n).view(n, n)


def _types(segments: Tensor) -> Tensor:
    """(N,T,M,C) bool -> (N,T,C), index into `SEGMENT_TYPES`."""
    audio, visual = segments.long().unbind(2)
    return torch.tensor([3, 1, 0, 2], device=segments.device)[2 * audio + visual]


@dataclass(frozen=True)
class Rates:
    """True and false positive and negative rates of one event type, in percent.

    A sample is one class in one segment. tp + fn = 100 and tn + fp = 100.

    Args:
        tp: share of the samples of the type that are predicted to be of it.
        tn: share of the samples of other types that are not predicted to be of it.
        fp: share of the samples of other types that are predicted to be of it.
        fn: share of the samples of the type that are not predicted to be of it.
    """

    tp: float
    tn: float
    fp: float
    fn: float


def type_rates(table: Tensor) -> dict[str, Rates]:
    """Rates of each event type against all others, as in Table 1 of CoLeaF.

    Args:
        table: (4,4) counts, from `type_table`.

    Returns:
        Event type -> its rates; tp and fn are NaN where no sample is of the type.
    """
    table, rates = table.double(), {}
    for k, name in enumerate(EVENT_TYPES):
        tp, fn, fp = table[k, k], table[k].sum() - table[k, k], table[:, k].sum() - table[k, k]
        tn = table.sum() - tp - fn - fp
        shares = (tp / (tp + fn), tn / (tn + fp), fp / (tn + fp), fn / (tp + fn))
        rates[name] = Rates(*(100 * share.item() for share in shares))
    return rates


def class_scores(predictions: Tensor, ground_truth: Tensor, level: str = "segment") -> Tensor:
    """F-score of each class, from TP, FP and FN summed over all videos.

    The published columns are means over videos instead, in which rare classes hardly count.

    Args:
        predictions: (N,T,M,C) bool.
        ground_truth: (N,T,M,C) bool.
        level: "segment" or "event".

    Returns:
        (5,C) in percent, in the order of `CLASS_COLUMNS`; NaN where a class neither occurs nor is predicted.
    """
    count = {"segment": segment_counts, "event": event_counts}[level]
    rows = []
    for p, t in zip(split_types(predictions), split_types(ground_truth), strict=True):
        tp, fp, fn = count(p, t).sum(1).double()
        rows.append(100 * 2 * tp / (2 * tp + fp + fn))
    return torch.stack(rows)


@dataclass(frozen=True)
class Calibration:
    """Reliability curve: predicted probability against observed frequency, per bin.

    Args:
        said: (bins,) in [0,1], mean predicted probability; NaN in an empty bin.
        occurred: (bins,) in [0,1], observed frequency; NaN in an empty bin.
        count: (bins,), number of samples.
        error: expected calibration error in percent.
    """

    said: Tensor
    occurred: Tensor
    count: Tensor
    error: float


def calibration(segment_probs: Tensor, ground_truth: Tensor, mask: Tensor, bins: int = 10) -> Calibration:
    """Calibration of segment probabilities over real segments and classes (Guo et al., ICML 2017).

    Args:
        segment_probs: (N,T,...,C) in [0,1].
        ground_truth: (N,T,...,C) bool.
        mask: (N,T) bool, True = real segment.
        bins: number of bins of equal width.

    Returns:
        Curve with (bins,) float64 values, and the expected calibration error in percent.

    Example:
        >>> probs = torch.tensor([0.8, 0.8, 0.8, 0.8]).view(1, 4, 1)
        >>> truth = torch.tensor([True, True, True, False]).view(1, 4, 1)
        >>> round(calibration(probs, truth, torch.ones(1, 4, dtype=torch.bool)).error, 1)  # 80 % against 75 %
        5.0
    """
    probs, truth = segment_probs[mask].flatten().double(), ground_truth[mask].flatten().double()
    bin_index = (probs * bins).long().clamp(max=bins - 1)
    count, predicted, observed = (
        torch.bincount(bin_index, weights, minlength=bins) for weights in (torch.ones_like(probs), probs, truth)
    )
    gap = (predicted - observed).abs().sum() / count.sum()
    return Calibration(predicted / count, observed / count, count, 100 * gap.item())
