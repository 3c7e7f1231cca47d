"""One training step: the forward and backward pass of every micro-batch for each update, and the update itself."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from coleaf_framework.collaboration import AnchorPass, MovingAverage, StepOutput, Update
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.model.running import phase
from coleaf_framework.protocol import Batch, Progress
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.training.device import autocast
from coleaf_framework.training.graphs import CapturedSteps, GraphBackend, Note
from coleaf_framework.training.optimization import (
    OptimizerFactory,
    ScheduleFactory,
    clip_gradients,
    learning_rate_groups,
    make_optimizer,
    make_schedule,
)


class _UpdateForward(nn.Module):
    """`CoLeaF.update` as a module's forward, which DistributedDataParallel wraps."""

    def __init__(self, model: CoLeaF) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, progress: Progress, which: Update, shared: AnchorPass | None) -> StepOutput:
        return self.model.update(batch, progress, which, shared)


class Stepper:
    """Makes training steps; holds the optimiser, its schedule and the Anchor's moving average.

    Args:
        model: on its device.
        config: how to train.
        device: where.
        optimizer: makes the optimiser; that of the configuration where None.
        schedule: makes its schedule; that of the configuration where None.
        graphs: captures steps and replays them; None makes each step as it is.
    """

    def __init__(
        self,
        model: CoLeaF,
        config: TrainerConfig,
        device: torch.device,
        optimizer: OptimizerFactory | None = None,
        schedule: ScheduleFactory | None = None,
        graphs: GraphBackend | None = None,
    ) -> None:
        self.model, self.config, self.device = model, config, device
        of_anchor = {id(p) for p in model.anchor.parameters()}
        others = [p for p in model.parameters() if id(p) not in of_anchor]
        groups = learning_rate_groups(model.anchor, others, config.learning_rate)
        self.optimizer = make_optimizer(groups, config, device, optimizer)
        self.schedule = make_schedule(self.optimizer, config, model.head_start, schedule)
        self.average = MovingAverage(model.anchor, config.anchor_ema) if config.anchor_ema else None
        self._forward: nn.Module = _UpdateForward(model)
        self._ranks = 1
        self._captured = None if graphs is None else CapturedSteps(self._make_step, model, self.optimizer, graphs)

    def distribute(self, ranks: int) -> None:
        """Average gradients over ranks from now on."""
        if ranks > 1:
            self._forward = DistributedDataParallel(self._forward, find_unused_parameters=True)
        self._ranks = ranks

    def step(self, batches: Sequence[Batch], progress: Progress, note: Note) -> None:
        """Make one training step.

        Args:
            batches: its micro-batches; each micro-batch's Anchor pass is kept until the last update that reads it.
            progress: epoch and step.
            note: told what each forward returned, before its backward, or after the step where it is replayed; it must
                copy what it keeps.
        """
        if self._captured is None:
            self._make_step(batches, progress, note)
        else:
            self._captured.step(batches, progress, note)

    def _make_step(self, batches: Sequence[Batch], progress: Progress, note: Note) -> None:
        updates = self.model.updates(progress)
        shared: list[AnchorPass | None] = [None] * len(batches)
        for number, which in enumerate(updates):
            self.optimizer.zero_grad(set_to_none=True)
            for i, batch in enumerate(batches):
                with self._gradients_stay_here(i < len(batches) - 1):
                    with autocast(self.device, self.config.precision):
                        if number == 0:
                            shared[i] = self.model.shared_pass(batch, progress)
                        output: StepOutput = self._forward(batch, progress, which, shared[i])
                    note(output)
                    if number == len(updates) - 1:
                        shared[i] = None
                    # DistributedDataParallel takes the mean of ranks, whose losses are parts of a sum.
                    loss = output.total() * self._ranks
                    with phase("backward"):
                        loss.backward()  # type: ignore[no-untyped-call]
            with phase("optimizer"):
                self._update_weights()
        self.model.after_step()
        if self.average is not None:
            self.average.follow(self.model.anchor)

    def _gradients_stay_here(self, stay: bool) -> AbstractContextManager[None]:
        """Skip the exchange of gradients between ranks, which is due after an update's last micro-batch."""
        if stay and isinstance(self._forward, DistributedDataParallel):
            return self._forward.no_sync()
        return contextlib.nullcontext()

    def _update_weights(self) -> None:
        if self.config.clip_norm:
            # Each branch by itself, so that one's long gradient does not shorten the other's.
            for branch in (self.model.anchor, self.model.reference):
                if branch is not None:
                    clip_gradients(branch, self.config.clip_norm)
        self.optimizer.step()

    @property
    def learning_rate(self) -> float:
        """The rate of the optimiser's first group of parameters, now."""
        return self.learning_rates[0]

    @property
    def learning_rates(self) -> list[float]:
        """The rates of the optimiser's groups of parameters, now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def end_epoch(self, epoch: int) -> None:
        """Advance the schedule, except in the Reference's head start."""
        if epoch <= self.model.head_start:
            return
        with warnings.catch_warnings():
            # A run may go on from the end of an epoch's steps: then this process has made none before the schedule's.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            self.schedule.step()

    def deployed(self) -> AbstractContextManager[None]:
        """A context in which the model's Anchor is its moving average, where there is one, to be scored and saved."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place_of(self.model.anchor)

    def state(self) -> dict[str, Any]:
        """State to resume from, besides the model's: tensors and plain values."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "optimizer_class": type(self.optimizer).__name__,
            "schedule": self.schedule.state_dict(),
            "schedule_class": type(self.schedule).__name__,
            "anchor_average": None if self.average is None else self.average.average.state_dict(),
        }

    def load(self, state: dict[str, Any], epochs: int) -> None:
        """Load what `state` returned.

        Args:
            state: one that `resuming.require_fitting` let pass. Older ones have no schedule, since the learning rate
                followed from the epoch: theirs is advanced to where it would stand.
            epochs: done.
        """
        if state.get("schedule") is None:
            self._catch_up(state["optimizer"], epochs)
        else:
            self._load_optimizer(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
        average: dict[str, Tensor] | None = state.get("anchor_average")
        if self.average is not None and average is not None:
            self.average.average.load_state_dict(average)

    def _catch_up(self, optimizer: dict[str, Any], epochs: int) -> None:
        for epoch in range(1, epochs + 1):
            self.end_epoch(epoch)
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self._load_optimizer(optimizer)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        """Load an optimiser's state; whether it can be captured is this run's own, not that of the run that saved."""
        groups = [
            saved | {"capturable": own["capturable"]} if "capturable" in own else saved
            for saved, own in zip(state["param_groups"], self.optimizer.param_groups, strict=True)
        ]
        self.optimizer.load_state_dict({**state, "param_groups": groups})
