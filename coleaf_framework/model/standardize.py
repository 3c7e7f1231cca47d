"""Standardisation of input streams, as part of the model. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework._config import WrongTypeError, shown
from coleaf_framework.adapters import Adapter, call_anchor
from coleaf_framework.protocol import StreamSpec


class Standardizer(nn.Module):
    """Takes each stream to zero mean and unit deviation with the training split's statistics.

    It belongs to the model and not to the data, so that it cannot be forgotten when the model is used.

    Args:
        statistics: stream name -> (2, width): mean and deviation of each feature, deviation above 0.
        streams: what they must fit.

    Raises:
        ValueError: a stream has no statistics, or they have another shape or are not finite.
    """

    def __init__(self, statistics: Mapping[str, Tensor], streams: Mapping[str, StreamSpec]) -> None:
        super().__init__()
        if not isinstance(statistics, Mapping):
            raise WrongTypeError(
                f"statistics is {shown(statistics)}, where a mapping of streams to tensors was expected"
            )
        for name, spec in streams.items():
            values = statistics.get(name)
            if values is not None and not (isinstance(values, Tensor) and not values.is_complex()):
                raise WrongTypeError(f"statistics of stream {name!r}: expected a tensor of real numbers")
            if values is None or values.shape != (2, spec.width):
                found = "none" if values is None else tuple(values.shape)
                raise ValueError(f"statistics of stream {name!r}: expected shape (2, {spec.width}), found {found}")
            if not torch.isfinite(values).all() or (values[1] <= 0).any():
                raise ValueError(f"statistics of stream {name!r}: expected finite means and deviations above 0")
            self.register_buffer(name, values.float().clone())

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Streams (B, frames * T, width) -> the same, standardised, float32."""
        standardized = {}
        for name, x in streams.items():
            mean, deviation = self.get_buffer(name)
            # One pass over what may be 80 MB a batch, not two.
            standardized[name] = torch.addcmul(-mean / deviation, x.float(), deviation.reciprocal())
        return standardized


class StandardizedAnchor(nn.Module):
    """An Anchor that was trained on standardised streams, with their standardisation before it."""

    def __init__(self, standardizer: Standardizer, anchor: nn.Module, adapter: Adapter | None = None) -> None:
        super().__init__()
        self.standardizer, self.anchor, self.adapter = standardizer, anchor, adapter

    def forward(self, mask: Tensor | None = None, **streams: Tensor) -> Any:
        """Raw streams -> what the Anchor, or the adapter, returns."""
        return call_anchor(self.anchor, self.adapter, self.standardizer(streams), mask)
