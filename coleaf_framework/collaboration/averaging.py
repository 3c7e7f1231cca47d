"""A moving average of a network, used as a teacher or in its place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of a network whose weights follow it: w <- decay * w + (1 - decay) * the network's, buffers as they are.

    Never trained and always in evaluation mode. Calls pass to the copy.

    Args:
        network: to be followed; the copy begins with its weights.
        decay: of one call of `follow`, in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.average = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Take one step towards the network."""
        for own, its in zip(self.average.parameters(), network.parameters(), strict=True):
            own.lerp_(its, 1 - self.decay)
        for kept, theirs in zip(self.average.buffers(), network.buffers(), strict=True):
            kept.copy_(theirs)

    @contextmanager
    def in_place_of(self, network: nn.Module) -> Iterator[None]:
        """The network has the average's weights while this lasts, and its own again afterwards."""
        self._exchange(network)
        try:
            yield
        finally:
            self._exchange(network)

    @torch.no_grad()
    def _exchange(self, network: nn.Module) -> None:
        pairs = zip(_tensors(self.average), _tensors(network), strict=True)
        for own, its in pairs:  # in place, since optimisers and DistributedDataParallel hold these very tensors
            kept = own.clone()
            own.copy_(its)
            its.copy_(kept)

    def train(self, mode: bool = True) -> MovingAverage:
        """Keep evaluation mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, *args: object, **kwargs: object) -> object:
        """What the copy returns."""
        return self.average(*args, **kwargs)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
