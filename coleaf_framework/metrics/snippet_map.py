"""Snippet-level mAP of long-form audio-visual video parsing (Hou et al., ACM TOMM 2024).

For each class, the segments of all videos are put into one ranking. Average precision is the area under precision over
recall, with precision made non-increasing from the right. Shape letters: see `protocol.py`; N videos, S segments.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SNIPPET_NAMES = ("A", "V", "AV")


def interpolated_ap(scores: Tensor, positive: Tensor) -> float:
    """Average precision of one ranking; NaN without a positive.

    Segments of equal score enter the ranking together, so that their order does not matter.

    Args:
        scores: (S,) in any range.
        positive: (S,) bool.

    Returns:
        In [0,1].

    Example:
        >>> interpolated_ap(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]))  # 1/2 * 1 + 1/2 * 2/3
        0.8333333333333333
    """
    total = int(positive.sum())
    if not total:
        return math.nan
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], positive[order].double().cumsum(0)
    last = torch.ones_like(ranked, dtype=torch.bool)
    last[:-1] = ranked[1:] != ranked[:-1]  # the last of each group of equal scores
    found = hits[last]
    seen = torch.arange(1, len(ranked) + 1, device=ranked.device, dtype=torch.float64)[last]
    precision = (found / seen).flip(0).cummax(0).values.flip(0)
    gained = torch.diff(found, prepend=found.new_zeros(1))
    return float((gained * precision).sum() / total)


def snippet_map(segment_probs: Tensor, truth: Tensor, mask: Tensor) -> dict[str, float]:
    """Snippet mAP in percent: "A", "V", "AV" and their mean, "mean".

    The probability of AV is the product of both modalities', its truth what is both audible and visible. The mean over
    classes leaves out those without a positive segment; NaN where none is left.

    Args:
        segment_probs: (N,T,M,C) in [0,1].
        truth: (N,T,M,C) bool.
        mask: (N,T) bool, True = real segment; others are not ranked.

    Returns:
        Four names -> percent in [0,100], or NaN.

    Example:
        >>> probs = torch.tensor([[0.9, 0.8], [0.3, 0.6], [0.7, 0.1]]).view(1, 3, 2, 1)  # three segments, one class
        >>> truth = torch.tensor([[1, 1], [0, 1], [1, 0]], dtype=torch.bool).view(1, 3, 2, 1)
        >>> snippet_map(probs, truth, torch.ones(1, 3, dtype=torch.bool))
        {'A': 100.0, 'V': 100.0, 'AV': 100.0, 'mean': 100.0}
    """
    probs, true = segment_probs[mask].double(), truth[mask]  # (S,M,C)
    scores = {"A": (probs[:, 0], true[:, 0]), "V": (probs[:, 1], true[:, 1]), "AV": (probs.prod(1), true.all(1))}
    found = {}
    for name, (values, positive) in scores.items():
        each = [interpolated_ap(values[:, c], positive[:, c]) for c in range(values.shape[1])]
        defined = [ap for ap in each if not math.isnan(ap)]
        found[name] = 100 * sum(defined) / len(defined) if defined else math.nan
    return {**found, "mean": sum(found.values()) / len(SNIPPET_NAMES)}
