"""Runs a network and notes what goes in, what comes out, and what its submodules take and give.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework._config import reason
from coleaf_framework.adapters import Constant, Inputs, flatten
from coleaf_framework.protocol import MODALITIES, StreamSpec
from coleaf_framework.wrapping.dry_run import sandbox_copy, synthetic

_PROJECTIONS = 4  # random ones, through which the dependence of a tensor on the streams is measured
BASE, MORE_VIDEOS, MORE_SEGMENTS = (3, 10), (4, 10), (3, 20)


@dataclass
class Seen:
    """A tensor that a network gives, or that a submodule takes or gives.

    Args:
        place: its path in what the network returns, or in what the submodule takes or gives.
        shape: at B = 3, T = 10.
        axes: one name for each axis: b, t, m, c, d, or e for presence and absence.
        low, high: its range.
        trains: whether it carries a gradient.
        modality_bias: how much more it depends on audio than on visual streams, as a logarithm.
        visual_first: whether, of two halves on its modality axis, the first depends less on audio.
        weighs: whether it sums to 1 over segments, as attention over time does.
    """

    place: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    low: float
    high: float
    trains: bool
    modality_bias: float
    visual_first: bool
    weighs: bool

    @property
    def layout(self) -> str:
        """The axes as one string, "b t c"."""
        return " ".join(self.axes)


@dataclass
class Probe:
    """What was seen of a network.

    Args:
        inputs: how it was called: None where each stream is an argument of its own name.
        outputs: what it returns.
        taken, given: submodule -> for each of its runs, the tensors that it took or gave.
        other_segments: None, or why the network does not run on T = 20.
        folds: whether T = 20 changed the number of videos in what it returns.
    """

    inputs: Inputs | None
    outputs: list[Seen] = field(default_factory=list)
    taken: dict[str, list[list[Seen]]] = field(default_factory=dict)
    given: dict[str, list[list[Seen]]] = field(default_factory=dict)
    other_segments: str | None = None
    folds: bool = False


Tensors = list[tuple[str, Tensor]]


@dataclass
class _Recorded:
    """One run: what the network returned; submodule -> what each of its runs took and gave."""

    returned: Tensors
    taken: dict[str, list[Tensors]]
    given: dict[str, list[Tensors]]


def find_inputs(
    network: nn.Module, streams: Mapping[str, StreamSpec], call: Callable[[Inputs | None], Any]
) -> tuple[Inputs | None, str | None]:
    """How to call a network: by the names of its streams, or by trying every order of them, with True for the rest.

    Returns:
        The inputs, and why the last try failed; None where one worked.
    """
    parameters = inspect.signature(network.forward).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p.name for p in named if p.default is p.empty]
    tries: list[Inputs | None] = []
    if set(needed) <= set(streams) or any(p.kind is p.VAR_KEYWORD for p in parameters):
        tries.append(None)
    told = [p for p in needed if p == "mask" and p not in streams]
    needed = [p for p in needed if p not in told]
    rest = len(needed) - len(streams)
    for order in itertools.permutations(streams):
        if rest >= 0 and all(p.kind is not p.POSITIONAL_ONLY for p in named):
            by_name: list[dict[str, Any]] = [
                dict(zip(needed, [*order, *[Constant(value)] * rest], strict=True)) | dict.fromkeys(told, "mask")
                for value in (True, None)[: rest + 1]
            ]
            tries += by_name
        else:
            tries.append(order)
    problem: str | None = None
    for inputs in tries:
        try:
            call(inputs)
        except (Exception, SystemExit) as failed:  # another order may fit
            text = " ".join(str(failed).split())  # the first try is by name, if any is; others fail for its order too
            problem = problem or (f"{type(failed).__name__}: {text}" if text else reason(failed))
        else:
            return inputs, None
    return None, problem or f"its forward takes {needed}"


def probe(
    network: nn.Module,
    streams: Mapping[str, StreamSpec],
    call: Callable[[nn.Module, Mapping[str, Tensor]], Any],
    inputs: Inputs | None,
    num_classes: int | None,
) -> tuple[Probe, int | None]:
    """Run a copy of a network three times and compare; `call` runs it on streams, as `inputs` says.

    Returns:
        What was seen, and C, as given or as the most frequent last axis of what has one value per video and class.
    """
    found = Probe(inputs)
    with sandbox_copy(network) as copied:
        copied.train()
        base, modality_biases = _record(copied, streams, BASE, lambda x: call(copied, x), lean=True)
        try:
            videos, _ = _record(copied, streams, MORE_VIDEOS, lambda x: call(copied, x))
        except (Exception, SystemExit) as problem:
            raise ValueError(
                f"{type(network).__name__} runs on {BASE[0]} videos, not on {MORE_VIDEOS[0]}: a number of videos is "
                f"written into it: {type(problem).__name__}: {problem}"
            ) from problem
        try:
            segments, _ = _record(copied, streams, MORE_SEGMENTS, lambda x: call(copied, x))
        except (Exception, SystemExit) as problem:
            found.other_segments, segments = f"{type(problem).__name__}: {problem}", None
    namer = _Namer(base.returned, num_classes)

    def seen(tensors: Tensors, *others: Tensors) -> list[Seen]:
        found = []
        for i, (place, x) in enumerate(tensors):  # it may give less on another batch
            shapes = [other[i][1].shape if i < len(other) and other[i][1].ndim == x.ndim else None for other in others]
            found.append(namer.seen(place, x, modality_biases.get(id(x), (0.0, False)), *shapes))
        return found

    found.outputs = seen(base.returned, videos.returned, segments.returned if segments is not None else [])
    for name, into in (("taken", found.taken), ("given", found.given)):
        others = [getattr(other, name) if other is not None else {} for other in (videos, segments)]
        for path, runs in getattr(base, name).items():
            again = [other.get(path, []) for other in others]
            into[path] = [seen(run, *(o[k] if k < len(o) else [] for o in again)) for k, run in enumerate(runs)]
    pairs = zip(base.returned, segments.returned if segments is not None else [], strict=False)
    found.folds = any(x.shape[0] != y.shape[0] for (_, x), (_, y) in pairs if x.ndim and y.ndim)
    return found, namer.num_classes


def _record(
    network: nn.Module,
    streams: Mapping[str, StreamSpec],
    size: tuple[int, int],
    call: Callable[[Mapping[str, Tensor]], Any],
    *,
    lean: bool = False,
) -> tuple[_Recorded, dict[int, tuple[float, bool]]]:
    inputs = synthetic(network, streams, *size)
    taken: dict[str, list[Tensors]] = {}
    given: dict[str, list[Tensors]] = {}

    def listen(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            taken.setdefault(path, []).append(list(flatten((*args, *kwargs.values()))))
            given.setdefault(path, []).append(list(flatten(output)))

        return hook

    with ExitStack() as stack:
        for path, module in network.named_modules():
            if path and not isinstance(module, torch.jit.ScriptModule):
                handle = module.register_forward_hook(listen(path), with_kwargs=True)
                stack.callback(handle.remove)
        returned = call({name: x.clone() for name, x in inputs.items()})
    recorded = _Recorded(list(flatten(returned)), taken, given)
    if not lean:
        return recorded, {}
    found = [x for _, x in recorded.returned]
    found += [x for runs in (*taken.values(), *given.values()) for run in runs for _, x in run]
    # Each once, and only what may be probabilities or tokens: every look costs a few backward passes.
    tensors = {id(x): x for x in found if x.requires_grad and 2 <= x.ndim <= 5 and len(x) == size[0]}
    return recorded, {key: _modality_bias(x, inputs, streams) for key, x in tensors.items()}


def _modality_bias(x: Tensor, inputs: Mapping[str, Tensor], streams: Mapping[str, StreamSpec]) -> tuple[float, bool]:
    """How much more `x` depends on audio than on visual streams, and whether the first of two halves does so less."""
    pairs = [axis for axis, size in enumerate(x.shape) if size == len(MODALITIES) and x.ndim > 2]
    if not pairs:
        return _dependence(x, inputs, streams), False
    first, second = (_dependence(half, inputs, streams) for half in x.unbind(pairs[0]))
    return (first + second) / 2, first < second


def _dependence(x: Tensor, inputs: Mapping[str, Tensor], streams: Mapping[str, StreamSpec]) -> float:
    """The logarithm of the ratio of squared gradients to audio and to visual streams, through random projections."""
    size = dict.fromkeys(MODALITIES, 1e-30)
    for _ in range(_PROJECTIONS):
        scalar = (x * torch.randn_like(x)).sum()
        gradients = torch.autograd.grad(scalar, list(inputs.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(inputs, gradients, strict=True):
            size[streams[name].modality] += 0.0 if gradient is None else gradient.square().mean().item()
    return math.log(size["audio"] / size["visual"])


class _Namer:
    """Names axes by how they change with B and T."""

    def __init__(self, returned: Tensors, num_classes: int | None) -> None:
        self.num_classes = num_classes
        if num_classes is None:
            flat = [x.shape[1] for _, x in returned if x.ndim == 2 and len(x) == BASE[0]]
            self.num_classes = max(flat, key=flat.count) if flat else None

    def seen(
        self,
        place: str,
        x: Tensor,
        modality_bias: tuple[float, bool],
        videos: torch.Size | None,
        segments: torch.Size | None,
    ) -> Seen:
        """`x` at B = 3, T = 10, with its shapes for more videos and for more segments, where it has them."""
        axes = tuple(
            self._axis(size, videos[k] if videos is not None else None, segments[k] if segments is not None else None)
            for k, size in enumerate(x.shape)
        )
        if self.num_classes == len(MODALITIES) and axes.count("c") == 2:
            axes = (*axes[: axes.index("c")], "m", *axes[axes.index("c") + 1 :])
        if axes.count("m") == 2:  # the second pair is one of presence and absence
            last = len(axes) - 1 - axes[::-1].index("m")
            axes = (*axes[:last], "e", *axes[last + 1 :])
        values = x.detach().float()
        weighs = "t" in axes and bool((values.sum(axes.index("t")) - 1).abs().max() < 1e-3)
        low, high = (float(values.min()), float(values.max())) if x.numel() else (0.0, 0.0)
        return Seen(place, tuple(x.shape), axes, low, high, x.requires_grad, *modality_bias, weighs)

    def _axis(self, size: int, with_more_videos: int | None, with_more_segments: int | None) -> str:
        if with_more_videos not in (None, size):
            return "b"
        if with_more_segments not in (None, size):
            return "t"
        if size == self.num_classes:
            return "c"
        if size == BASE[1] and with_more_segments in (None, size):  # ten, whatever it is given
            return "t"
        return "m" if size == 2 else "d"
