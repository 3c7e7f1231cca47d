"""Find out which argument of a network takes which stream: by the arguments' names, and by what runs."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from coleaf_framework._config import reason
from coleaf_framework.adapters import Constant, Inputs
from coleaf_framework.inspection.names import modality_of_argument, spatiotemporal
from coleaf_framework.protocol import StreamSpec

_MOST_SHOWN = 3  # orders with one error, in a message


@dataclass(frozen=True)
class FoundInputs:
    """How a network is called.

    Args:
        inputs: what each argument gets; None where each stream is an argument of its own name.
        notes: what was assumed or overruled, a sentence each.
        rivals: other ways that also run and cannot be told apart from `inputs`.
    """

    inputs: Inputs | None
    notes: tuple[str, ...] = ()
    rivals: tuple[Inputs | None, ...] = ()


@dataclass(frozen=True)
class _Failure:
    inputs: Inputs | None
    text: str
    progress: int


def find_inputs(
    network: nn.Module, streams: Mapping[str, StreamSpec], call: Callable[[Inputs | None], Any]
) -> FoundInputs:
    """Find out how to call a network: by the names of its arguments, then by trying every order of the streams.

    Arguments that are no streams get True, or None where that fails.

    Args:
        network: the network.
        streams: its input streams.
        call: runs the network with the given inputs.

    Raises:
        ValueError: no order runs; lists those tried, each with its own error, the one that came furthest first.
    """
    needed = _needed(network, streams)
    failures: list[_Failure] = []
    by_name = _assigned(needed, streams)
    if by_name is not None:
        for inputs in _calls(network, needed, by_name, streams):
            if _runs(network, call, inputs, failures):
                return FoundInputs(inputs, _assumptions(inputs))
    working = []
    for order in itertools.permutations(streams):
        if by_name is not None and list(order) == [by_name[p] for p in needed or () if p in by_name]:
            continue
        working += next(
            ([inputs] for inputs in _calls(network, needed, order, streams) if _runs(network, call, inputs, failures)),
            [],
        )
    if not working:
        raise ValueError(_failed(failures, needed, streams))
    fits = [inputs for inputs in working if _names_agree(inputs, needed, streams)] or working
    notes = _assumptions(fits[0])
    if not _names_agree(fits[0], needed, streams):
        notes += (f"the names of its arguments {needed} say otherwise, but only this order of the streams runs",)
    return FoundInputs(fits[0], notes, tuple(fits[1:]))


def _needed(network: nn.Module, streams: Mapping[str, StreamSpec]) -> list[str] | None:
    """The arguments without default, and those that are named as streams; None where `forward` takes *args alone.

    Where it takes **streams and needs nothing else, except perhaps a mask, each stream is an argument.
    """
    parameters = inspect.signature(network.forward).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not named and any(p.kind is p.VAR_KEYWORD for p in parameters):
        return list(streams)
    if not named or any(p.kind is p.POSITIONAL_ONLY for p in named):
        return None
    needed = [p.name for p in named if p.default is p.empty or p.name in streams]
    if set(needed) <= {"mask"} and any(p.kind is p.VAR_KEYWORD for p in parameters):
        return [*needed, *streams]
    return needed


def _assigned(needed: Sequence[str] | None, streams: Mapping[str, StreamSpec]) -> dict[str, str] | None:
    """Argument -> stream, where the names alone say it for every stream; None where they do not."""
    found: dict[str, str] = {}
    for argument in needed or ():
        modality = modality_of_argument(argument)
        fits = [s for s, spec in streams.items() if modality is not None and spec.modality == modality]
        if len(fits) > 1:
            fits = [s for s in fits if spatiotemporal(s) == spatiotemporal(argument)]
        if argument in streams:
            fits = [argument]
        if len(fits) == 1:
            found[argument] = fits[0]
    return found if sorted(found.values()) == sorted(streams) else None


def _calls(
    network: nn.Module,
    needed: Sequence[str] | None,
    order: Mapping[str, str] | Sequence[str],
    streams: Mapping[str, StreamSpec],
) -> Iterator[Inputs | None]:
    """Ways to pass the streams in this order, or to these arguments, with True or None for all other arguments."""
    if needed is None or len([p for p in needed if p != "mask"]) < len(streams):
        if not isinstance(order, Mapping):
            yield tuple(order)
        return
    free = [p for p in needed if p != "mask"]
    given = dict(order) if isinstance(order, Mapping) else dict(zip(free, order, strict=False))
    rest = [p for p in needed if p not in given and not (p == "mask" and p not in streams)]
    mask = {"mask": "mask"} if "mask" in needed and "mask" not in streams else {}
    if not rest and not mask and all(argument == stream for argument, stream in given.items()):
        yield None
        return
    for value in (True, None)[: len(rest) + 1]:
        arguments: dict[str, Any] = {p: given[p] if p in given else Constant(value) for p in needed if p not in mask}
        yield arguments | mask


def _runs(
    network: nn.Module, call: Callable[[Inputs | None], Any], inputs: Inputs | None, failures: list[_Failure]
) -> bool:
    progress = 0

    def count(*_: Any) -> None:
        nonlocal progress
        progress += 1

    handles = [
        m.register_forward_hook(count)
        for m in network.modules()
        if m is not network and not isinstance(m, torch.jit.ScriptModule)
    ]
    try:
        call(inputs)
    except (Exception, SystemExit) as problem:  # a user's network may raise anything
        text = " ".join(str(problem).split())
        failures.append(_Failure(inputs, f"{type(problem).__name__}: {text}" if text else reason(problem), progress))
        return False
    finally:
        for handle in handles:
            handle.remove()
    return True


def _names_agree(inputs: Inputs | None, needed: Sequence[str] | None, streams: Mapping[str, StreamSpec]) -> bool:
    """Whether no argument gets a stream of the modality that its name does not name."""
    pairs = inputs.items() if isinstance(inputs, Mapping) else zip(needed or (), inputs or (), strict=False)
    for argument, stream in pairs:
        said = modality_of_argument(argument)
        if isinstance(stream, str) and stream in streams and said not in (None, streams[stream].modality):
            return False
    return True


def _assumptions(inputs: Inputs | None) -> tuple[str, ...]:
    constants = (
        {k: x.value for k, x in inputs.items() if isinstance(x, Constant)} if isinstance(inputs, Mapping) else {}
    )
    return tuple(
        f"its argument {name} was given {value}, since it must have something" for name, value in constants.items()
    )


def _failed(failures: Sequence[_Failure], needed: Sequence[str] | None, streams: Mapping[str, StreamSpec]) -> str:
    """What was tried, by error, the one that came furthest first."""
    if needed is not None and len(needed) < len(streams):
        return f"its forward takes {', '.join(needed)}: fewer arguments than the {len(streams)} streams"
    groups: dict[tuple[int, str], list[str]] = {}
    for failure in failures:
        groups.setdefault((failure.progress, failure.text), []).append(spelled(failure.inputs))
    lines = []
    for (progress, text), orders in sorted(groups.items(), key=lambda group: -group[0][0]):
        shown = " or ".join(orders[:_MOST_SHOWN]) + (
            f" or {len(orders) - _MOST_SHOWN} others" if orders[_MOST_SHOWN:] else ""
        )
        lines.append(f"{shown}: {text} (after {progress} of its submodules had run)")
    return "; ".join(lines)


def spelled(inputs: Inputs | None) -> str:
    """Inputs in a few words, for messages: "(f_v=visual, f_a=audio, flag=True)"."""
    if inputs is None:
        return "(each stream by its own name)"
    if isinstance(inputs, Mapping):
        parts = [f"{name}={x.value if isinstance(x, Constant) else x}" for name, x in inputs.items()]
    else:
        parts = [str(x.value if isinstance(x, Constant) else x) for x in inputs]
    return "(" + ", ".join(parts) + ")"
