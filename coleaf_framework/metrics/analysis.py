"""Where a parser is right: by event type, by class, and how far its probabilities can be believed.

Shape letters: see `protocol.py`; N videos.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coleaf_framework.metrics.events import EVENT_TYPES, split_types
from coleaf_framework.metrics.scores import event_counts, segment_counts

SEGMENT_TYPES = (*EVENT_TYPES, "none")
"""What a class can be in a segment; the rows and columns of `type_table`."""
CLASS_COLUMNS = ("A", "V", "Ao", "Vo", "AV")
"""The rows of `class_scores`."""


def type_table(predictions: Tensor, ground_truth: Tensor, mask: Tensor) -> Tensor:
    """How often a true type was taken for which, over segments and classes.

    Args:
        predictions, ground_truth: (N,T,M,C) bool. mask: (N,T) bool, True = real segment.

    Returns:
        (4,4) counts, true type by predicted type, in the order of `SEGMENT_TYPES`.
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
    """Shares in percent, each of the segments and classes that are truly of a type, or truly are not.

    Args:
        tp, fn: of those that are: found, and missed; they add up to 100. tn, fp: of those that are not.
    """

    tp: float
    tn: float
    fp: float
    fn: float


def type_rates(table: Tensor) -> dict[str, Rates]:
    """Each event type against all else, from `type_table`: Table 1 of CoLeaF. NaN where nothing is of the type."""
    table, rates = table.double(), {}
    for k, name in enumerate(EVENT_TYPES):
        tp, fn, fp = table[k, k], table[k].sum() - table[k, k], table[:, k].sum() - table[k, k]
        tn = table.sum() - tp - fn - fp
        shares = (tp / (tp + fn), tn / (tn + fp), fp / (tn + fp), fn / (tp + fn))
        rates[name] = Rates(*(100 * share.item() for share in shares))
    return rates


def class_scores(predictions: Tensor, ground_truth: Tensor, level: str = "segment") -> Tensor:
    """F of each class, from TP, FP and FN added up over all videos.

    Unlike the published columns, which are means over videos, so that rare classes can be told apart.

    Args:
        predictions, ground_truth: (N,T,M,C) bool.
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
    """How often what is said with some probability is so.

    Args:
        said, occurred: (bins,) means in [0,1] of the probabilities of a bin and of the truth there; NaN where it is
            empty. count: (bins,). error: expected calibration error in percent, the mean gap over all pairs.
    """

    said: Tensor
    occurred: Tensor
    count: Tensor
    error: float


def calibration(segment_probs: Tensor, ground_truth: Tensor, mask: Tensor, bins: int = 10) -> Calibration:
    """Reliability of segment probabilities over real segments and classes, in bins of equal width (Guo et al., 2017).

    Args:
        segment_probs: (N,T,...,C) in [0,1]. ground_truth: of the same shape, bool. mask: (N,T) bool.
    """
    probs, truth = segment_probs[mask].flatten().double(), ground_truth[mask].flatten().double()
    which = (probs * bins).long().clamp(max=bins - 1)
    count, said, occurred = (
        torch.bincount(which, weights, minlength=bins) for weights in (torch.ones_like(probs), probs, truth)
    )
    gap = (said - occurred).abs().sum() / count.sum()
    return Calibration(said / count, occurred / count, count, 100 * gap.item())
