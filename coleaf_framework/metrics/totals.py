"""Sums over videos, from which all scores follow. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coleaf_framework.metrics.scores import _MEASURED, LEVELS, _check, _finish, _sums


class ScoreTotals:
    """The sums over videos of which every column is made, over batches and ranks.

    `ParsingScores` is the same as a torchmetrics `Metric`, for which that library has to be installed.

    Example:
        >>> truth = torch.ones(2, 10, 2, 1, dtype=torch.bool)  # (N,T,M,C)
        >>> totals = ScoreTotals()
        >>> totals.add(truth[:1], truth[:1])
        >>> totals.add(~truth[1:], truth[1:])
        >>> totals.scores()["segment/A"]
        50.0
    """

    def __init__(self) -> None:
        columns = len(LEVELS) * len(_MEASURED)
        self._sums = [torch.zeros(columns, dtype=torch.float64) for _ in range(3)]
        self._videos = 0.0

    def add(self, predictions: Tensor, ground_truth: Tensor) -> None:
        """Add the videos of a batch.

        Args:
            predictions: (N,T,M,C) bool, False in padding, on the CPU.
            ground_truth: (N,T,M,C) bool, False in padding, on the CPU.

        Raises:
            ValueError: another shape or dtype.
        """
        _check(predictions, ground_truth)
        if not len(predictions):
            return
        self._sums = [total + own for total, own in zip(self._sums, _sums(predictions, ground_truth), strict=True)]
        self._videos += len(predictions)

    def scores(self, total: Callable[[list[float]], list[float]] = list) -> dict[str, float]:
        """All columns, of this process alone or of all ranks.

        Args:
            total: adds up lists of numbers over ranks, such as `DistributedContext.total`; every rank calls it.

        Returns:
            Name, one of `ALL_KEYS` -> percent; NaN in support-only columns that no video supports, and in all without
            a video.
        """
        summed = torch.tensor(total([*torch.cat(self._sums).tolist(), self._videos]), dtype=torch.float64)
        sums, supported_sums, supports = summed[:-1].chunk(3)
        return _finish(sums, supported_sums, supports, summed[-1])
