"""Declaration of a network's inputs, outputs and tokens: an adapter that can be saved and copied."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework._config import WrongTypeError, nearest
from coleaf_framework.adapters.inputs import Calling, Constant, Inputs
from coleaf_framework.adapters.outputs import DERIVE, Out, Path
from coleaf_framework.adapters.taps import Tap
from coleaf_framework.losses import pool_segments
from coleaf_framework.protocol import AnchorOutput, StreamSpec

_PROBABILITIES = ("segment_probs", "modality_probs", "video_probs")


class Declaration:
    """An adapter `(network, streams[, mask]) -> AnchorOutput` that is declared instead of coded.

    Args:
        outputs: "segment_probs", "video_probs" and "modality_probs" -> an `Out`, a position or name, a pair of those
            (audio, visual), or "derive". "derive" computes modality probabilities by linear softmax pooling of the
            segment probabilities, and video probabilities as 1 - (1 - audio)(1 - visual). None for a network that
            returns the fields by their own names.
        tokens: a `Tap`, two of them (audio, visual), or a position, name, pair or `Out` as in `outputs`.
        inputs: what the network takes: names of streams, "mask" and constants (`Constant`), in order or by argument.
            With None, each stream is passed by its own name.
        streams: the streams that `inputs` may name.
        follow_device: send `.cuda()` calls in forward, and tensors created on "cuda" there, to the device of the inputs
            instead.

    Raises:
        ValueError, TypeError: a field is missing or unknown, or an input is not a stream.

    Example:
        >>> class Net(nn.Module):  # returns (tokens, segment logits)
        ...     def forward(self, sound, frames):
        ...         tokens = torch.stack([sound, frames], dim=2)  # (B,T,M,D)
        ...         return tokens, tokens[..., :3]
        >>> declaration = Declaration(
        ...     {"segment_probs": Out(1, kind="logits"), "modality_probs": "derive", "video_probs": "derive"},
        ...     tokens=0,
        ...     inputs=("audio", "visual"),
        ...     streams={"audio": StreamSpec(8, "audio"), "visual": StreamSpec(8, "visual")},
        ... )
        >>> output = declaration(Net(), {"audio": torch.zeros(2, 10, 8), "visual": torch.zeros(2, 10, 8)})
        >>> output.segment_probs.shape, output.video_probs.shape
        (torch.Size([2, 10, 2, 3]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        outputs: Mapping[str, Out | Path | tuple[Path, Path]] | None,
        tokens: Tap | tuple[Tap, Tap] | Out | Path | tuple[Path, Path] | None,
        inputs: Inputs | None = None,
        *,
        streams: Mapping[str, StreamSpec],
        follow_device: bool = False,
    ) -> None:
        self.outputs = {} if outputs is None else _as_outputs(outputs)
        self.taps = _as_taps(tokens)
        self.token_output = None if self.taps or tokens is None else _as_out(tokens)
        if outputs is not None and not self.taps and not isinstance(self.token_output, Out):
            raise ValueError("tokens must be declared, and cannot be derived: tokens=4, or tokens=Tap(...)")
        self.calling = Calling(inputs, streams, follow_device=follow_device)

    @property
    def takes_mask(self) -> bool:
        """Whether the network gets the mask."""
        return self.calling.takes_mask

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, network: nn.Module, streams: Mapping[str, Tensor], mask: Tensor | None = None) -> AnchorOutput:
        """Run the network and read the declared fields from its outputs and taps.

        Runs uncompiled under torch.compile, which does not support hooks that are registered per call.

        Args:
            network: the Anchor.
            streams: name -> (B, frames * T, width) float.
            mask: (B,T) bool, True = real segment; None where all segments are real.

        Raises:
            ValueError, TypeError: the network's outputs, or the captured tensors, are not as declared.
        """
        name, spec = next(iter(self.calling.streams.items()))
        batch, segments = len(streams[name]), streams[name].shape[1] // spec.frames
        with ExitStack() as stack:
            captured = [stack.enter_context(tap.capture(network)) for tap in self.taps]
            returned = self.calling(network, streams, mask)
        tokens = self._tokens(returned, captured, batch, segments)
        if not self.outputs:
            return _by_name(returned, tokens, type(network).__name__)
        read = {
            field: out.read(returned, field, batch, segments)
            for field, out in self.outputs.items()
            if isinstance(out, Out)
        }
        if "modality_probs" not in read:
            read["modality_probs"] = pool_segments(read["segment_probs"], mask)
        if "video_probs" not in read:
            read["video_probs"] = 1 - (1 - read["modality_probs"]).prod(1)
        assert tokens is not None
        return AnchorOutput(tokens=tokens, **read)

    def _tokens(self, returned: Any, captured: list[Any], batch: int, segments: int) -> Tensor | None:
        """The declared tokens, (B,T,M,D); None where the declaration has none."""
        if self.token_output is not None:
            assert isinstance(self.token_output, Out)
            return self.token_output.read(returned, "tokens", batch, segments)
        if not self.taps:
            return None
        if len(self.taps) == 1:
            return self.taps[0].tokens(captured[0], batch, segments)
        halves = zip(self.taps, captured, strict=True)
        return torch.stack([tap.tokens(runs, batch, segments, single=True) for tap, runs in halves], dim=2)

    def to_dict(self) -> dict[str, Any] | None:
        """The declaration as plain values, for `from_dict`; None where a `Constant` holds a tensor or other object."""

        def plain(x: Any) -> Any:
            if isinstance(x, Constant):
                return {"constant": x.value}
            if isinstance(x, Out | Tap):
                changed = {key: value for key, value in asdict(x).items() if value != _default(type(x), key)}
                return {
                    type(x).__name__.lower(): {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}
                }
            return x

        constants = [x.value for x in self.calling.arguments if isinstance(x, Constant)]
        if not all(_is_plain(x) for x in constants):
            return None
        inputs: Any = self.calling.inputs
        if isinstance(inputs, Mapping):
            inputs = {name: plain(x) for name, x in inputs.items()}
        elif inputs is not None:
            inputs = [plain(x) for x in inputs]
        return {
            "outputs": {field: plain(out) for field, out in self.outputs.items()} or None,
            "tokens": [plain(tap) for tap in self.taps] if self.taps else plain(self.token_output),
            "inputs": inputs,
            "follow_device": self.calling.follow_device,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], streams: Mapping[str, StreamSpec]) -> Declaration:
        """Rebuild the declaration that `to_dict` returned.

        Args:
            content: from `to_dict`.
            streams: the streams that its inputs name.

        Raises:
            ValueError, TypeError, KeyError: `content` is not a declaration.
        """

        def rebuild(x: Any) -> Any:
            if isinstance(x, list):
                return tuple(rebuild(part) for part in x)
            if not isinstance(x, Mapping):
                return x
            if "constant" in x:
                return Constant(x["constant"])
            ((kind, values),) = x.items()
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
            return {"out": Out, "tap": Tap}[kind](**values)

        tokens = rebuild(content["tokens"])
        if isinstance(tokens, tuple) and len(tokens) == 1:
            (tokens,) = tokens
        inputs = content["inputs"]
        if isinstance(inputs, Mapping):
            inputs = {name: rebuild(x) for name, x in inputs.items()}
        elif inputs is not None:
            inputs = [rebuild(x) for x in inputs]
        outputs = content["outputs"]
        if outputs is not None:
            outputs = {field: rebuild(x) for field, x in outputs.items()}
        return cls(outputs, tokens, inputs, streams=streams, follow_device=content["follow_device"])


def _as_outputs(outputs: Any) -> dict[str, Out | str]:
    if not isinstance(outputs, Mapping):
        raise WrongTypeError(f"outputs is {outputs!r}, where a mapping of fields to positions or names was expected")
    unknown = [field for field in outputs if field not in _PROBABILITIES]
    missing = [field for field in _PROBABILITIES if field not in outputs]
    if unknown:
        hint = nearest(str(unknown[0]), _PROBABILITIES)
        hint = " Tokens have an argument of their own" if "tokens" in unknown else hint
        raise ValueError(f"outputs has no field {unknown[0]!r}.{hint}")
    if missing:
        raise ValueError(f"outputs lacks {missing}: say where they are, or {DERIVE!r} (see docs/wrapping.md)")
    if outputs["segment_probs"] == DERIVE:
        raise ValueError("outputs['segment_probs'] cannot be derived: no other output says when an event occurs")
    return {field: _as_out(outputs[field]) for field in _PROBABILITIES}


def _by_name(returned: Any, tokens: Tensor | None, name: str) -> AnchorOutput:
    """The outputs of a network that returns the protocol's fields by name, with tokens from a tap if there is one."""
    fields = (*_PROBABILITIES, "tokens")
    values = {f: returned.get(f) if isinstance(returned, Mapping) else getattr(returned, f, None) for f in fields}
    if tokens is not None:
        values["tokens"] = tokens
    missing = [f for f in fields if values[f] is None and f != "modality_probs"]
    if missing:
        raise ValueError(
            f"{name} does not return {missing} by these names: declare outputs={{...}} (see docs/wrapping.md)"
        )
    return AnchorOutput(**values)  # type: ignore[arg-type]


def _default(kind: type, key: str) -> Any:
    return kind.__dataclass_fields__[key].default  # type: ignore[attr-defined]


def _is_plain(x: Any) -> bool:
    if isinstance(x, list):
        return all(map(_is_plain, x))
    return x is None or isinstance(x, bool | int | float | str)


def _as_out(given: Any) -> Out | str:
    if isinstance(given, Out) or given == DERIVE:
        return given  # type: ignore[no-any-return]
    if isinstance(given, int | str):
        return Out(given)
    if isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(x, int | str) for x in given):
        return Out(given[0], visual=given[1])
    raise WrongTypeError(
        f"{given!r} is not an output: expected Out(...), a position, a name, (audio, visual) or {DERIVE!r}"
    )


def _as_taps(given: Any) -> tuple[Tap, ...]:
    taps = given if isinstance(given, tuple | list) else (given,)
    if not any(isinstance(x, Tap) for x in taps):
        return ()
    if len(taps) > 2 or not all(isinstance(x, Tap) for x in taps):
        raise WrongTypeError("tokens takes one Tap, or two: (audio, visual)")
    return tuple(taps)
