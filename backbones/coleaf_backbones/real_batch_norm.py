"""Batch normalisation of videos of unequal length. Shape letters: see `coleaf_framework.protocol`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RealBatchNorm(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` over (B,D,T) whose statistics in training are those of real positions alone.

    Evaluation is PyTorch's. So is training without padding, except on a single position, which PyTorch refuses: it has
    no deviation, so it is normalised by the running statistics. Running statistics are updated outside autograd, and
    nothing that a backward pass needs refers to them, so a step may run the network several times before it.
    """

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            x: (B,D,T).
            real: (B,T) bool, True = real position; None where all are.

        Returns:
            (B,D,T), in training at least float32.
        """
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        weight = x.new_ones(len(x), 1, x.shape[2]) if real is None else real[:, None].to(x.dtype)
        count = weight.sum()
        mean = (weight * x).sum((0, 2)) / count
        variance = (weight * (x - mean[:, None]).square()).sum((0, 2)) / count
        several = count > 1
        with torch.no_grad():
            share = several * self.momentum
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.add_(share * (mean - self.running_mean))
            self.running_var.add_(share * (unbiased - self.running_var))
            self.num_batches_tracked.add_(1)
        mean = torch.where(several, mean, self.running_mean)
        variance = torch.where(several, variance, self.running_var)
        normalized = (x - mean[:, None]) * (variance[:, None] + self.eps).rsqrt()
        return normalized * self.weight[:, None] + self.bias[:, None]
