"""Map streams, mask and constants to the arguments of a network, and redirect hard-coded "cuda" devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coleaf_framework._config import LocatedError, WrongTypeError, nearest, shown
from coleaf_framework.protocol import StreamSpec

_MASK = "mask"


@dataclass(frozen=True)
class Constant:
    """An argument that is the same for every batch.

    Args:
        value: any value, such as a flag or a number; a tensor is moved to the device of the inputs.
        repeat: "b" repeats the value for each video, along a new first axis of length B; "b t" for each segment of each
            video, along two new axes of lengths B and T. Numbers and nested lists become tensors.

    Raises:
        ValueError, TypeError: `repeat` has another value, or the value to repeat cannot become a tensor.

    Example:
        >>> Constant([1.0, 2.0], repeat="b").on(torch.device("cpu"), batch=3, segments=10).shape
        torch.Size([3, 2])
    """

    value: Any
    repeat: Literal["b", "b t"] | None = None

    def __post_init__(self) -> None:
        if self.repeat not in (None, "b", "b t"):
            raise ValueError(f"Constant: repeat={self.repeat!r} is neither 'b' (videos) nor 'b t' (videos, segments)")
        if self.repeat is not None:
            self._tensor()

    def on(self, device: torch.device, batch: int, segments: int) -> Any:
        """The value for a batch of B videos of T segments, on a device if it is a tensor."""
        if self.repeat is None:
            return self.value.to(device) if isinstance(self.value, Tensor) else self.value
        x, lengths = self._tensor().to(device), (batch,) if self.repeat == "b" else (batch, segments)
        return x.repeat(*lengths, *(1 for _ in x.shape))  # a copy, which a network may change in place

    def _tensor(self) -> Tensor:
        try:
            return torch.as_tensor(self.value)
        except (TypeError, ValueError, RuntimeError):
            raise WrongTypeError(
                f"Constant: {shown(self.value)} cannot be repeated, since it is no number, tensor or even nested list"
            ) from None


Argument = str | Constant
Inputs = Sequence[Argument] | Mapping[str, Argument]


class Calling:
    """Calls a network with its streams in the declared arguments.

    Args:
        inputs: what the network takes: names of streams, "mask" and constants (`Constant`), in order or by argument
            name. With None, each stream is passed by its own name.
        streams: the streams that `inputs` may name.
        follow_device: send `.cuda()` calls in forward, and tensors created on "cuda" there, to the device of the inputs
            instead.

    Raises:
        ValueError, TypeError: an input is neither a stream nor a `Constant`.
    """

    def __init__(self, inputs: Inputs | None, streams: Mapping[str, StreamSpec], *, follow_device: bool) -> None:
        if inputs is not None and (isinstance(inputs, str) or not isinstance(inputs, Mapping | Sequence)):
            raise WrongTypeError(
                f"inputs is {inputs!r}, where names of streams in order, or by argument, were expected"
            )
        self.inputs = inputs if inputs is None or isinstance(inputs, Mapping) else tuple(inputs)
        self.streams, self.follow_device = dict(streams), follow_device
        named = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs or ())
        for key, argument in named:
            if isinstance(argument, str) and argument not in (*streams, _MASK):
                raise LocatedError(
                    (key,),
                    f"inputs: {argument!r} is no stream.{nearest(argument, streams)} There are {sorted(streams)} and "
                    "'mask'; anything else is a Constant(...)",
                )
            if not isinstance(argument, str | Constant):
                raise WrongTypeError(f"inputs: {argument!r} is neither the name of a stream nor a Constant(...)")

    @property
    def arguments(self) -> list[Argument]:
        """The declared arguments, in order; empty where each stream is passed by its own name."""
        if self.inputs is None:
            return []
        return list(self.inputs.values() if isinstance(self.inputs, Mapping) else self.inputs)

    @property
    def takes_mask(self) -> bool:
        """Whether the network gets the mask."""
        return _MASK in self.arguments

    def __call__(self, network: nn.Module, streams: Mapping[str, Tensor], mask: Tensor | None = None) -> Any:
        """Run the network on streams (B, frames * T, width); returns its raw outputs.

        Args:
            network: the network.
            streams: its input streams.
            mask: (B,T) bool; None where all videos have T segments. A declared mask is then true everywhere.
        """
        device = next(iter(streams.values())).device
        first, spec = next(iter(self.streams.items()))
        batch, segments = streams[first].shape[0], streams[first].shape[1] // spec.frames

        def value(argument: Argument) -> Any:
            if isinstance(argument, Constant):
                return argument.on(device, batch, segments)
            if argument != _MASK:
                return streams[argument]
            return torch.ones(batch, segments, dtype=torch.bool, device=device) if mask is None else mask

        with following(streams, follow=self.follow_device):
            if self.inputs is None:
                return network(**streams)
            if isinstance(self.inputs, Mapping):
                return network(**{name: value(argument) for name, argument in self.inputs.items()})
            return network(*[value(argument) for argument in self.inputs])


def following(streams: Mapping[str, Tensor], *, follow: bool) -> AbstractContextManager[object]:
    """Within this context, tensors that are put on "cuda" go to the device of the streams; nothing if not `follow`."""
    return _FollowDevice(next(iter(streams.values())).device) if follow else nullcontext()


class _FollowDevice(TorchFunctionMode):
    """Redirects tensors that a network would put on "cuda" to the device of its inputs."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.cuda:
            return args[0].to(self.device)
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = self.device
        if func is Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], self.device, *args[2:])
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    if isinstance(device, int) and not isinstance(device, bool):
        return True
    return isinstance(device, str | torch.device) and torch.device(device).type == "cuda"
