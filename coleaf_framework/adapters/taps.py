"""Taps: tokens that a network never returns, read where a submodule takes or gives them.

A tap registers its hook for one forward and removes it afterwards. So nothing stays on the network, copies and pickles
of it know nothing of taps, and two wrapped copies cannot write into each other.
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
from coleaf_framework.adapters.outputs import arrange, check_order, check_reduce, find, flatten
from coleaf_framework.protocol import MODALITIES

Call = Literal["only", "last"] | int | Mapping[str, int] | tuple[int, ...]


@dataclass
class Captured:
    """What a submodule took or gave in one forward: each of its runs, and each tensor's version at that time."""

    runs: list[Any] = field(default_factory=list)
    versions: list[tuple[Tensor, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Tap:
    """Output tokens, at a submodule.

    Args:
        path: of the submodule, as `named_modules` has it: "encoder.layers.0".
        at: what the submodule gives ("output") or what it takes ("input").
        call: which of its runs in one forward: "only" (there must be one), "last", a number from 0 (negative ones from
            the end); {"audio": 0, "visual": 1} for a submodule that runs once for each modality; or several numbers,
            taken together with the weights `combine`.
        order: of the modalities, where the submodule has both: as a pair of tensors, or on the axis m.
        layout: the axes, as in einops; by default "b t m d", or "b t d" for a tensor of one modality.
        reduce: how axes that tokens do not have, such as classes, are taken together: "mean", "max" or "sum".
        part: a position or name, where the submodule takes or gives several tensors; or two, in `order`.
        combine: one weight for each number of `call`.

    Raises:
        ValueError: a value that there is not.
    """

    path: str
    at: Literal["output", "input"] = "output"
    call: Call = "only"
    order: tuple[str, str] = MODALITIES
    layout: str | None = None
    reduce: str | None = None
    part: int | str | tuple[int | str, int | str] | None = None
    combine: tuple[float, ...] | None = None

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
            raise WrongTypeError(f"{what}: call={call!r} is no number of a run")
        if isinstance(call, str) and call not in ("only", "last"):
            raise ValueError(f"{what}: call={call!r} is neither 'only' nor 'last' nor a number")
        if isinstance(call, Mapping) and sorted(call) != sorted(MODALITIES):
            raise ValueError(f"{what}: call has the keys {sorted(call)}, where {sorted(MODALITIES)} were expected")
        if isinstance(call, Mapping) and tuple(self.order) != MODALITIES:
            raise ValueError(f"{what}: call names the modalities, so order is not to be said")
        if isinstance(call, tuple) != (self.combine is not None) or (
            isinstance(call, tuple) and len(call) != len(self.combine or ())
        ):
            raise ValueError(
                f"{what}: combine must have one weight for each of several runs: call=(0, 1), combine=(...)"
            )

    def submodule(self, network: nn.Module) -> nn.Module:
        """The tapped submodule.

        Raises:
            ValueError: there is none of this path; names the nearest.
            TypeError: it, or a module around it, is compiled or scripted, which hides it.
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
        """Collects what each run of the submodule takes or gives, for as long as the block lasts."""
        captured, thread = Captured(), threading.get_ident()

        def hear(value: Any) -> None:
            if threading.get_ident() == thread:  # or it is another model around the same network
                captured.runs.append(value)
                captured.versions += [(x, x._version) for _, x in flatten(value) if not x.is_inference()]

        module = self.submodule(network)
        if self.at == "output":
            handle = module.register_forward_hook(lambda _, args, output: hear(output))
        else:
            handle = module.register_forward_pre_hook(
                lambda _, args, kwargs: hear((*args, *kwargs.values())), with_kwargs=True
            )
        try:
            yield captured
        finally:
            handle.remove()

    def tokens(self, captured: Captured, batch: int, segments: int, *, single: bool = False) -> Tensor:
        """Tokens (B,T,M,D) from what `capture` collected; (B,T,D) of one modality where `single`.

        Raises:
            ValueError: the submodule ran another number of times than declared, or gave something else, or what it
                gave was changed in place afterwards.
        """
        call, runs = self.call, captured.runs
        changed = {id(x) for x, version in captured.versions if x._version != version}
        if isinstance(call, Mapping):
            halves = [self._halves(self._run(runs, call[modality]), single=True) for modality in MODALITIES]
            return torch.stack([self._arrange(x, "b t d", batch, segments, changed) for (x,) in halves], dim=2)
        if isinstance(call, tuple):
            several = [self._one(self._run(runs, k), batch, segments, single, changed) for k in call]
            return torch.stack([w * x for w, x in zip(self.combine or (), several, strict=True)]).sum(0)
        return self._one(self._run(runs, call), batch, segments, single, changed)

    def _run(self, runs: list[Any], call: str | int) -> Any:
        often = f"Tap({self.path!r}): the submodule ran {len(runs)} times in one forward"
        if not runs:
            raise ValueError(
                f"{often}: another one holds the tokens, or it is called past its __call__ (`.forward(...)`), where "
                "no tap can listen"
            )
        if call == "only" and len(runs) > 1:
            raise ValueError(f"{often}, where call='only' declares one: say which (0 to {len(runs) - 1}, or 'last')")
        index = {"only": 0, "last": -1}.get(call, call) if isinstance(call, str) else call
        assert isinstance(index, int)
        if not -len(runs) <= index < len(runs):
            raise ValueError(f"{often}; there is no run {call}")
        return runs[index]

    def _one(self, value: Any, batch: int, segments: int, single: bool, changed: set[int]) -> Tensor:
        halves = self._halves(value, single)
        if single:
            return self._arrange(halves[0], "b t d", batch, segments, changed)
        if len(halves) == 2:
            halves = halves if tuple(self.order) == MODALITIES else halves[::-1]
            return torch.stack([self._arrange(x, "b t d", batch, segments, changed) for x in halves], dim=2)
        tokens = self._arrange(halves[0], "b t m d", batch, segments, changed)
        return tokens if tuple(self.order) == MODALITIES else tokens.flip(2)

    def _halves(self, value: Any, single: bool) -> list[Tensor]:
        """The tensor, or the two tensors of the modalities, that a run took or gave."""
        if self.part is not None:
            parts = self.part if isinstance(self.part, tuple | list) else (self.part,)
            return [find(value, part, f"Tap({self.path!r})") for part in parts]
        found = list(flatten(value))
        alike = len({x.shape for _, x in found}) == 1
        if len(found) == 1 or (len(found) == 2 and alike and not single):
            return [x for _, x in found]
        shapes = ", ".join(f"{place}: {tuple(x.shape)}" for place, x in found)
        raise ValueError(
            f"Tap({self.path!r}): its {self.at} has {len(found)} tensors ({shapes}): say which by part=..."
        )

    def _arrange(self, x: Tensor, target: str, batch: int, segments: int, changed: set[int]) -> Tensor:
        if id(x) in changed:
            raise ValueError(
                f"Tap({self.path!r}): the network changes the captured tensor in place, as ReLU(inplace=True) does: "
                "tap another submodule, one that gives the changed tensor"
            )
        if torch.is_grad_enabled() and not x.requires_grad:
            raise ValueError(
                f"Tap({self.path!r}): the tokens there carry no gradient: they are detached, or run under activation "
                "checkpointing with use_reentrant=True, which hides them (use_reentrant=False does not)"
            )
        return arrange(x, self.layout or target, target, self.reduce, f"Tap({self.path!r})", batch, segments)
