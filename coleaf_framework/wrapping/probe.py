"""Run a network on synthetic batches and record its outputs and the inputs and outputs of its submodules.

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

_PROJECTIONS = 4  # random projections of a tensor, whose gradients to the streams are compared
BASE, MORE_VIDEOS, MORE_SEGMENTS = (3, 10), (4, 10), (3, 20)


@dataclass
class ObservedTensor:
    """A tensor among the outputs of a network, or the inputs or outputs of a submodule.

    Args:
        path: its path in the network's outputs, or in the inputs or outputs of the submodule.
        shape: at B = 3, T = 10.
        axes: one letter per axis: b, t, m, c, d, or e for (presence, absence).
        low: its minimum.
        high: its maximum.
        has_gradient: whether it requires a gradient.
        modality_bias: log of the ratio of its squared gradients to the audio and to the visual streams.
        visual_first: whether the first half along its modality axis depends less on audio than the second.
        sums_to_one: whether it sums to 1 over segments, as attention weights over time do.
    """

    path: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    low: float
    high: float
    has_gradient: bool
    modality_bias: float
    visual_first: bool
    sums_to_one: bool

    @property
    def layout(self) -> str:
        """The axes as one string, "b t c"."""
        return " ".join(self.axes)


@dataclass
class Observation:
    """What was recorded of a network.

    Args:
        inputs: how it was called; None where each stream is an argument of its own name.
        outputs: the tensors that it returns.
        submodule_inputs: path of a submodule -> for each of its runs, its input tensors.
        submodule_outputs: path of a submodule -> for each of its runs, its output tensors.
        fixed_segments_error: why the network does not run on T = 20; None where it does.
        folds_segments: whether T = 20 changes the number of videos in its outputs.
    """

    inputs: Inputs | None
    outputs: list[ObservedTensor] = field(default_factory=list)
    submodule_inputs: dict[str, list[list[ObservedTensor]]] = field(default_factory=dict)
    submodule_outputs: dict[str, list[list[ObservedTensor]]] = field(default_factory=dict)
    fixed_segments_error: str | None = None
    folds_segments: bool = False


Tensors = list[tuple[str, Tensor]]


@dataclass
class _Forward:
    """One forward pass: the network's outputs, and the inputs and outputs of each run of each submodule."""

    returned: Tensors
    submodule_inputs: dict[str, list[Tensors]]
    submodule_outputs: dict[str, list[Tensors]]


def find_inputs(
    network: nn.Module, streams: Mapping[str, StreamSpec], call: Callable[[Inputs | None], Any]
) -> tuple[Inputs | None, str | None]:
    """Find out how to call a network: by the names of its streams, or by trying every order of them.

    Arguments beyond the streams get True, or None where that fails.

    Args:
        network: the network.
        streams: its input streams.
        call: runs the network with the given inputs.

    Returns:
        The inputs of the first call that works, and None; or None, and why the first call failed.
    """
    parameters = inspect.signature(network.forward).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p.name for p in named if p.default is p.empty]
    tries: list[Inputs | None] = []
    if set(needed) <= set(streams) or any(p.kind is p.VAR_KEYWORD for p in parameters):
        tries.append(None)
    mask = [p for p in needed if p == "mask" and p not in streams]
    needed = [p for p in needed if p not in mask]
    rest = len(needed) - len(streams)
    for order in itertools.permutations(streams):
        if rest >= 0 and all(p.kind is not p.POSITIONAL_ONLY for p in named):
            by_name: list[dict[str, Any]] = [
                dict(zip(needed, [*order, *[Constant(value)] * rest], strict=True)) | dict.fromkeys(mask, "mask")
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
            text = " ".join(str(failed).split())  # the first message says most
            problem = problem or (f"{type(failed).__name__}: {text}" if text else reason(failed))
        else:
            return inputs, None
    return None, problem or f"its forward takes {needed}"


def observe_network(
    network: nn.Module,
    streams: Mapping[str, StreamSpec],
    call: Callable[[nn.Module, Mapping[str, Tensor]], Any],
    inputs: Inputs | None,
    num_classes: int | None,
) -> tuple[Observation, int | None]:
    """Run a copy of a network at three batch sizes, and compare the shapes of its tensors.

    Args:
        network: the network.
        streams: its input streams.
        call: runs the network on streams, with the declared `inputs`.
        inputs: how the network is called.
        num_classes: number of classes, C; None to infer it.

    Returns:
        The observation, and C. If not given, C is the most frequent second dimension among the two-dimensional outputs
        with one row per video.

    Raises:
        ValueError: the network runs for one number of videos only.
    """
    observed = Observation(inputs)
    with sandbox_copy(network) as copied:
        copied.train()
        base, modality_biases = _record(copied, streams, BASE, lambda x: call(copied, x), measure_bias=True)
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
            observed.fixed_segments_error, segments = f"{type(problem).__name__}: {problem}", None
    namer = _AxisNamer(base.returned, num_classes)

    def observe(tensors: Tensors, *others: Tensors) -> list[ObservedTensor]:
        observed_tensors = []
        for i, (path, x) in enumerate(tensors):  # on another batch there may be fewer
            shapes = [other[i][1].shape if i < len(other) and other[i][1].ndim == x.ndim else None for other in others]
            observed_tensors.append(namer.observe(path, x, modality_biases.get(id(x), (0.0, False)), *shapes))
        return observed_tensors

    observed.outputs = observe(base.returned, videos.returned, segments.returned if segments is not None else [])
    for name, into in (
        ("submodule_inputs", observed.submodule_inputs),
        ("submodule_outputs", observed.submodule_outputs),
    ):
        others = [getattr(other, name) if other is not None else {} for other in (videos, segments)]
        for path, runs in getattr(base, name).items():
            again = [other.get(path, []) for other in others]
            into[path] = [observe(run, *(o[k] if k < len(o) else [] for o in again)) for k, run in enumerate(runs)]
    pairs = zip(base.returned, segments.returned if segments is not None else [], strict=False)
    observed.folds_segments = any(x.shape[0] != y.shape[0] for (_, x), (_, y) in pairs if x.ndim and y.ndim)
    return observed, namer.num_classes


def _record(
    network: nn.Module,
    streams: Mapping[str, StreamSpec],
    size: tuple[int, int],
    call: Callable[[Mapping[str, Tensor]], Any],
    *,
    measure_bias: bool = False,
) -> tuple[_Forward, dict[int, tuple[float, bool]]]:
    inputs = synthetic(network, streams, *size)
    submodule_inputs: dict[str, list[Tensors]] = {}
    submodule_outputs: dict[str, list[Tensors]] = {}

    def listen(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            submodule_inputs.setdefault(path, []).append(list(flatten((*args, *kwargs.values()))))
            submodule_outputs.setdefault(path, []).append(list(flatten(output)))

        return hook

    with ExitStack() as stack:
        for path, module in network.named_modules():
            if path and not isinstance(module, torch.jit.ScriptModule):
                handle = module.register_forward_hook(listen(path), with_kwargs=True)
                stack.callback(handle.remove)
        returned = call({name: x.clone() for name, x in inputs.items()})
    recorded = _Forward(list(flatten(returned)), submodule_inputs, submodule_outputs)
    if not measure_bias:
        return recorded, {}
    all_tensors = [x for _, x in recorded.returned]
    all_tensors += [
        x for runs in (*submodule_inputs.values(), *submodule_outputs.values()) for run in runs for _, x in run
    ]
    # Each tensor once, and only those that may be probabilities or tokens: each costs a few backward passes.
    tensors = {id(x): x for x in all_tensors if x.requires_grad and 2 <= x.ndim <= 5 and len(x) == size[0]}
    return recorded, {key: _modality_bias(x, inputs, streams) for key, x in tensors.items()}


def _modality_bias(x: Tensor, inputs: Mapping[str, Tensor], streams: Mapping[str, StreamSpec]) -> tuple[float, bool]:
    """`modality_bias` and `visual_first` of a tensor; see `ObservedTensor`."""
    pairs = [axis for axis, size in enumerate(x.shape) if size == len(MODALITIES) and x.ndim > 2]
    if not pairs:
        return _log_gradient_ratio(x, inputs, streams), False
    first, second = (_log_gradient_ratio(half, inputs, streams) for half in x.unbind(pairs[0]))
    return (first + second) / 2, first < second


def _log_gradient_ratio(x: Tensor, inputs: Mapping[str, Tensor], streams: Mapping[str, StreamSpec]) -> float:
    """Log of the ratio of squared gradients to the audio and to the visual streams, from random projections of `x`."""
    size = dict.fromkeys(MODALITIES, 1e-30)
    for _ in range(_PROJECTIONS):
        scalar = (x * torch.randn_like(x)).sum()
        gradients = torch.autograd.grad(scalar, list(inputs.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(inputs, gradients, strict=True):
            size[streams[name].modality] += 0.0 if gradient is None else gradient.square().mean().item()
    return math.log(size["audio"] / size["visual"])


class _AxisNamer:
    """Infers the axes of a tensor from how its shape changes with B and T."""

    def __init__(self, returned: Tensors, num_classes: int | None) -> None:
        self.num_classes = num_classes
        if num_classes is None:
            flat = [x.shape[1] for _, x in returned if x.ndim == 2 and len(x) == BASE[0]]
            self.num_classes = max(flat, key=flat.count) if flat else None

    def observe(
        self,
        path: str,
        x: Tensor,
        modality_bias: tuple[float, bool],
        videos: torch.Size | None,
        segments: torch.Size | None,
    ) -> ObservedTensor:
        """Describe `x`, recorded at B = 3 and T = 10, given its shapes for more videos and for more segments."""
        axes = tuple(
            self._axis(size, videos[k] if videos is not None else None, segments[k] if segments is not None else None)
            for k, size in enumerate(x.shape)
        )
        if self.num_classes == len(MODALITIES) and axes.count("c") == 2:
            axes = (*axes[: axes.index("c")], "m", *axes[axes.index("c") + 1 :])
        if axes.count("m") == 2:  # the second axis of size 2 is (presence, absence)
            last = len(axes) - 1 - axes[::-1].index("m")
            axes = (*axes[:last], "e", *axes[last + 1 :])
        values = x.detach().float()
        sums_to_one = "t" in axes and bool((values.sum(axes.index("t")) - 1).abs().max() < 1e-3)
        low, high = (float(values.min()), float(values.max())) if x.numel() else (0.0, 0.0)
        return ObservedTensor(path, tuple(x.shape), axes, low, high, x.requires_grad, *modality_bias, sums_to_one)

    def _axis(self, size: int, with_more_videos: int | None, with_more_segments: int | None) -> str:
        if with_more_videos not in (None, size):
            return "b"
        if with_more_segments not in (None, size):
            return "t"
        if size == self.num_classes:
            return "c"
        if size == BASE[1] and with_more_segments in (None, size):  # 10 segments whatever T is
            return "t"
        return "m" if size == 2 else "d"
