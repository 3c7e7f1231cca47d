"""Call an Anchor: through its adapter if it has one, and with the mask if it takes one."""

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
    """Whether the Anchor, or its adapter, takes the mask of real segments."""
    if adapter is None:
        return takes(anchor.forward, "mask")
    return adapter_takes_mask(adapter)


def adapter_takes_mask(adapter: Adapter) -> bool:
    """Whether an adapter takes the mask of real segments."""
    declared = getattr(adapter, "takes_mask", None)
    return takes(adapter, "mask") if declared is None else bool(declared)


def call_anchor(anchor: nn.Module, adapter: Adapter | None, streams: Mapping[str, Tensor], mask: Tensor | None) -> Any:
    """Run the Anchor, through its adapter if it has one.

    Args:
        anchor: the network.
        adapter: `(network, streams[, mask]) -> AnchorOutput`, or None.
        streams: name -> (B, frames * T, width) float.
        mask: (B,T) bool, True = real segment; None where all segments are real.

    Returns:
        What the Anchor or the adapter returns.

    Raises:
        ValueError: there is a mask, but neither the Anchor nor its adapter takes one.
    """
    accepts_mask = takes_mask(anchor, adapter)
    if mask is not None and not accepts_mask:
        place = "its forward" if adapter is None else "the adapter"
        if hasattr(adapter, "takes_mask"):  # a declaration
            place = "one of its `inputs`"
        raise ValueError(
            f"the videos of this batch differ in length, but {type(anchor).__name__} takes no mask: "
            f"give {place} a `mask` argument ((B,T) bool, True = real), or batch videos of equal length"
        )
    kwargs: dict[str, Any] = {"mask": mask} if accepts_mask else {}
    return adapter(anchor, dict(streams), **kwargs) if adapter is not None else anchor(**streams, **kwargs)
