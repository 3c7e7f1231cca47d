"""One call of an Anchor, whose answer is checked and completed; and marks for a profiler."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from torch import Tensor, nn
from torch.profiler import record_function

from coleaf_framework import losses
from coleaf_framework.adapters import Adapter, call_anchor
from coleaf_framework.protocol import AnchorOutput


def phase(name: str) -> AbstractContextManager[None]:
    """Marks a part of a training step for a profiler."""
    return record_function(f"coleaf: {name}")


def run_anchor(
    anchor: nn.Module,
    adapter: Adapter | None,
    streams: Mapping[str, Tensor],
    mask: Tensor | None,
    shape: tuple[int, int],
    *,
    copies: bool = False,
) -> AnchorOutput:
    """An Anchor's answer, with `modality_probs`.

    Args:
        anchor: the network.
        adapter: how to call it, or None.
        streams: as the network takes them.
        mask: (B,T) bool, True = real segment, or None.
        shape: (B,T) of the batch.
        copies: give the network copies of the streams, since it changes them in place.

    Raises:
        ValueError: it answers for another (B,T), as a network with its T written into it does.
    """
    given = {name: x.clone() for name, x in streams.items()} if copies else streams
    raw = call_anchor(anchor, adapter, given, mask)
    output = raw if isinstance(raw, AnchorOutput) else AnchorOutput(**raw)
    if output.segment_probs.shape[:2] != shape:
        raise ValueError(
            f"{type(anchor).__name__} answers (B,T) = {tuple(output.segment_probs.shape[:2])} "
            f"to a batch of (B,T) = {shape}"
        )
    if output.modality_probs is None:
        pooled = losses.pool_segments(output.segment_probs, mask)
        output = AnchorOutput(output.segment_probs, output.video_probs, output.tokens, pooled)
    return output
