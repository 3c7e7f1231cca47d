"""Taps: capture tokens that a network does not return, from the input or output of a submodule.

A tap registers a forward hook for one forward pass and removes it afterwards. So no hook stays on the network, copies
and pickles of it contain none, and two models that wrap the same network do not interfere.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coleaf_framework._config import WrongTypeError, nearest
from coleaf_framework.adapters.outputs import arrange, check_layout, check_order, check_reduce, find, flatten
from coleaf_framework.adapters.select import Select, check_select, take_selected
from coleaf_framework.protocol import MODALITIES

Call = Literal["only", "last"] | int | Mapping[str, int] | tuple[int, ...]


@dataclass
class Captured:
    """What a tap captured in one forward pass.

    Args:
        runs: the input or output of each run of the submodule, in order.
        versions: each captured tensor with its version counter, to detect later in-place changes.
    """

    runs: list[Any] = field(default_factory=list)
    versions: list[tuple[Tensor, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Tap:
    """Declares that the output tokens are the input or output of a submodule.

    Args:
        path: of the submodule, as in `named_modules()`: "encoder.layers.0".
        at: "output" or "input" of the submodule.
        call: which run of the submodule in one forward pass: "only" (it must run once), "last", or an index (negative
            ones count from the end); {"audio": 0, "visual": 1} for a submodule that runs once per modality; or several
            indices, whose tokens are summed with the weights `combine`.
        order: order of the modalities, in a pair of tensors or on axis m.
        layout: the axes in einops notation; by default "b t m d", or "b t d" for a tensor of one modality.
        reduce: how to reduce axes that tokens do not have, such as classes: "mean", "max" or "sum".
        part: position or name of the tensor, where the submodule's input or output has several; or two, in `order`.
        combine: one weight for each index of `call`.
        select: axis of the layout -> index, or range as "start:stop", as in `Out`; a pair (audio, visual) if each
            modality has a tensor of its own.

    Raises:
        ValueError, TypeError: an invalid value; names it.

    Example:
        >>> net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
        >>> tap = Tap("0")  # the output of the first layer
        >>> with tap.capture(net) as captured:
        ...     _ = net(torch.zeros(2, 10, 2, 6))  # B=2, T=10, M=2
        >>> tap.tokens(captured, batch=2, segments=10).shape  # (B,T,M,D)
        torch.Size([2, 10, 2, 4])
    """

    path: str
    at: Literal["output", "input"] = "output"
    call: Call = "only"
    order: tuple[str, str] = MODALITIES
    layout: str | None = None
    reduce: str | None = None
    part: int | str | tuple[int | str, int | str] | None = None
    combine: tuple[float, ...] | None = None
    select: Select | None = None

    def __post_init__(self) -> None:
        what = f"Tap({self.path!r})"
        if not isinstance(self.path, str) or not self.path:
            raise WrongTypeError(f"{what}: expected the path of a submodule, such as 'encoder.layers.0'")
        if self.at not in ("output", "input"):
            raise ValueError(f"{what}: at={self.at!r} is neither 'output' nor 'input'")
        check_order(self.order, what)
        check_reduce(self.reduce, what)
        call = self.call
        numbers = call.values() if isinstance(call, Mapping) else call if isinstance(call, tuple) else (call,)
        if not isinstance(call, str) and not all(isinstance(k, int) and not isinstance(k, bool) for k in numbers):
            raise WrongTypeError(f"{what}: call={call!r} is not the index of a run")
        if isinstance(call, str) and call not in ("only", "last"):
            raise ValueError(f"{what}: call={call!r} is neither 'only' nor 'last' nor a number")
        if isinstance(call, Mapping) and sorted(call) != sorted(MODALITIES):
            raise ValueError(f"{what}: call has the keys {sorted(call)}, where {sorted(MODALITIES)} were expected")
        if isinstance(call, Mapping) and tuple(self.order) != MODALITIES:
            raise ValueError(f"{what}: call names the modalities, so order must not be given")
        if isinstance(call, tuple) != (self.combine is not None) or (
            isinstance(call, tuple) and len(call) != len(self.combine or ())
        ):
            raise ValueError(
                f"{what}: combine must have one weight for each of several runs: call=(0, 1), combine=(...)"
            )
        apart = not isinstance(self.part, int | str)  # two tensors, unless one is named
        check_layout(self.layout, what)
        check_select(self.select, self.layout, what, pair=isinstance(call, Mapping) or apart)

    def submodule(self, network: nn.Module) -> nn.Module:
        """The tapped submodule.

        Raises:
            ValueError: the network has no such submodule; names the closest match.
            TypeError: the submodule, or a module that contains it, is compiled or scripted, so hooks do not run.
        """
        module, parts = network, self.path.split(".")
        for depth in range(len(parts) + 1):
            hidden = isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod")
            if hidden or getattr(module, "_compiled_call_impl", None) is not None:
                raise WrongTypeError(
                    f"Tap: {'.'.join([type(network).__name__, *parts[:depth]])} is compiled or scripted, which hides "
                    f"{self.path!r}: tap the network as it is, and compile parts that hold no tap"
                )
            if depth == len(parts):
                break
            child = module._modules.get(parts[depth])
            if child is None:
                known = [path for path, _ in network.named_modules(remove_duplicate=False)]
                raise ValueError(
                    f"Tap: {type(network).__name__} has no submodule {self.path!r}.{nearest(self.path, known)} "
                    "`coleaf inspect` lists those that can be tapped"
                )
            module = child
        return module

    @contextmanager
    def capture(self, network: nn.Module) -> Iterator[Captured]:
        """Capture the input or output of each run of the submodule within this context."""
        captured, thread = Captured(), threading.get_ident()

        def record(value: Any) -> None:
            if threading.get_ident() == thread:  # another model may run the same network in another thread
                captured.runs.append(value)
                captured.versions += [(x, x._version) for _, x in flatten(value) if not x.is_inference()]

        module = self.submodule(network)
        if self.at == "output":
            handle = module.register_forward_hook(lambda _, args, output: record(output))
        else:
            handle = module.register_forward_pre_hook(
                lambda _, args, kwargs: record((*args, *kwargs.values())), with_kwargs=True
            )
        try:
            yield captured
        finally:
            handle.remove()

    def tokens(self, captured: Captured, batch: int, segments: int, *, single: bool = False) -> Tensor:
        """The declared tokens, from what `capture` captured.

        Args:
            captured: from `capture`.
            batch: number of videos, B.
            segments: number of segments, T.
            single: read tokens of one modality.

        Returns:
            (B,T,M,D), or (B,T,D) if `single`.

        Raises:
            ValueError: the submodule did not run as often as declared, the captured tensors do not have the declared
                form, or they were changed in place afterwards.
        """
        call, runs = self.call, captured.runs
        changed = {id(x) for x, version in captured.versions if x._version != version}
        if isinstance(call, Mapping):
            halves = [self._halves(self._run(runs, call[modality]), single=True) for modality in MODALITIES]
            arranged = [self._arrange(x, "b t d", batch, segments, changed, k) for k, (x,) in enumerate(halves)]
            return torch.stack(arranged, dim=2)
        if isinstance(call, tuple):
            several = [self._one(self._run(runs, k), batch, segments, single, changed) for k in call]
            return torch.stack([w * x for w, x in zip(self.combine or (), several, strict=True)]).sum(0)
        return self._one(self._run(runs, call), batch, segments, single, changed)

    def _run(self, runs: list[Any], call: str | int) -> Any:
        count = f"Tap({self.path!r}): the submodule ran {len(runs)} times in one forward"
        if not runs:
            raise ValueError(
                f"{count}: another one holds the tokens, or it is called past its __call__ (`.forward(...)`), which "
                "runs no hooks"
            )
        if call == "only" and len(runs) > 1:
            raise ValueError(f"{count}, where call='only' declares one: say which (0 to {len(runs) - 1}, or 'last')")
        index = {"only": 0, "last": -1}.get(call, call) if isinstance(call, str) else call
        assert isinstance(index, int)
        if not -len(runs) <= index < len(runs):
            raise ValueError(f"{count}; there is no run {call}")
        return runs[index]

    def _one(self, value: Any, batch: int, segments: int, single: bool, changed: set[int]) -> Tensor:
        halves = self._halves(value, single)
        if single:
            return self._arrange(halves[0], "b t d", batch, segments, changed)
        if len(halves) == 2:
            halves = halves if tuple(self.order) == MODALITIES else halves[::-1]
            arranged = [self._arrange(x, "b t d", batch, segments, changed, k) for k, x in enumerate(halves)]
            return torch.stack(arranged, dim=2)
        tokens = self._arrange(halves[0], "b t m d", batch, segments, changed)
        return tokens if tuple(self.order) == MODALITIES else tokens.flip(2)

    def _halves(self, value: Any, single: bool) -> list[Tensor]:
        """The captured tensor of a run, or its two tensors, one per modality."""
        if self.part is not None:
            parts = self.part if isinstance(self.part, tuple | list) else (self.part,)
            return [find(value, part, f"Tap({self.path!r})") for part in parts]
        tensors = list(flatten(value))
        same_shape = len({x.shape for _, x in tensors}) == 1
        if len(tensors) == 1 or (len(tensors) == 2 and same_shape and not single):
            return [x for _, x in tensors]
        shapes = ", ".join(f"{path}: {tuple(x.shape)}" for path, x in tensors)
        raise ValueError(
            f"Tap({self.path!r}): its {self.at} has {len(tensors)} tensors ({shapes}): say which by part=..."
        )

    def _arrange(
        self, x: Tensor, target: str, batch: int, segments: int, changed: set[int], half: int | None = None
    ) -> Tensor:
        """Bring a captured tensor, the audio (0) or visual (1) one if there are two, to the layout `target`."""
        if id(x) in changed:
            raise ValueError(
                f"Tap({self.path!r}): the network changes the captured tensor in place, as ReLU(inplace=True) does: "
                "tap another submodule, whose output is the changed tensor"
            )
        if torch.is_grad_enabled() and not x.requires_grad:
            raise ValueError(
                f"Tap({self.path!r}): the tokens there carry no gradient: they are detached, or run under activation "
                "checkpointing with use_reentrant=True, which hides them (use_reentrant=False does not)"
            )
        layout, what = self.layout or target, f"Tap({self.path!r})"
        if self.select:
            if half is None and any(isinstance(index, tuple) for index in self.select.values()):
                raise ValueError(f"{what}: select has (audio, visual) indices, but both modalities are in one tensor")
            x, layout = take_selected(x, layout, self.select, half or 0, what)
        return arrange(x, layout, target, self.reduce, what, batch, segments)
