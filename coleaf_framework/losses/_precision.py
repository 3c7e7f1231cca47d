"""Losses are computed in float32, whatever precision the networks ran in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def in_float32(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Run `loss` outside autocast with half-precision tensors cast to float32 (float64 stays float64).

    Casting the arguments alone would not do: under autocast a matrix product goes back to half precision.
    """

    def cast(x: object) -> object:
        half = isinstance(x, Tensor) and x.dtype in (torch.float16, torch.bfloat16)
        return x.float() if half else x  # type: ignore[attr-defined]

    @functools.wraps(loss)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = (x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        device = next(tensors).device.type
        with torch.autocast(device, enabled=False):
            return loss(*map(cast, args), **{k: cast(v) for k, v in kwargs.items()})  # type: ignore[arg-type]

    return wrapper
