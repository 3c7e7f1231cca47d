"""A network's inputs, outputs and tokens as a declaration that can be saved, copied and called."""

from __future__ import annotations

import sys
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
    """An adapter, `(network, streams[, mask]) -> AnchorOutput`, made of places instead of code.

    Args:
        outputs: "segment_probs", "video_probs" and "modality_probs" -> an `Out`, a position or name, a pair of those
            (audio, visual), or "derive". Derived modality probabilities are pooled from segments by linear softmax
            pooling, derived video probabilities are 1 - (1 - audio)(1 - visual). Nothing is derived unless it is said.
            None for a network that returns the fields by their own names.
        tokens: a `Tap`, two (audio, visual), or as in `outputs`.
        inputs: what the network takes: names of streams, "mask" and constants (`Constant`), in order or by the name
            of the argument. Where None, each stream by its own name.
        streams: the streams that `inputs` may name.
        follow_device: `.cuda()` inside forward, and tensors made on "cuda" there, go to the inputs' device instead.

    Raises:
        ValueError: a field is missing or unknown, or an input is no stream.
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
            raise ValueError("tokens must be said, and cannot be derived: tokens=4, or tokens=Tap(...)")
        self.calling = Calling(inputs, streams, follow_device=follow_device)

    @property
    def takes_mask(self) -> bool:
        """Whether the network is given the mask."""
        return self.calling.takes_mask

    def __call__(self, network: nn.Module, streams: Mapping[str, Tensor], mask: Tensor | None = None) -> AnchorOutput:
        """Run the network and read what is declared.

        Hooks and torch.compile do not go together, so under a compiled CoLeaF this part runs as it is.

        Raises:
            ValueError, TypeError: what the network returns, or what a tap captured, is not as declared.
        """
        if "torch._dynamo" not in sys.modules:  # PyTorch's compiler: nothing is compiled where it was not imported
            return self._run(network, streams, mask)
        from coleaf_framework.adapters.uncompiled import run_uncompiled

        output: AnchorOutput = run_uncompiled(self._run, network, streams, mask)
        return output

    def _run(self, network: nn.Module, streams: Mapping[str, Tensor], mask: Tensor | None) -> AnchorOutput:
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
        """(B,T,M,D) as declared; None where nothing is said of them."""
        if self.token_output is not None:
            assert isinstance(self.token_output, Out)
            return self.token_output.read(returned, "tokens", batch, segments)
        if not self.taps:
            return None
        if len(self.taps) == 1:
            return self.taps[0].tokens(captured[0], batch, segments)
        halves = zip(self.taps, captured, strict=True)
        return torch.stack([tap.tokens(runs, batch, segments, single=True) for tap, runs in halves], dim=2)

    def describe(self) -> dict[str, Any] | None:
        """The declaration as plain values, for `from_description`; None where a constant is more than that."""

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
    def from_description(cls, described: Mapping[str, Any], streams: Mapping[str, StreamSpec]) -> Declaration:
        """The declaration that `describe` described.

        Raises:
            ValueError, TypeError, KeyError: it is no such description.
        """

        def made(x: Any) -> Any:
            if isinstance(x, list):
                return tuple(made(part) for part in x)
            if not isinstance(x, Mapping):
                return x
            if "constant" in x:
                return Constant(x["constant"])
            ((kind, values),) = x.items()
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
            return {"out": Out, "tap": Tap}[kind](**values)

        tokens = made(described["tokens"])
        if isinstance(tokens, tuple) and len(tokens) == 1:
            (tokens,) = tokens
        inputs = described["inputs"]
        if isinstance(inputs, Mapping):
            inputs = {name: made(x) for name, x in inputs.items()}
        elif inputs is not None:
            inputs = [made(x) for x in inputs]
        outputs = described["outputs"]
        if outputs is not None:
            outputs = {field: made(x) for field, x in outputs.items()}
        return cls(outputs, tokens, inputs, streams=streams, follow_device=described["follow_device"])


def _as_outputs(outputs: Any) -> dict[str, Out | str]:
    if not isinstance(outputs, Mapping):
        raise WrongTypeError(f"outputs is {outputs!r}, where a mapping of fields to places was expected")
    unknown = [field for field in outputs if field not in _PROBABILITIES]
    missing = [field for field in _PROBABILITIES if field not in outputs]
    if unknown:
        hint = nearest(str(unknown[0]), _PROBABILITIES)
        hint = " Tokens have an argument of their own" if "tokens" in unknown else hint
        raise ValueError(f"outputs has no field {unknown[0]!r}.{hint}")
    if missing:
        raise ValueError(f"outputs lacks {missing}: say where they are, or {DERIVE!r} (see docs/wrapping.md)")
    if outputs["segment_probs"] == DERIVE:
        raise ValueError("outputs['segment_probs'] cannot be derived: nothing else tells when an event occurs")
    return {field: _as_out(outputs[field]) for field in _PROBABILITIES}


def _by_name(returned: Any, tokens: Tensor | None, name: str) -> AnchorOutput:
    """What a network returns that has the protocol's fields itself, with tokens from a tap where there is one."""
    fields = (*_PROBABILITIES, "tokens")
    found = {f: returned.get(f) if isinstance(returned, Mapping) else getattr(returned, f, None) for f in fields}
    if tokens is not None:
        found["tokens"] = tokens
    missing = [f for f in fields if found[f] is None and f != "modality_probs"]
    if missing:
        raise ValueError(f"{name} does not return {missing} by these names: say outputs={{...}} (see docs/wrapping.md)")
    return AnchorOutput(**found)  # type: ignore[arg-type]


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
    raise WrongTypeError(f"{given!r} is no place: expected Out(...), a position, a name, (audio, visual) or {DERIVE!r}")


def _as_taps(given: Any) -> tuple[Tap, ...]:
    taps = given if isinstance(given, tuple | list) else (given,)
    if not any(isinstance(x, Tap) for x in taps):
        return ()
    if len(taps) > 2 or not all(isinstance(x, Tap) for x in taps):
        raise WrongTypeError("tokens takes one Tap, or two: (audio, visual)")
    return tuple(taps)
