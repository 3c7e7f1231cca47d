"""Run a copy of a network on synthetic batches, and record its outputs and its submodules' inputs and outputs.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework._config import reason
from coleaf_framework.adapters import flatten
from coleaf_framework.inspection.seen import BASE, At, Place, Seen, Tensors, gradients
from coleaf_framework.protocol import MODALITIES, Modality, StreamSpec
from coleaf_framework.wrapping.sandbox import isolated_random_state, synthetic

MORE_VIDEOS, MORE_SEGMENTS = (4, 10), (3, 20)
Streams = Mapping[str, Tensor]


@dataclass
class Recording:
    """One forward pass: the streams, the network's outputs, and each run of each submodule."""

    streams: Streams
    returned: Tensors
    runs: dict[tuple[str, int, At], Tensors] = field(default_factory=dict)

    def tensors(self) -> Iterator[tuple[Place, Tensor]]:
        """Every tensor with its place: the network's outputs first, then those of submodules in the order they ran."""
        for path, x in self.returned:
            yield Place(path), x
        for (submodule, run, at), tensors in self.runs.items():
            for path, x in tensors:
                yield Place(path, submodule, run, at), x


Change = Callable[[Any], Any]
Call = Callable[[nn.Module, Streams], Any]


class Probe:
    """Runs a copy of a network, which may be changed, and compares what was recorded.

    Args:
        network: the copy.
        call: runs it on streams.
        specs: its input streams.

    Raises:
        ValueError: the network runs for one number of videos only.
    """

    def __init__(self, network: nn.Module, call: Call, specs: Mapping[str, StreamSpec]) -> None:
        self.network, self.call, self.specs = network, call, specs
        self.base = self.record(self.draw(BASE))
        self.fixed_segments_error: str | None = None
        self.folds_segments = False
        self.seen = list(self._see())

    def draw(self, size: tuple[int, int]) -> dict[str, Tensor]:
        """Standard normal streams of (B,T), with gradient."""
        return synthetic(self.network, self.specs, *size)

    def record(
        self,
        streams: Streams,
        *,
        training: bool = False,
        changes: Mapping[tuple[str, int], Change] | None = None,
        seed: int = 0,
        evaluating: Iterable[nn.Module] = (),
    ) -> Recording:
        """Run the network once.

        Args:
            streams: its input streams.
            seed: of what it draws at random, so that nothing but the streams differs between recordings.
            training: the mode.
            evaluating: submodules that are in evaluation mode all the same.
            changes: (path of a submodule, run) -> what to make of its output, which then replaces it.
        """
        recording, counts = Recording(streams, []), dict.fromkeys((path for path, _ in self.network.named_modules()), 0)
        changes = changes or {}

        def listen(path: str) -> Callable[..., Any]:
            def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
                run, counts[path] = counts[path], counts[path] + 1
                if (path, run) in changes:
                    output = changes[path, run](output)
                recording.runs[path, run, "input"] = list(flatten((*args, *kwargs.values())))
                recording.runs[path, run, "output"] = list(flatten(output))
                return output if (path, run) in changes else None

            return hook

        self.network.train(training)
        for module in evaluating:
            module.eval()
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # refuses gradients in evaluation mode
            for path, module in self.network.named_modules():
                if path and not isinstance(module, torch.jit.ScriptModule):
                    stack.callback(module.register_forward_hook(listen(path), with_kwargs=True).remove)
            stack.enter_context(isolated_random_state(seed))
            returned = self.call(self.network, {name: x.clone() for name, x in streams.items()})
        recording.returned = list(flatten(returned))
        return recording

    def other(self, modality: Modality) -> Recording:
        """A recording of streams that differ from the base's in one modality."""
        new = {name: x for name, x in self.draw(BASE).items() if self.specs[name].modality == modality}
        return self.record({**self.base.streams, **new})

    def _see(self) -> Iterator[Seen]:
        try:
            videos = self.record(self.draw(MORE_VIDEOS))
        except (Exception, SystemExit) as problem:
            raise ValueError(
                f"{type(self.network).__name__} runs on {BASE[0]} videos, not on {MORE_VIDEOS[0]}: a number of videos "
                f"is written into it: {reason(problem)}"
            ) from problem
        segments: Recording | None = None
        try:
            segments = self.record(self.draw(MORE_SEGMENTS))
        except (Exception, SystemExit) as problem:
            self.fixed_segments_error = reason(problem)
        if segments is not None:
            sizes = [{path: len(x) for path, x in r.returned if x.ndim} for r in (self.base, segments)]
            # The number of videos in its outputs grows with T where T is folded into the batch.
            self.folds_segments = any(sizes[0][p] == BASE[0] and sizes[1].get(p) == 2 * BASE[0] for p in sizes[0])
        longer = segments if not self.folds_segments else None
        loud = self.record({name: 4 * x.detach() for name, x in self.base.streams.items()})
        first = {name: x.detach().clone() for name, x in self.base.streams.items()}
        for name, x in self.draw(BASE).items():
            first[name][0] = x[0].detach()
        first_video = dict(self.record(first).tensors())
        shapes = [dict(_shapes(x)) if x is not None else {} for x in (videos, longer)]
        values = dict(loud.tensors())
        for place, x in self.base.tensors():
            if not x.is_floating_point() or not x.numel():
                continue
            axes = tuple(
                _axis(size, *(_size(shape.get(place), k, x.ndim) for shape in shapes), fixed=longer is None)
                for k, size in enumerate(x.shape)
            )
            axes = tuple(_ordered(axis, k, x, first_video.get(place)) for k, axis in enumerate(axes))
            both = [v.detach().float() for v in (x, values.get(place, x))]
            low, high = min(float(v.min()) for v in both), max(float(v.max()) for v in both)
            yield Seen(place, x, axes, low, high)


def _ordered(axis: str, k: int, x: Tensor, with_another_first_video: Tensor | None) -> str:
    """An axis that joins videos and something else, with the one first whose steps are the longer ones."""
    if not axis.startswith("(") or with_another_first_video is None or with_another_first_video.shape != x.shape:
        return axis
    changed = (x.detach() != with_another_first_video.detach()).movedim(k, 0).flatten(1).any(1)
    apart = len(changed) // BASE[0]
    if changed[:: BASE[0]].all() and not changed[1 :: BASE[0]].any() and apart > 1:
        return {"(b t)": "(t b)", "(b m)": "(m b)", "(b t m)": "(t m b)"}[axis]
    return axis


def _shapes(recording: Recording) -> Iterator[tuple[Place, torch.Size]]:
    return ((place, x.shape) for place, x in recording.tensors())


def _size(shape: torch.Size | None, axis: int, ndim: int) -> int | None:
    return shape[axis] if shape is not None and len(shape) == ndim else None


def _axis(size: int, with_more_videos: int | None, with_more_segments: int | None, *, fixed: bool) -> str:
    """What an axis is, by its length for (3, 10), (4, 10) and (3, 20) videos and segments."""
    for name, grows in (
        ("b", (1, 0, 1)),
        ("t", (0, 1, 1)),
        ("(b t)", (1, 1, 1)),
        ("(b m)", (1, 0, 2)),
        ("(b t m)", (1, 1, 2)),
    ):
        lengths = [grows[2] * b ** grows[0] * t ** grows[1] for b, t in (BASE, MORE_VIDEOS, MORE_SEGMENTS)]
        if name == "t" and fixed:
            continue
        if size == lengths[0] and with_more_videos in (None, lengths[1]) and with_more_segments in (None, lengths[2]):
            if name != "t" and with_more_videos is None:
                continue
            return name
    return "t?" if fixed and size == BASE[1] else ""


def log_energies(x: Tensor, recording: Recording, specs: Mapping[str, StreamSpec]) -> float:
    """Log of the ratio of the mean squared gradients of random projections of `x` to audio and to visual streams."""
    energy = dict.fromkeys(MODALITIES, 1e-30)
    names = list(recording.streams)
    for _ in range(4):
        for name, gradient in zip(names, gradients(x, [recording.streams[n] for n in names]), strict=True):
            energy[specs[name].modality] += gradient.square().mean().item()
    return math.log(energy["audio"] / energy["visual"])
