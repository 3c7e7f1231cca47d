"""Declaration of a network's inputs, outputs and tokens: an adapter that can be saved and copied."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework._config import LocatedError, WrongTypeError, nearest, shown
from coleaf_framework.adapters.call import Adapter, adapter_takes_mask, call_anchor
from coleaf_framework.adapters.inputs import Calling, Inputs, following
from coleaf_framework.adapters.outputs import DERIVE, Out, Path
from coleaf_framework.adapters.plain_values import (
    as_out,
    as_taps,
    plain_inputs,
    plain_output,
    plain_tokens,
    read_inputs,
    read_outputs,
    read_tokens,
)
from coleaf_framework.adapters.taps import Tap
from coleaf_framework.losses import pool_segments
from coleaf_framework.plugins import import_function, importable_name
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
        inputs: what the network takes: names of streams, "mask" and constants (`Constant`), in order or by argument
            name. With None, each stream is passed by its own name.
        streams: the streams that `inputs` may name.
        follow_device: send `.cuda()` calls in forward, and tensors created on "cuda" there, to the device of the inputs
            instead.
        adapter: `(network, streams[, mask]) -> AnchorOutput` or a mapping of its fields, in place of `outputs` and
            `inputs`; without tokens, where `tokens` has taps.

    Raises:
        ValueError, TypeError: a field is missing or unknown, an input is not a stream, or an adapter comes with
            `outputs`, `inputs` or tokens that are no taps.

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
        adapter: Adapter | None = None,
    ) -> None:
        self.outputs = {} if outputs is None else as_outputs(outputs)
        self.taps = as_taps(tokens)
        self.token_output = None if self.taps or tokens is None else as_out(tokens)
        if outputs is not None and not self.taps and not isinstance(self.token_output, Out):
            raise ValueError("tokens must be declared, and cannot be derived: tokens=4, or tokens=Tap(...)")
        if adapter is not None and (outputs is not None or inputs is not None):
            raise ValueError(
                "an adapter and outputs or inputs exclude each other, since the adapter itself calls the network and "
                "reads its outputs"
            )
        if adapter is not None and self.token_output is not None:
            raise ValueError(f"with an adapter, tokens is a Tap, or two: (audio, visual); got {shown(tokens)}")
        self.adapter = adapter
        self.calling = Calling(inputs, streams, follow_device=follow_device)

    @property
    def takes_mask(self) -> bool:
        """Whether the network, or the adapter, gets the mask."""
        return self.calling.takes_mask if self.adapter is None else adapter_takes_mask(self.adapter)

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
        if "torch._dynamo" not in sys.modules:  # PyTorch's compiler: nothing is compiled where it was not imported
            return self._run(network, streams, mask)
        from coleaf_framework.adapters.uncompiled import run_uncompiled

        output: AnchorOutput = run_uncompiled(self._run, network, streams, mask)
        return output

    def _run(self, network: nn.Module, streams: Mapping[str, Tensor], mask: Tensor | None) -> AnchorOutput:
        name, spec = next(iter(self.calling.streams.items()))
        batch, segments = streams[name].shape[0], streams[name].shape[1] // spec.frames
        with ExitStack() as stack:
            captured = [stack.enter_context(tap.capture(network)) for tap in self.taps]
            if self.adapter is None:
                returned = self.calling(network, streams, mask)
            else:
                stack.enter_context(following(streams, follow=self.calling.follow_device))
                returned = call_anchor(network, self.adapter, streams, mask)
        tokens = self._tokens(returned, captured, batch, segments)
        if not self.outputs:
            return _by_name(returned, tokens, type(network).__name__ if self.adapter is None else "the adapter")
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
        """The declaration as plain values, written as in a declaration file.

        None where it holds what no file can: a large tensor or other object as a `Constant`, or an adapter that is no
        function of a module.
        """
        adapter = importable_name(self.adapter) if self.adapter is not None else None
        if adapter is None and self.adapter is not None:
            return None
        try:
            inputs = plain_inputs(self.calling.inputs)
        except ValueError:
            return None
        content = {
            "outputs": {field: plain_output(out) for field, out in self.outputs.items()} or None,
            "tokens": plain_tokens(self.taps) if self.taps else plain_tokens(self.token_output),
            "inputs": inputs,
            "follow_device": self.calling.follow_device,
        }
        return content if adapter is None else {**content, "adapter": adapter}

    @classmethod
    def from_dict(
        cls, content: Mapping[str, Any], streams: Mapping[str, StreamSpec], *, trust: bool = False
    ) -> Declaration:
        """Rebuild the declaration that `to_dict` returned.

        Args:
            content: from `to_dict`.
            streams: the streams that its inputs name.
            trust: whether its adapter, a "module:function", may be imported.

        Returns:
            The declaration; its adapter is imported where it had one.

        Raises:
            ValueError, TypeError, KeyError: `content` is not a declaration, or its adapter is not trusted.
        """
        name, adapter = content.get("adapter"), None
        if name is not None:
            if not trust:
                raise ValueError(f"the adapter {name!r} would be imported: pass trust=True if you know it")
            adapter = import_function(name, "adapter")
        tokens = read_tokens(content["tokens"])
        return cls(
            read_outputs(content["outputs"]),
            tokens,
            read_inputs(content["inputs"]),
            streams=streams,
            follow_device=content["follow_device"],
            adapter=adapter,
        )


def as_outputs(outputs: Any) -> dict[str, Out | str]:
    """The declared outputs, one for each field.

    Raises:
        ValueError, TypeError: a field is missing or unknown, or no output; names it.
    """
    if not isinstance(outputs, Mapping):
        raise WrongTypeError(f"outputs is {outputs!r}, where a mapping of fields to positions or names was expected")
    unknown = [field for field in outputs if field not in _PROBABILITIES]
    missing = [field for field in _PROBABILITIES if field not in outputs]
    if unknown:
        hint = nearest(str(unknown[0]), _PROBABILITIES)
        hint = " Tokens have an argument of their own" if "tokens" in unknown else hint
        raise LocatedError((unknown[0],), f"outputs has no field {unknown[0]!r}.{hint}")
    if missing:
        raise ValueError(f"outputs lacks {missing}: say where they are, or {DERIVE!r} (see docs/wrapping.md)")
    if outputs["segment_probs"] == DERIVE:
        raise LocatedError(
            ("segment_probs",), "outputs['segment_probs'] cannot be derived: no other output says when an event occurs"
        )
    return {field: as_out(outputs[field]) for field in _PROBABILITIES}


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
