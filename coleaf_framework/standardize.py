"""Standardisation of input streams, as part of the model. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Standardizer(nn.Module):
    """Takes each stream to zero mean and unit deviation with the training split's statistics.

    It belongs to the model and not to the data, so that it cannot be forgotten when the model is used.

    Args:
        statistics: stream name -> (2, width): mean and deviation of each feature, deviation above 0.
    """

    def __init__(self, statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, values in statistics.items():
            self.register_buffer(name, values.float())

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Streams (B, frames * T, width) -> the same, standardised, float32."""
        standardized = {}
        for name, x in streams.items():
            mean, deviation = self.get_buffer(name)
            standardized[name] = (x - mean) / deviation
        return standardized


class StandardizedAnchor(nn.Module):
    """An Anchor that was trained on standardised streams, with their standardisation before it."""

    def __init__(self, standardizer: Standardizer, anchor: nn.Module) -> None:
        super().__init__()
        self.standardizer, self.anchor = standardizer, anchor

    def forward(self, mask: Tensor | None = None, **streams: Tensor) -> Any:
        """Raw streams -> what the Anchor returns."""
        kwargs = {} if mask is None else {"mask": mask}
        return self.anchor(**self.standardizer(streams), **kwargs)
