"""All scores over batches and ranks, as a torchmetrics `Metric`. Shape letters: see `protocol.py`.

A module of its own, since torchmetrics is an extra and slow to import.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from coleaf_framework.metrics.scores import _MEASURED, LEVELS, _check, _finish, _sums


class ParsingScores(Metric):
    """All columns, accumulated over batches and ranks; exact, since every column follows from sums over videos.

    `compute()` gives the 18 columns in percent, and each again under "support/...": the mean over the videos that have
    an event of the column's type, or a prediction of one. Without such a video it is NaN, and Type@AV and Type@AVo are
    the means of their remaining columns. Keep the metric outside any module that DistributedDataParallel wraps, which
    would broadcast its states.

    Example:
        >>> truth = torch.zeros(2, 10, 2, 1, dtype=torch.bool)  # (N,T,M,C)
        >>> truth[0, :4, 0] = True  # the first of two videos has an event that is heard only
        >>> scores = ParsingScores()
        >>> scores.update(torch.zeros_like(truth), truth)  # nothing is predicted
        >>> values = scores.compute()
        >>> values["segment/Ao"], values["support/segment/Ao"]
        (50.0, 0.0)
    """

    full_state_update = False
    sums: Tensor
    supported_sums: Tensor
    supports: Tensor
    videos: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)
        for name in ("sums", "supported_sums", "supports"):
            zeros = torch.zeros(len(LEVELS) * len(_MEASURED), dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")
        self.add_state("videos", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, ground_truth: Tensor) -> None:
        """Add the videos of a batch.

        Args:
            predictions: (N,T,M,C) bool, False in padding.
            ground_truth: (N,T,M,C) bool, False in padding.

        Raises:
            ValueError: another shape or dtype.
        """
        _check(predictions, ground_truth)
        if not len(predictions):
            return
        sums, supported_sums, supports = _sums(predictions, ground_truth)
        self.sums += sums
        self.supported_sums += supported_sums
        self.supports += supports
        self.videos += len(predictions)

    def compute(self) -> dict[str, float]:
        """All columns: name, one of `ALL_KEYS` -> percent."""
        return _finish(self.sums, self.supported_sums, self.supports, self.videos)
