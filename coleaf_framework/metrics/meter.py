"""All scores over batches and ranks, as a torchmetrics `Metric`. Shape letters: see `protocol.py`.

A module of its own, since importing torchmetrics takes as long as importing PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from coleaf_framework.metrics.scores import _MEASURED, LEVELS, _check, _finish, _sums


class ParsingScores(Metric):
    """All scores over any number of batches and ranks; exact, since it sums over videos.

    Keep it outside any module that DistributedDataParallel wraps: its states would be broadcast.
    `compute()` gives the 18 columns in percent, and each again under "support/...": the mean over the videos
    that have an event of the column's type, or a prediction of one. NaN without such a video; Type@ is then the
    mean of its other columns.
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
        """Add videos: two (N,T,M,C) bool; segments that are padding are False in both.

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
        """Column -> percent."""
        return _finish(self.sums, self.supported_sums, self.supports, self.videos)
