"""What a network itself returns, whatever its adapter makes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from coleaf_framework.adapters.call import Adapter, call_anchor


@contextmanager
def values_returned_by(network: nn.Module) -> Iterator[list[Any]]:
    """The values that the network returns in this context, one for each run, by a hook that is removed afterwards."""
    values: list[Any] = []
    handle = network.register_forward_hook(lambda module, arguments, returned: values.append(returned))
    try:
        yield values
    finally:
        handle.remove()


def the_only_value(values: list[Any], name: str) -> Any:
    """The value of a network that ran once.

    Args:
        values: from `values_returned_by`.
        name: of the network.

    Raises:
        ValueError: it ran more than once, or not at all.
    """
    if len(values) != 1:
        how = "does not run the network by calling it" if not values else f"runs the network {len(values)} times"
        raise ValueError(
            f"{name}: its adapter {how}, so there is no one return value for `loss`: run it once, or give the network "
            "a method loss(output, batch, progress) instead"
        )
    return values[0]


def call_anchor_with_raw(
    anchor: nn.Module, adapter: Adapter | None, streams: Mapping[str, Tensor], mask: Tensor | None
) -> tuple[Any, Any]:
    """Run the Anchor as `call_anchor` does.

    Arguments and errors as there; runs uncompiled under torch.compile where there is an adapter, as declarations do.

    Returns:
        What the Anchor or its adapter returns, and what the network itself returned.

    Raises:
        ValueError: the adapter does not call the network exactly once.
    """
    if adapter is None:
        raw = call_anchor(anchor, None, streams, mask)
        return raw, raw

    def run() -> tuple[Any, Any]:
        with values_returned_by(anchor) as values:
            output = call_anchor(anchor, adapter, streams, mask)
        return output, the_only_value(values, type(anchor).__name__)

    if "torch._dynamo" not in sys.modules:  # PyTorch's compiler: nothing is compiled where it was not imported
        return run()
    from coleaf_framework.adapters.uncompiled import run_uncompiled

    called: tuple[Any, Any] = run_uncompiled(run)
    return called
