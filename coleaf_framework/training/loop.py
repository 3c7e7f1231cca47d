"""The training loop: epochs and steps on one or several ranks, checkpoints and resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from coleaf_framework.collaboration import StepOutput
from coleaf_framework.metrics import mean_of
from coleaf_framework.model.running import phase
from coleaf_framework.protocol import Batch, Progress
from coleaf_framework.training.batch_loader import BatchLoader, plain_error
from coleaf_framework.training.best import BestWeights
from coleaf_framework.training.device import seed_everything
from coleaf_framework.training.distributed import DistributedContext, lost_contact
from coleaf_framework.training.interrupts import Interrupts
from coleaf_framework.training.losslog import LossLog
from coleaf_framework.training.plan import MicroBatch, mixed_seed, plan_epoch
from coleaf_framework.training.profiling import Profiler
from coleaf_framework.training.progress import TrainingProgress
from coleaf_framework.training.run_folder import RunFolder
from coleaf_framework.training.stepping import Stepper
from coleaf_framework.training.tracked import TrackedTraining

_GO_ON, _STOP, _FAILED = 0, 1, 2


def _with_note(problem: Exception, note: str) -> Exception:
    if isinstance(problem, OSError | ValueError):
        return plain_error(problem, note)
    kind = FloatingPointError if isinstance(problem, FloatingPointError) else RuntimeError
    return kind(f"{problem}; {note}")


class TrainingLoop:
    """Runs the epochs of a training, with its checkpoints.

    Everything random in a step follows from the seed, the step's number and the rank, and the order of videos from
    the seed and the epoch; so a run that goes on from any step repeats what an uninterrupted one would have done.

    Args:
        stepper: makes the steps, of its model, as its configuration says.
        distributed: this process among those that train.
        folder: the run's, on the first rank; None writes nothing.
        profiler: of some steps, or None.
    """

    def __init__(
        self,
        stepper: Stepper,
        distributed: DistributedContext,
        folder: RunFolder | None,
        profiler: Profiler | None = None,
    ) -> None:
        self.stepper, self.model, self.config = stepper, stepper.model, stepper.config
        self.distributed, self.folder, self.profiler = distributed, folder, profiler
        self.best = BestWeights(folder)
        self.history: list[dict[str, Any]] = []
        self.epoch_steps, self.log = 0, LossLog(1)
        self._saved: str | None = None

    def run(
        self,
        train: BatchLoader,
        score: Callable[[], dict[str, float]] | None,
        interrupts: Interrupts,
        tracked: TrackedTraining,
        *,
        quiet: bool,
    ) -> None:
        """Train up to `config.epochs`.

        Args:
            train: the training split.
            score: validation columns of the model as it is; None without a validation split.
            interrupts: looked at between steps; entered before `start`, so that a run that can be resumed can be told
                to stop.
            tracked: told of every epoch.
            quiet: show nothing.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM; what was done up to the last step is saved.
            FloatingPointError: a term became NaN or infinite.
            ConnectionError: another rank failed.
            OSError, ValueError: a video cannot be read; what was done is saved.
        """
        c = self.config
        self.stepper.distribute(self.distributed.size)
        lengths = [train.data.segments(i) for i in range(len(train.data))] if c.bucket_by_length else None
        steps = -(-len(train.data) // c.batch_size)
        with TrainingProgress(c.epochs, steps, quiet=quiet or not self.distributed.first) as progress:
            for epoch in range(len(self.history) + 1, c.epochs + 1):
                plan = plan_epoch(
                    len(train.data),
                    c.batch_size,
                    c.seed,
                    epoch,
                    rank=self.distributed.rank,
                    world_size=self.distributed.size,
                    accumulate=c.accumulate,
                    lengths=lengths,
                )
                entry = self._epoch(epoch, train, plan, score, interrupts, progress)
                progress.epoch_done(entry, self.best.epoch)
                with self.stepper.deployed():
                    tracked.epoch_done(entry, self.best.epoch)
        tracked.trained(self.history, self.best.epoch)
        self.best.restore(self.model)
        self.distributed.from_first(self.model.state_dict().values())

    def saved(self) -> str:
        """A sentence that says which checkpoint a run can be resumed from."""
        if not self.distributed.first:
            return "the first rank says what was saved"
        if self.folder is None or self._saved is None:
            return "nothing was saved"
        return f"{self.folder.path} keeps, for --resume, everything up to {self._saved}"

    def _epoch(
        self,
        epoch: int,
        train: BatchLoader,
        plan: list[list[MicroBatch]],
        score: Callable[[], dict[str, float]] | None,
        interrupts: Interrupts,
        progress: TrainingProgress,
    ) -> dict[str, Any]:
        start = time.perf_counter()
        entry: dict[str, Any] = {"epoch": epoch, "lr": self.stepper.learning_rate}
        if len(set(rates := self.stepper.learning_rates)) > 1:
            entry["lrs"] = rates
        self._train(epoch, train, plan, interrupts, progress)
        entry["losses"] = self._over_ranks(self.log.means())
        for name, mean in self._over_ranks(self.log.observed()).items():  # "theta/audio" is the entry's theta: audio
            group, _, member = name.partition("/")
            entry.setdefault(group, {})[member] = mean
        if score is not None:
            entry["val"] = self._scored(score)
            if self.config.monitor:
                entry["monitor"] = mean_of(entry["val"], self.config.monitor)
        entry["seconds"] = round(time.perf_counter() - start, 3)
        self.history.append(entry)
        self.epoch_steps, self.log = 0, LossLog(epoch + 1)
        # Before the Anchor is trained no epoch is the best: the newest weights are kept until a later epoch beats them.
        with self.stepper.deployed():
            self.best.offer(entry.get("monitor") if epoch > self.model.head_start else None, epoch, self.model)
        self.stepper.end_epoch(epoch)
        if self.folder is not None:
            self.folder.write_log(self.history)
        self.save()
        return entry

    def _scored(self, score: Callable[[], dict[str, float]]) -> dict[str, float]:
        if self.distributed.size > 1:
            self.save()  # now, since a rank that fails alone could not do it with the others
            with self.stepper.deployed():
                self.distributed.from_first(self.model.buffers())  # of batch normalisation, say: one model is scored
                return score()
        try:
            with self.stepper.deployed():
                return score()
        except Exception as problem:
            self.save()
            raise _with_note(problem, self.saved()) from problem

    def _train(
        self,
        epoch: int,
        train: BatchLoader,
        plan: list[list[MicroBatch]],
        interrupts: Interrupts,
        progress: TrainingProgress,
    ) -> None:
        self.model.train()
        self.log.epoch = epoch
        seed_everything(mixed_seed(self.config.seed, "epoch", epoch))
        batches = train([micro_batch for micro_batches in plan[self.epoch_steps :] for micro_batch in micro_batches])
        while self.epoch_steps < len(plan):
            step = (epoch - 1) * len(plan) + self.epoch_steps
            seed_everything(mixed_seed(self.config.seed, "step", step, self.distributed.rank))
            micro_batches = self._fetch(batches, len(plan[self.epoch_steps]), interrupts)
            self._step(micro_batches, Progress(epoch, step))
            self.epoch_steps += 1
            progress.step(epoch, self.epoch_steps, self.log.means(), self.distributed.size)
            if self.config.checkpoint_steps and self.epoch_steps % self.config.checkpoint_steps == 0:
                self.save()
            if self.profiler is not None:
                self.profiler.step()
        self._flush()

    def _over_ranks(self, means: dict[str, float]) -> dict[str, float]:
        if not means:
            return {}
        return dict(zip(means, self.distributed.total(list(means.values())), strict=True))

    def _fetch(self, batches: Iterator[Batch], n: int, interrupts: Interrupts) -> list[Batch]:
        """The batches of a step. If any rank has failed or was told to stop, save and end the run on all ranks."""
        failure, micro_batches = None, []
        try:
            with phase("data"):
                micro_batches = [next(batches) for _ in range(n)]
        except (OSError, ValueError, RuntimeError) as problem:
            if lost_contact(problem):
                raise
            stopping = interrupts.requested and isinstance(problem, ChildProcessError)  # Ctrl-C reaches children too
            failure = None if stopping else problem
        state = self.distributed.highest(_FAILED if failure is not None else _STOP if interrupts.requested else _GO_ON)
        if state == _GO_ON:
            return micro_batches
        self.save()
        if failure is not None:
            raise _with_note(failure, self.saved()) from failure
        if state == _FAILED:
            raise ConnectionError(f"rank {self.distributed.rank} stops, since another rank failed; {self.saved()}")
        raise KeyboardInterrupt(self.saved())

    def _step(self, micro_batches: list[Batch], progress: Progress) -> None:
        self.stepper.step([self.model.mix(self._smoothed(batch)) for batch in micro_batches], progress, self._note)

    def _smoothed(self, batch: Batch) -> Batch:
        smoothing = self.config.label_smoothing
        if not smoothing:
            return batch

        def smooth(labels: Tensor) -> Tensor:
            return (1 - smoothing) * labels + smoothing / 2

        given = batch.modality_labels
        return replace(batch, labels=smooth(batch.labels), modality_labels=None if given is None else smooth(given))

    def _note(self, output: StepOutput) -> None:
        try:
            self.log.add(output.losses, self.epoch_steps + 1, output.observations)
        except FloatingPointError as problem:
            raise FloatingPointError(f"{problem}; {self.saved()}") from None

    def _flush(self) -> None:
        try:
            self.log.flush()
        except FloatingPointError as problem:
            raise FloatingPointError(f"{problem}; {self.saved()}") from None

    def save(self) -> None:
        """Write a checkpoint to resume from; every rank calls this."""
        self._flush()
        losses = self.log.state()
        losses["sums"] = dict(zip(losses["sums"], self.distributed.total(list(losses["sums"].values())), strict=True))
        if self.folder is None:
            return
        self.folder.save_resume(
            {
                "model": self.model.state_dict(),
                **self.stepper.state(),
                "history": self.history,
                "best": {"value": self.best.value, "epoch": self.best.epoch},
                "epoch_steps": self.epoch_steps,
                "losses": losses,
            }
        )
        self._saved = self._position()

    def _position(self) -> str:
        done = len(self.history)
        if self.epoch_steps:
            return f"epoch {done + 1}, step {self.epoch_steps}"
        return f"the end of epoch {done}" if done else "its beginning"

    def start(self, state: dict[str, Any] | None) -> None:
        """Load a checkpoint of `save`, or write the first one if `state` is None.

        Raises:
            FileNotFoundError, ValueError: the weights of the best epoch so far are gone or damaged.
        """
        if state is None:
            self.save()
            return
        self.model.load_state_dict(state["model"])
        self.stepper.load(state, len(state["history"]))
        self.best.value, self.best.epoch = state["best"]["value"], state["best"]["epoch"]
        self.best.require()
        self.history, self.epoch_steps = list(state["history"]), state["epoch_steps"]
        losses = state["losses"]  # sums over ranks: one of them goes on with them
        if not self.distributed.first:
            losses["sums"] = dict.fromkeys(losses["sums"], 0.0)
        self.log = LossLog(len(self.history) + 1, losses)
        self._saved = self._position()
