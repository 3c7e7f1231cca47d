"""Training steps as CUDA graphs: captured in each epoch, then replayed by one launch in place of some thousand.

A captured step repeats its kernels with the numbers that Python gave them, on the very tensors it was captured with. So
whatever Python computes must be the same in every step that is replayed:

- Learning rate and loss terms are constant within an epoch; each epoch captures anew, after a few uncaptured steps.
- Batches are copied into the tensors that were captured. Batches of another shape, such as an epoch's last one, have a
  graph of their own, or are not captured if there are few of them.
- A loss may read the step's number only as `step % n`: there is a graph for each remainder.
- Random numbers of the device follow from the seed at each replay, as without graphs: a replay takes the generator's
  seed and offset of that moment. Random numbers of the host would be the same in each replay, so a step that draws any
  is refused. So is a step that changes plain attributes of a module or of the optimiser, puts another tensor in place
  of one that a module keeps, or reads the names of videos.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from coleaf_framework.collaboration import StepOutput
from coleaf_framework.protocol import Batch, Progress
from coleaf_framework.training.optimization import never_captured

WARM_UP = 3
"""Steps of each kind that an epoch runs as they are before one is captured: they initialise kernels and optimiser."""
_SETTING = "trainer.cuda_graphs"

Note = Callable[[StepOutput], None]
MakeStep = Callable[[Sequence[Batch], Progress, Note], None]


class GraphBackend(Protocol):
    """Captures and replays steps: on the device, or in a test."""

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run on the stream that will capture."""

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record what `run` launches, which computes nothing yet; returns what computes it, on the same tensors."""


class CudaGraphs:
    """Captures with `torch.cuda.CUDAGraph`, each graph with a memory pool of its own.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run on the capturing stream, as PyTorch asks for before a capture."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            run()
        current.wait_stream(self.stream)

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """See `GraphBackend`. Other threads, such as the one that pins batches, may use the device meanwhile."""
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                run()
        finally:
            torch.cuda.set_stream(current)  # where the capture fails, torch.cuda.graph leaves its own in place
        return graph.replay


def require_graphs(device: torch.device, ranks: int) -> None:
    """Check that steps can be captured here at all.

    Raises:
        ValueError: the device is not a CUDA GPU, or there are several ranks.
    """
    if device.type != "cuda":
        raise ValueError(f"{_SETTING} needs a CUDA GPU, and trainer.device is {device}: set {_SETTING}=false")
    if ranks > 1:
        raise ValueError(f"{_SETTING} is for one process, not for {ranks} ranks: set {_SETTING}=false")


class CapturedSteps:
    """Makes training steps by replaying captured ones.

    Args:
        make: makes a step as it is: forward, backward, update and moving averages.
        model: a step must not change its plain attributes; tensors that it keeps may change in place.
        optimizer: the same holds for it.
        backend: captures and replays.
    """

    def __init__(
        self, make: MakeStep, model: nn.Module, optimizer: torch.optim.Optimizer, backend: GraphBackend
    ) -> None:
        self._make, self._model, self._optimizer, self._backend = make, model, optimizer, backend
        self._epoch = 0
        self._seen: Counter[Any] = Counter()
        self._graphs: dict[Any, _Graph] = {}
        self._moduli: set[int] = {1}

    def step(self, batches: Sequence[Batch], progress: Progress, note: Note) -> None:
        """Make one training step; `note` gets the outputs of the forwards, and must copy what it keeps.

        Raises:
            ValueError: the step uses a value of the host that each replay would repeat.
            RuntimeError: the step cannot be captured.
        """
        if progress.epoch != self._epoch:  # gives back the memory of the last epoch's graphs
            self._epoch, self._seen, self._graphs = progress.epoch, Counter(), {}
        period = math.lcm(*self._moduli)
        key = (tuple(_layout(batch) for batch in batches), progress.step % period)
        if key not in self._graphs:
            guarded = replace(progress, step=cast(int, _StepNumber(progress.step, self._moduli)))
            self._seen[key] += 1
            if self._seen[key] <= WARM_UP:
                self._run_as_it_is(batches, guarded, note)
                return
            self._graphs[key] = self._captured(batches, guarded)
            if math.lcm(*self._moduli) != period:  # seen in the capture alone: the step's kind is a finer one
                self._graphs.clear()
                self.step(batches, progress, note)
                return
        self._graphs[key].replay(batches, note)

    def _run_as_it_is(self, batches: Sequence[Batch], progress: Progress, note: Note) -> None:
        device = batches[0].labels.device
        random_before, before = _generators(device), self._kept()
        with never_captured():
            self._backend.warm_up(lambda: self._make([_without_names(batch) for batch in batches], progress, note))
        if _generators(device) != random_before:
            _refuse("draws random numbers on the host")
        after = self._kept()
        for name, value in before.items():
            now = after.get(name)
            if now is value:
                continue
            if isinstance(value, Tensor):
                _refuse(f"puts another tensor in place of {name}")
            if isinstance(now, Tensor) or now != value:
                _refuse(f"changes the attribute {name}")

    def _kept(self) -> dict[str, Any]:
        """Plain values and tensors of model and optimiser, which a captured step must not replace.

        A graph knows tensors by their memory, and a replay would not change plain values.
        """
        return {
            f"{type(module).__name__}.{name}" + f" of {path}" * bool(path): value
            for path, module in self._model.named_modules()
            for name, value in {**vars(module), **module._buffers}.items()
            if isinstance(value, int | float | str | Tensor)
        } | {
            f"{type(self._optimizer).__name__}.param_groups[{i}][{name!r}]": value
            for i, group in enumerate(self._optimizer.param_groups)
            for name, value in group.items()
            if isinstance(value, int | float | str)
        }

    def _captured(self, batches: Sequence[Batch], progress: Progress) -> _Graph:
        own = [_without_names(batch._each(Tensor.clone)) for batch in batches]
        outputs: list[StepOutput] = []

        def run() -> None:
            outputs.clear()
            self._make(own, progress, lambda output: outputs.append(_detached(output)))

        try:
            return _Graph(own, outputs, self._backend.capture(run))
        except RuntimeError as problem:
            cause = problem.__context__ or problem  # ending a capture that failed raises another error
            first = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            raise RuntimeError(f"{_SETTING}: a training step cannot be captured ({first}): set {_SETTING}=false") from (
                problem
            )


@dataclass(frozen=True)
class _Graph:
    """A captured step: the tensors it reads, its outputs, and the function that replays it."""

    batches: Sequence[Batch]
    outputs: Sequence[StepOutput]
    run: Callable[[], None]

    def replay(self, batches: Sequence[Batch], note: Note) -> None:
        for own, given in zip(self.batches, batches, strict=True):
            for to, x in zip(_tensors(own).values(), _tensors(given).values(), strict=True):
                to.copy_(x, non_blocking=True)
        self.run()
        for output in self.outputs:
            note(output)


class _StepNumber:
    """The number of a captured step, which a loss may read only as `step % n`; each n is noted."""

    def __init__(self, number: int, moduli: set[int]) -> None:
        self._number, self._moduli = number, moduli

    def __mod__(self, n: int) -> int:
        self._moduli.add(n)
        return self._number % n

    def _unknown(self, *_: object) -> NoReturn:
        _refuse("reads progress.step otherwise than as `step % n`")

    __bool__ = __eq__ = __hash__ = __str__ = __format__ = _unknown
    __lt__ = __le__ = __gt__ = __ge__ = __index__ = __int__ = __float__ = _unknown
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __floordiv__ = __pow__ = _unknown


class _Names:
    """Placeholder for a batch's `ids`, which differ in each replay."""

    def _unknown(self, *_: object) -> NoReturn:
        _refuse("reads the names of videos, batch.ids")

    __iter__ = __len__ = __getitem__ = __contains__ = __bool__ = __eq__ = __hash__ = _unknown


def _refuse(what: str) -> NoReturn:
    raise ValueError(
        f"{_SETTING}: the training step {what}, which would be the same in each replay: set {_SETTING}=false"
    )


def _without_names(batch: Batch) -> Batch:
    return replace(batch, ids=cast(tuple[str, ...], _Names()))


def _detached(output: StepOutput) -> StepOutput:
    return StepOutput(*({name: x.detach() for name, x in part.items()} for part in output))


def _tensors(batch: Batch) -> dict[str, Tensor]:
    fields = {name: x for name, x in vars(batch).items() if isinstance(x, Tensor)}
    return {**fields, **{f"streams.{name}": x for name, x in batch.streams.items()}}


def _layout(batch: Batch) -> tuple[Any, ...]:
    """The properties that two batches of one graph must share."""
    return batch.fraction, *((name, x.shape, x.dtype) for name, x in _tensors(batch).items())


def _generators(device: torch.device) -> tuple[Any, ...]:
    """States of the host's generators; PyTorch's is the step's own where it runs on the CPU."""
    kind, words, *position = np.random.get_state()
    own = b"" if device.type == "cpu" else torch.get_rng_state().numpy().tobytes()
    return random.getstate(), kind, cast(Any, words).tobytes(), position, own
