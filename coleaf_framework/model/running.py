"""A batch's streams as a network takes them, one call of an Anchor, and marks for a profiler."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from torch import Tensor, nn
from torch.profiler import record_function

from coleaf_framework import losses
from coleaf_framework.adapters import Adapter, call_anchor, call_anchor_with_raw, takes
from coleaf_framework.protocol import AnchorOutput, StreamSpec


def phase(name: str) -> AbstractContextManager[None]:
    """Marks a part of a training step for a profiler."""
    return record_function(f"coleaf: {name}")


def batch_shape(streams: Mapping[str, Tensor], specs: Mapping[str, StreamSpec]) -> tuple[int, int]:
    """(B,T) of a batch.

    Args:
        streams: stream name -> (B, frames * T, width).
        specs: what they are; the first says T.

    Returns:
        Number of videos, and number of segments.
    """
    name, spec = next(iter(specs.items()))
    return streams[name].shape[0], streams[name].shape[1] // spec.frames


def fixed_length(network: nn.Module, segments: int) -> str:
    """A sentence for messages: the network works for one T only, and where that T is set."""
    name = type(network).__name__
    if getattr(network, "fixed_segments", None) is None:
        return f"{name} was wrapped with segments={segments}"
    option = " (anchor.options.segments)" if takes(type(network), "segments") else ""
    return f"{name} works for T = {segments} only{option}"


def take_streams(
    streams: Mapping[str, Tensor], specs: Mapping[str, StreamSpec], segments: int | None, network: nn.Module
) -> dict[str, Tensor]:
    """The streams of a batch that a network takes, in its order.

    Args:
        streams: stream name -> (B, frames * T, width), of the batch.
        specs: what the network takes.
        segments: number of segments, T, where the network has a fixed one.
        network: for messages.

    Returns:
        Stream name -> (B, frames * T, width), the same tensors.

    Raises:
        ValueError: the batch lacks one, or has another T.
    """
    if missing := specs.keys() - streams.keys():
        raise ValueError(f"the batch lacks the streams {sorted(missing)}; it has {sorted(streams)}")
    own = {stream: streams[stream] for stream in specs}
    _, given = batch_shape(own, specs)
    if segments is not None and segments != given:
        raise ValueError(f"the batch has T = {given} segments; {fixed_length(network, segments)}")
    return own


def run_anchor(
    anchor: nn.Module,
    adapter: Adapter | None,
    streams: Mapping[str, Tensor],
    mask: Tensor | None,
    shape: tuple[int, int],
    *,
    copies: bool = False,
    keeps_raw: bool = False,
) -> tuple[AnchorOutput, object]:
    """An Anchor's answer, with `modality_probs`; and what the network itself returned, None unless `keeps_raw`.

    Args:
        anchor: the network.
        adapter: how to call it, or None.
        streams: as the network takes them.
        mask: (B,T) bool, True = real segment, or None.
        shape: (B,T) of the batch.
        copies: give the network copies of the streams, since it changes them in place.
        keeps_raw: whether a loss needs what the network itself returned.

    Returns:
        The output with every field; and the raw outputs, or None.

    Raises:
        ValueError: it answers for another (B,T), as a network with its T written into it does.
    """
    given = {name: x.clone() for name, x in streams.items()} if copies else streams
    raw: object = None
    if keeps_raw:
        answer, raw = call_anchor_with_raw(anchor, adapter, given, mask)
    else:
        answer = call_anchor(anchor, adapter, given, mask)
    output = answer if isinstance(answer, AnchorOutput) else AnchorOutput(**answer)
    if output.segment_probs.shape[:2] != shape:
        raise ValueError(
            f"{type(anchor).__name__} answers (B,T) = {tuple(output.segment_probs.shape[:2])} "
            f"to a batch of (B,T) = {shape}"
        )
    if output.modality_probs is None:
        pooled = losses.pool_segments(output.segment_probs, mask)
        output = AnchorOutput(output.segment_probs, output.video_probs, output.tokens, pooled)
    return output, raw
