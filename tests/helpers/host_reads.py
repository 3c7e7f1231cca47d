"""Finds what makes the host wait for the device in a training step, on a machine without one."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# What returns a value to Python, or a tensor whose shape follows from values.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::equal",
    "aten::nonzero",
    "aten::nonzero_static",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::repeat_interleave.Tensor",
    "aten::lift_fresh",  # of torch.tensor: its values are the host's
}
_BY_INDEX = ("aten::index.Tensor", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class HostReads(TorchDispatchMode):
    """Raises at an operator that waits for the device, and at a copy between the devices; counts all others.

    On a CPU every value is at hand, so that nothing else tells a step that waits from one that does not. On the device
    "meta", tensors of the CPU beside those of the step tell the copies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        name = op.name()
        if name in WAITING or (name in _BY_INDEX and _by_mask(args, name)):
            raise AssertionError(f"{name} waits for the device: {_place()}")
        returned = op(*args, **(kwargs or {}))
        given = _tensors([args, list((kwargs or {}).values())])
        devices = {x.device.type for x in given if x.ndim or "copy" in name}
        devices |= {x.device.type for x in _tensors([returned])}
        if len(devices) > 1:
            raise AssertionError(f"{name} copies between {sorted(devices)}: {_place()}")
        return returned


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _by_mask(args: Any, name: str) -> bool:
    masked = any(x is not None and x.dtype == torch.bool for x in args[1])
    fills = name != "aten::index.Tensor" and args[2].numel() == 1  # a masked fill
    return masked and not fills


def _place() -> str:
    lines = [x for x in traceback.extract_stack() if "/coleaf_" in x.filename]
    return f"{lines[-1].filename}:{lines[-1].lineno}" if lines else "no line of ours"
