"""The dry run: what a network answers to synthetic batches, and what is wrong with it.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from coleaf_framework.collaboration import own_loss
from coleaf_framework.protocol import AnchorOutput, Batch, Progress, StreamSpec

FIELDS = tuple(f.name for f in fields(AnchorOutput))
Run = Callable[[Mapping[str, Tensor], Tensor | None], object]
_RESERVED = ("contrast", "cooccurrence")


def dry_run(
    network: nn.Module,
    run: Run,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    segments: int | None,
    takes_mask: bool,
) -> int:
    """Run `network` on synthetic batches and check every promise of the protocol.

    Runs at T = 10 and T = 20 in training mode (a multiple of 10, since networks with 10 segments written into
    them fold 20 into the batch), and once in evaluation mode. Leaves random state, buffers, modes and gradients alone.

    Args:
        network: what `run` runs.
        run: streams and mask -> what the network returns.
        streams: its inputs.
        num_classes: C.
        segments: T, if the network has a fixed one; then all runs use it.
        takes_mask: whether the network can be told about padding; then it is checked that padding changes nothing.

    Returns: D, the token width.

    Raises:
        ValueError, TypeError: the first broken promise, in one sentence.
    """
    name = type(network).__name__
    lengths = (10, 20) if segments is None else (segments, segments)
    widths: list[int] = []
    with _unchanged(network):
        for batch, length, training in ((3, lengths[0], True), (2, lengths[1], True), (2, lengths[1], False)):
            network.train(training)
            if widths:
                _jitter(network)
            inputs = _synthetic(network, streams, batch, length)
            try:
                with torch.enable_grad():
                    # Copies, since a network may change its inputs in place, as it would those of a data loader.
                    raw = run({stream: x.clone() for stream, x in inputs.items()}, None)
            except Exception as problem:
                worked = lengths[0] if widths and segments is None else None
                raise ValueError(_failure(name, problem, streams, batch, length, worked)) from problem
            output = as_output(raw, name)
            _check_shapes(output, name, batch, length, num_classes)
            _check_values(output, name)
            if training:
                _check_gradients(output, name, inputs, length, final=bool(widths))
                _check_own_loss(network, output, inputs, num_classes)
            widths.append(output.tokens.shape[-1])
        if takes_mask and segments is None:
            _check_mask(run, name, streams, inputs)
    if widths[0] != widths[1]:
        raise ValueError(f"{name}: token width D changes with T: {widths[0]} at T={lengths[0]}, then {widths[1]}")
    return widths[0]


def as_output(raw: object, name: str) -> AnchorOutput:
    """What a network returned, as an `AnchorOutput`: it may be one, or a mapping with its field names."""
    if isinstance(raw, Mapping):
        missing = [f for f in ("segment_probs", "video_probs", "tokens") if f not in raw]
        unknown = [key for key in raw if key not in FIELDS]
        if missing or unknown:
            raise ValueError(
                f"{name} returns a mapping with {sorted(map(str, raw))}; it lacks {missing}"
                + (f" and may not have {unknown}" if unknown else "")
                + f"; the fields are {list(FIELDS)}"
            )
        raw = AnchorOutput(**raw)
    if not isinstance(raw, AnchorOutput):
        raise TypeError(
            f"{name} returns {_describe(raw)}, not an AnchorOutput or a mapping with its fields {list(FIELDS)}: "
            "return one, or pass wrap(..., adapter=lambda net, streams: AnchorOutput(...))"
        )
    for field in FIELDS:
        value = getattr(raw, field)
        if not isinstance(value, Tensor) and not (field == "modality_probs" and value is None):
            raise TypeError(f"{name}: {field} is a {type(value).__name__}, not a tensor")
    return raw


def _describe(value: object) -> str:
    if isinstance(value, tuple | list):
        parts = [str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in value]
        return f"a {type(value).__name__} of {len(value)} ({', '.join(parts)})"
    return f"a {type(value).__name__}"


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    tensors = [*network.parameters(), *network.buffers()]
    kept = [x.detach().clone() for x in tensors]
    generators = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(0)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        with torch.no_grad():
            for x, before in zip(tensors, kept, strict=True):
                x.copy_(before)


def _jitter(network: nn.Module) -> None:
    """Move every parameter a little: a layer that starts at zero passes no gradient on, and is no fault."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))


def _synthetic(network: nn.Module, streams: Mapping[str, StreamSpec], batch: int, length: int) -> dict[str, Tensor]:
    parameter = next(network.parameters(), torch.zeros(()))
    return {
        stream: torch.randn(batch, spec.frames * length, spec.width, device=parameter.device, requires_grad=True)
        for stream, spec in streams.items()
    }


def _failure(
    name: str,
    problem: Exception,
    streams: Mapping[str, StreamSpec],
    batch: int,
    length: int,
    worked_at: int | None,
) -> str:
    given = ", ".join(f"{s} ({batch}, {spec.frames * length}, {spec.width})" for s, spec in streams.items())
    hint = ""
    if worked_at is not None and worked_at != length:
        hint = f" It ran at T={worked_at}: if its number of segments is fixed, pass wrap(..., segments={worked_at})."
    return f"{name} fails on a synthetic batch of T={length} with {given}: {type(problem).__name__}: {problem}.{hint}"


def _check_shapes(output: AnchorOutput, name: str, batch: int, length: int, num_classes: int) -> None:
    b, t, c = batch, length, num_classes
    expected = {
        "segment_probs": (b, t, 2, c),
        "video_probs": (b, c),
        "modality_probs": (b, 2, c),
        "tokens": (b, t, 2, None),
    }
    legend = {
        "segment_probs": "(B,T,M,C)",
        "video_probs": "(B,C)",
        "modality_probs": "(B,M,C)",
        "tokens": "(B,T,M,D)",
    }
    for field, shape in expected.items():
        value = getattr(output, field)
        if value is None:
            continue
        found = tuple(value.shape)
        if len(found) == len(shape) and all(want in (None, got) for want, got in zip(shape, found, strict=True)):
            continue
        hint = ""
        if found and found[0] != b and found[0] % b == 0 and len(found) == len(shape):
            hint = f": the network folds T={t} into the batch; if its T is fixed, pass wrap(..., segments=...)"
        elif len(found) == len(shape) and field == "segment_probs" and found[1] != t:
            hint = f": the network answers {found[1]} segments to T={t}"
        wanted = "(" + ", ".join("D" if want is None else str(want) for want in shape) + ")"
        raise ValueError(
            f"{name}: {field} has shape {found} where {legend[field]} = {wanted} was expected "
            f"(B={b}, T={t}, C={c}){hint}"
        )


def _check_values(output: AnchorOutput, name: str) -> None:
    for field in FIELDS:
        value = getattr(output, field)
        if value is None:
            continue
        if value.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"{name}: {field} is {value.dtype}, where float32 (or a half precision) was expected")
        if not torch.isfinite(value).all():
            raise ValueError(f"{name}: {field} holds NaN or inf on a synthetic batch of standard normal features")
        if field == "tokens":
            continue
        low, high = value.min().item(), value.max().item()
        if low < 0 or high > 1 + 1e-5:  # attention weights that sum to 1 exceed it by rounding
            raise ValueError(
                f"{name}: {field} spans [{low:.3g}, {high:.3g}] where probabilities in [0, 1] were expected: "
                "if these are logits, return their sigmoid"
            )


def _check_gradients(output: AnchorOutput, name: str, inputs: Mapping[str, Tensor], length: int, final: bool) -> None:
    for field in FIELDS:
        value = getattr(output, field)
        if value is None:
            continue
        if not value.requires_grad:
            raise ValueError(
                f"{name}: {field} carries no gradient (detached, or computed without autograd); "
                "CoLeaF teaches the Anchor through it"
            )
        if not final:  # zeros at initialisation; looked at again with all parameters moved
            continue
        # Random weights: the sum of a softmax, say, is constant and would have no gradient.
        scalar = (value * torch.randn_like(value)).sum()
        found = torch.autograd.grad(scalar, list(inputs.values()), retain_graph=True, allow_unused=True)
        for stream, gradient in zip(inputs, found, strict=True):
            if gradient is None or not gradient.any():
                raise ValueError(f"{name}: {field} ignores the stream {stream!r}: it has no gradient to it")
            # Pooling may pass over segments; what is said of each segment may not.
            unread = ~rearrange(gradient, "b (t k) w -> t (b k w)", t=length).any(1)
            if field in ("segment_probs", "tokens") and unread.any():
                raise ValueError(
                    f"{name}: {field} ignores {int(unread.sum())} of T={length} segments of the stream {stream!r}; "
                    "if its T is fixed, pass wrap(..., segments=...)"
                )


def _check_mask(run: Run, name: str, streams: Mapping[str, StreamSpec], inputs: Mapping[str, Tensor]) -> None:
    """Compare a batch with the same batch padded by junk: what is real must stay as it is."""
    name_of_one, spec = next(iter(streams.items()))
    batch, length = len(inputs[name_of_one]), inputs[name_of_one].shape[1] // spec.frames
    junk = {stream: torch.randn_like(x[:, : 3 * streams[stream].frames]) for stream, x in inputs.items()}
    padded = {stream: torch.cat([x.detach(), junk[stream]], dim=1) for stream, x in inputs.items()}
    mask = torch.arange(length + 3, device=inputs[name_of_one].device).expand(batch, -1) < length
    with torch.no_grad():
        alone = as_output(run({stream: x.detach().clone() for stream, x in inputs.items()}, None), name)
        told = as_output(run(padded, mask), name)
    for field in FIELDS:
        expected, found = getattr(alone, field), getattr(told, field)
        if expected is None:
            continue
        if field in ("segment_probs", "tokens"):
            found = found[:, :length]
        if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"{name} takes a mask, but {field} of a video changes with the padding after it: "
                "masked segments ((B,T) bool, False) must not reach the real ones"
            )


def _check_own_loss(network: nn.Module, output: AnchorOutput, inputs: Mapping[str, Tensor], num_classes: int) -> None:
    own, name = own_loss(network), type(network).__name__
    if own is None:
        return
    device = output.video_probs.device
    labels = torch.zeros(len(output.video_probs), num_classes, device=device)
    labels[:, 0] = 1
    try:
        terms = own(output, Batch(streams=inputs, labels=labels), Progress(epoch=1))
    except Exception as problem:
        raise ValueError(
            f"{name}.loss(output, batch, progress) fails on a synthetic batch: {type(problem).__name__}: {problem}"
        ) from problem
    if not isinstance(terms, Mapping) or not terms:
        raise TypeError(f"{name}.loss returns {_describe(terms)}, not a mapping of named scalar tensors")
    for term, value in terms.items():
        if term in _RESERVED:
            raise ValueError(f"{name}.loss: {term!r} is the name of a term of CoLeaF: call yours something else")
        if not isinstance(value, Tensor) or value.ndim or not value.requires_grad or not torch.isfinite(value):
            raise ValueError(f"{name}.loss: {term!r} is not a finite scalar tensor with gradient: {value!r}")
