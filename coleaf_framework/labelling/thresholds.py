"""Thresholds per class of a teacher's logits, chosen with or without segment truth.

All take the segments of a split in one row each: S segments, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def thresholds_by_truth(logits: Tensor, weak: Tensor, truth: Tensor) -> tuple[Tensor, list[int]]:
    """For each class the threshold with the highest F of the labels that it makes, against segment truth.

    F pools the segments of the split. Thresholds lie halfway between neighbouring logits of the segments whose weak
    label has the class, or outside all of them; among equals the lowest is taken. A class that is true in no such
    segment takes the threshold that is best for all classes together.

    Args:
        logits: (S,C).
        weak: (S,C) in {0,1}, the weak label of each segment's video.
        truth: (S,C) bool.

    Returns:
        (C,) float64; and the indices of the classes that took the common threshold.

    Raises:
        ValueError: No class is true anywhere within the weak labels.

    Example:
        >>> logits = torch.tensor([[1.0], [2.0], [4.0], [9.0]])
        >>> weak, truth = torch.tensor([[1.0], [1.0], [1.0], [0.0]]), torch.tensor([[0], [0], [1], [0]]).bool()
        >>> thresholds_by_truth(logits, weak, truth)
        (tensor([3.], dtype=torch.float64), [])
    """
    positive = weak > 0.5
    known = (truth & positive).any(0)
    if not known.any():
        raise ValueError("the truth has no event within the weak labels, so it cannot choose a threshold")
    common = _best(logits[positive], truth[positive], int(truth.sum()))
    found = [
        _best(logits[positive[:, c], c], truth[positive[:, c], c], int(truth[:, c].sum())) if known[c] else common
        for c in range(logits.shape[1])
    ]
    return torch.tensor(found, dtype=torch.float64), (~known).nonzero().flatten().tolist()


def _best(logits: Tensor, truth: Tensor, events: int) -> float:
    """The threshold with the highest F, for segments (n,); `events` counts true segments, those left out too."""
    values, order = logits.double().sort(descending=True)
    tp = truth[order].cumsum(0).double()
    predicted = torch.arange(1, len(values) + 1, dtype=torch.float64)
    f = 2 * tp / (predicted + events)  # of the threshold just below each value
    below = torch.cat([values[1:], values[-1:] - 1])
    f[values == below] = -1  # no threshold lies between equals
    best = len(f) - 1 - int(f.flip(0).argmax())  # the last of the highest
    return float((values[best] + below[best]) / 2)


def thresholds_by_share(logits: Tensor, weak: Tensor, share: float) -> Tensor:
    """For each class the threshold that a share of the segments exceeds, in videos whose weak label has the class.

    Needs no segment truth. With n such segments, exactly round(share * n) exceed it, fewer where logits are equal.

    Args:
        logits: (S,C).
        weak: (S,C) in {0,1}, the weak label of each segment's video.
        share: in (0,1).

    Returns:
        (C,) float64.

    Raises:
        ValueError: `share` is out of range, or a class is in no weak label; names its index.

    Example:
        >>> logits = torch.tensor([[1.0], [2.0], [3.0], [4.0], [9.0]])
        >>> thresholds_by_share(logits, torch.tensor([[1.0], [1.0], [1.0], [1.0], [0.0]]), 0.5)
        tensor([2.], dtype=torch.float64)
    """
    return _exceeded_by(logits, weak > 0.5, share, "positive share", "is in no weak label")


def thresholds_by_false_positives(logits: Tensor, weak: Tensor, rate: float) -> Tensor:
    """For each class the threshold that a share of the segments exceeds, in videos whose weak label lacks the class.

    Such segments are known not to have the class, so this is the teacher's false-positive rate, measured without
    segment truth. With n such segments, exactly round(rate * n) exceed it, fewer where logits are equal.

    Args:
        logits: (S,C).
        weak: (S,C) in {0,1}, the weak label of each segment's video.
        rate: in (0,1).

    Returns:
        (C,) float64.

    Raises:
        ValueError: `rate` is out of range, or a class is in every weak label; names its index.

    Example:
        >>> logits = torch.tensor([[1.0], [2.0], [3.0], [4.0], [9.0]])
        >>> thresholds_by_false_positives(logits, torch.tensor([[0.0], [0.0], [0.0], [0.0], [1.0]]), 0.25)
        tensor([3.], dtype=torch.float64)
    """
    return _exceeded_by(logits, weak < 0.5, rate, "false-positive rate", "is in every weak label")


def _exceeded_by(logits: Tensor, counted: Tensor, share: float, what: str, otherwise: str) -> Tensor:
    if not 0 < share < 1:
        raise ValueError(f"the {what} is {share}, where a share between 0 and 1 was expected")
    found = []
    for c in range(logits.shape[1]):
        values = logits[counted[:, c], c].double().sort(descending=True).values
        if not len(values):
            raise ValueError(f"no threshold for class number {c}, from 0: it {otherwise}")
        found.append(values[min(round(share * len(values)), len(values) - 1)])
    return torch.stack(found)
