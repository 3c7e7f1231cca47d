"""Checks of a network's outputs on synthetic batches; each raises an error of one sentence.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

import torch
from einops import rearrange
from torch import Tensor, nn

from coleaf_framework._config import WrongTypeError, reason
from coleaf_framework.protocol import AnchorOutput, StreamSpec

FIELDS = tuple(f.name for f in fields(AnchorOutput))
MIN_WIDTH = 8
Run = Callable[[nn.Module, Mapping[str, Tensor], Tensor | None], object]
Call = Callable[[Mapping[str, Tensor], Tensor | None], AnchorOutput]


def as_output(raw: object, name: str) -> AnchorOutput:
    """Convert a network's outputs, an `AnchorOutput` or a mapping with its field names, to an `AnchorOutput`.

    Args:
        raw: what the network returned.
        name: of the network, for the message.

    Returns:
        The output; shapes and values are not checked.

    Raises:
        ValueError, TypeError: they are something else, or lack a field.
    """
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
        raise WrongTypeError(
            f"{name} returns {type_and_shape(raw)}, not an AnchorOutput or a mapping with its fields {list(FIELDS)}: "
            "return one, or pass wrap(..., adapter=lambda net, streams: AnchorOutput(...))"
        )
    for field in FIELDS:
        value = getattr(raw, field)
        if not isinstance(value, Tensor) and not (field == "modality_probs" and value is None):
            raise WrongTypeError(f"{name}: {field} is {type_and_shape(value)}, not a tensor")
    return raw


def type_and_shape(value: object) -> str:
    """A value's type, with the shapes of a tuple or list and the keys of a mapping, for error messages."""
    if isinstance(value, tuple | list):
        parts = [str(tuple(x.shape)) if isinstance(x, Tensor) else _kind(x) for x in value]
        return f"a {type(value).__name__} of {len(value)} ({', '.join(parts)})"
    if isinstance(value, Mapping):
        return f"a {_kind(value)} with {sorted(map(str, value))}"
    return "None" if value is None else f"a {_kind(value)}"


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def failure(
    name: str,
    problem: BaseException,
    streams: Mapping[str, StreamSpec],
    batch: int,
    length: int,
    worked_at: int | None,
) -> str:
    """Error message for a network that fails on a synthetic batch.

    Args:
        name: of the network.
        problem: what it raised.
        streams: its input streams.
        batch: number of videos, B.
        length: number of segments, T.
        worked_at: another T at which it ran, for a hint; None where there is none.

    Returns:
        A sentence, with a hint where one is known.
    """
    given = ", ".join(f"{s} ({batch}, {spec.frames * length}, {spec.width})" for s, spec in streams.items())
    hint = ""
    if worked_at is not None and worked_at != length:
        hint = f" It ran at T={worked_at}: if its number of segments is fixed, pass wrap(..., segments={worked_at})."
    if "CUDA" in str(problem) or "same device" in str(problem):
        hint += (
            " If its forward calls `.cuda()`, wrap(..., follow_device=True) helps (not against torch.cuda's functions)."
        )
    text = " ".join(str(problem).split())
    why = f"{type(problem).__name__}: {text}" if text else reason(problem)
    return f"{name} fails on a synthetic batch of T={length} with {given}: {why}.{hint}"


def check_shapes(output: AnchorOutput, name: str, batch: int, length: int, num_classes: int) -> None:
    """Check the shapes of all fields; the message has a hint where T is hard-coded in the network."""
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
        actual = tuple(value.shape)
        if len(actual) == len(shape) and all(want in (None, got) for want, got in zip(shape, actual, strict=True)):
            continue
        hint = ""
        if actual and actual[0] != b and actual[0] % b == 0 and len(actual) == len(shape):
            hint = f": the network folds T={t} into the batch; if its T is fixed, pass wrap(..., segments=...)"
        elif len(actual) == len(shape) and field == "segment_probs" and actual[1] != t:
            hint = f": the network returns {actual[1]} segments for T={t}"
        wanted = "(" + ", ".join("D" if want is None else str(want) for want in shape) + ")"
        raise ValueError(
            f"{name}: {field} has shape {actual} where {legend[field]} = {wanted} was expected "
            f"(B={b}, T={t}, C={c}){hint}"
        )


def check_values(output: AnchorOutput, name: str) -> None:
    """Check that all fields are floating point and finite, and probabilities in [0,1]."""
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


def check_width(name: str, width: int) -> None:
    """Check that tokens are wide enough for contrast, which tells segments apart by their directions."""
    if width < MIN_WIDTH:
        raise ValueError(
            f"{name}: tokens have width D = {width}, too narrow for contrast, which needs at least {MIN_WIDTH}: take "
            "wider ones, such as the input of the classifier, tokens=Tap(..., at='input')"
        )


def check_gradients(output: AnchorOutput, name: str, inputs: Mapping[str, Tensor], length: int, final: bool) -> None:
    """Check the gradients of all fields.

    Args:
        output: the network's outputs, (B,...) each.
        name: of the network.
        inputs: its streams, with gradient.
        length: number of segments, T.
        final: also check that every field has a gradient to every stream, and `segment_probs` and `tokens` to every
            segment. Not for a network at initialisation, where zero weights may block gradients.
    """
    for field in FIELDS:
        value = getattr(output, field)
        if value is None:
            continue
        if not value.requires_grad:
            raise ValueError(
                f"{name}: {field} carries no gradient (detached, or computed without autograd); "
                "CoLeaF teaches the Anchor through it"
            )
        if not final:
            continue
        # Random weights, since a plain sum may be constant (of a softmax, for example) and then has no gradient.
        scalar = (value * torch.randn_like(value)).sum()
        gradients = gradients_of(scalar, list(inputs.values()), name)
        for stream, gradient in zip(inputs, gradients, strict=True):
            if gradient is None or not gradient.any():
                raise ValueError(f"{name}: {field} ignores the stream {stream!r}: it has no gradient to it")
            # Pooled outputs may ignore segments (max pooling); outputs per segment may not.
            unread = ~rearrange(gradient, "b (t k) w -> t (b k w)", t=length).any(1)
            if field in ("segment_probs", "tokens") and unread.any():
                raise ValueError(
                    f"{name}: {field} ignores {int(unread.sum())} of T={length} segments of the stream {stream!r}; "
                    "if its T is fixed, pass wrap(..., segments=...)"
                )


def gradients_of(scalar: Tensor, of: list[Tensor], name: str) -> tuple[Tensor | None, ...]:
    """Gradients of a scalar to the tensors `of`, None where it does not depend on one.

    Args:
        scalar: what is differentiated; its graph is kept.
        of: the tensors.
        name: of the network, for the message.

    Returns:
        One for each tensor, of its shape, or None.

    Raises:
        ValueError: they cannot be computed.
    """
    try:
        return torch.autograd.grad(scalar, of, retain_graph=True, allow_unused=True)
    except RuntimeError as problem:
        raise ValueError(f"{name}: gradients cannot be computed on a synthetic batch: {problem}") from problem


def check_videos_apart(output: AnchorOutput, name: str, inputs: Mapping[str, Tensor]) -> None:
    """Check that, in evaluation mode, the outputs of the first and of the last video depend on no other video."""
    for field in FIELDS:
        value = getattr(output, field)
        if value is None:
            continue
        for own, others in ((0, slice(1, None)), (-1, slice(None, -1))):
            scalar = (value[own] * torch.randn_like(value[own])).sum()
            gradients = gradients_of(scalar, list(inputs.values()), name)
            if not any(gradient is not None and gradient[others].any() for gradient in gradients):
                continue
            raise ValueError(
                f"{name}: {field} of one video depends on the other videos of its batch, in evaluation mode too: a "
                "layout names its axes in the wrong order, or the network mixes videos"
            )


def check_mask(
    call: Call, name: str, streams: Mapping[str, StreamSpec], inputs: Mapping[str, Tensor], room: int
) -> None:
    """Check that the outputs of real segments do not change with the content of the padding.

    Args:
        call: runs the network on streams and a mask.
        name: of the network.
        streams: its input streams.
        inputs: their tensors, without padding.
        room: number of segments of padding to append; 0 to mask the last ones of a fixed T instead.
    """
    first_stream, spec = next(iter(streams.items()))
    batch, length = len(inputs[first_stream]), inputs[first_stream].shape[1] // spec.frames
    real = length if room else max(1, length - 3)
    device = inputs[first_stream].device

    def padded() -> dict[str, Tensor]:
        padded_inputs = {}
        for stream, x in inputs.items():
            frames = streams[stream].frames
            kept = x.detach()[:, : real * frames]
            noise = torch.randn(batch, (length + room - real) * frames, x.shape[-1], device=device)
            padded_inputs[stream] = torch.cat([kept, noise], dim=1)
        return padded_inputs

    mask = torch.arange(length + room, device=device).expand(batch, -1) < real
    with torch.no_grad():
        masked = call(padded(), mask)
        if room:
            reference = call({stream: x.detach().clone() for stream, x in inputs.items()}, None)
        else:
            reference = call(padded(), mask)  # with other noise in the padding
    for field in FIELDS:
        expected, actual = getattr(reference, field), getattr(masked, field)
        if expected is None:
            continue
        if field in ("segment_probs", "tokens"):
            expected, actual = expected[:, :real], actual[:, :real]
        if actual.shape != expected.shape or not torch.allclose(actual, expected, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"{name} takes a mask, but {field} of a video changes with the padding after it: "
                "masked segments ((B,T) bool, False) must not reach the real ones"
            )
