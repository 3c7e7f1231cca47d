"""How an Anchor is called: by its adapter, if it has one, and with a mask, if it can be told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

Adapter = Callable[..., Any]


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of that name."""
    return name in inspect.signature(function).parameters


def takes_mask(anchor: nn.Module, adapter: Adapter | None) -> bool:
    """Whether the Anchor, or its adapter, can be told which segments are real."""
    if adapter is None:
        return takes(anchor.forward, "mask")
    told = getattr(adapter, "takes_mask", None)
    return takes(adapter, "mask") if told is None else bool(told)


def call_anchor(anchor: nn.Module, adapter: Adapter | None, streams: Mapping[str, Tensor], mask: Tensor | None) -> Any:
    """What the Anchor, or its adapter, returns for streams (B, frames * T, width) and a mask (B,T) bool or None.

    Raises:
        ValueError: there is a mask, and it cannot be told.
    """
    told = takes_mask(anchor, adapter)
    if mask is not None and not told:
        place = "its forward" if adapter is None else "the adapter"
        if hasattr(adapter, "takes_mask"):  # a declaration
            place = "one of its `inputs`"
        raise ValueError(
            f"the videos of this batch differ in length, but {type(anchor).__name__} cannot be told: "
            f"give {place} a `mask` argument ((B,T) bool, True = real), or batch videos of equal length"
        )
    kwargs: dict[str, Any] = {"mask": mask} if told else {}
    return adapter(anchor, dict(streams), **kwargs) if adapter is not None else anchor(**streams, **kwargs)
