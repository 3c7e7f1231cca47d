"""Map streams, mask and constants to the arguments of a network, and redirect hard-coded "cuda" devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coleaf_framework._config import WrongTypeError, nearest
from coleaf_framework.protocol import StreamSpec

_MASK = "mask"


@dataclass(frozen=True)
class Constant:
    """An argument that is the same for every batch.

    Args:
        value: any value, such as a flag or a number; a tensor is moved to the device of the inputs.
    """

    value: Any


Argument = str | Constant
Inputs = Sequence[Argument] | Mapping[str, Argument]


class Calling:
    """Calls a network with its streams in the declared arguments.

    Args:
        inputs: what the network takes: names of streams, "mask" and constants (`Constant`), in order or by argument.
            With None, each stream is passed by its own name.
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
        for argument in self.arguments:
            if isinstance(argument, str) and argument not in (*streams, _MASK):
                raise ValueError(
                    f"inputs: {argument!r} is no stream.{nearest(argument, streams)} There are {sorted(streams)} and "
                    "'mask'; anything else is a Constant(...)"
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
        """Run the network on streams (B, frames * T, width) and a mask (B,T) bool or None; returns its raw outputs."""
        device = next(iter(streams.values())).device

        def value(argument: Argument) -> Any:
            if isinstance(argument, Constant):
                return argument.value.to(device) if isinstance(argument.value, Tensor) else argument.value
            return mask if argument == _MASK else streams[argument]

        with _FollowDevice(device) if self.follow_device else nullcontext():
            if self.inputs is None:
                return network(**streams)
            if isinstance(self.inputs, Mapping):
                return network(**{name: value(argument) for name, argument in self.inputs.items()})
            return network(*[value(argument) for argument in self.inputs])


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
