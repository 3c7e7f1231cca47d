"""Compute losses in float32, whatever the precision of the network outputs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def per_modality(like: Tensor, audio: float, visual: float) -> Tensor:
    """An audio and a visual constant as one tensor, created on the device without a host-to-device copy.

    Args:
        like: any tensor, whose dtype and device the result takes.
        audio: constant for the audio modality.
        visual: constant for the visual modality.

    Returns:
        (M,).

    Example:
        >>> per_modality(torch.zeros(1), 0.5, 0.25)
        tensor([0.5000, 0.2500])
    """
    return torch.stack([like.new_full((), audio), like.new_full((), visual)])


def in_float32(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Run `loss` outside autocast with half-precision tensors cast to float32 (float64 stays float64).

    Casting the arguments alone is not enough, since autocast would run matrix products in half precision again.
    """

    def cast(x: object) -> object:
        half = isinstance(x, Tensor) and x.dtype in (torch.float16, torch.bfloat16)
        return x.float() if half else x  # type: ignore[attr-defined]

    @functools.wraps(loss)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = (x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        device = next(tensors).device.type
        if not torch.amp.is_autocast_available(device):  # such as "meta"
            return loss(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return loss(*map(cast, args), **{k: cast(v) for k, v in kwargs.items()})  # type: ignore[arg-type]

    return wrapper
