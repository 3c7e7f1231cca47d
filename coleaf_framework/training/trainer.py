"""The trainer. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import truth_of
from coleaf_framework.data.recipe_file import recipe_of, require_same_features
from coleaf_framework.metrics import DecisionConfig, ScoreTotals, decide
from coleaf_framework.model.coleaf import CoLeaF, require_record
from coleaf_framework.plugins import published_decision
from coleaf_framework.protocol import AnchorOutput, Batch
from coleaf_framework.record.config import Cache, TrainerConfig
from coleaf_framework.results.assembling import assemble, collect_tensors
from coleaf_framework.results.columns import columns_of
from coleaf_framework.results.evaluation import Evaluation
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.tracking import TrackedRun, Tracker, Trackers, require_trackers
from coleaf_framework.training.answering import answers
from coleaf_framework.training.batch_loader import BatchLoader
from coleaf_framework.training.checks import require_options, require_training_data
from coleaf_framework.training.data_fit import positive_shares_of, require_fitting_data
from coleaf_framework.training.device import choose_device, compile_networks, require_processes
from coleaf_framework.training.distributed import DistributedContext, lost_contact
from coleaf_framework.training.graphs import CudaGraphs, require_graphs
from coleaf_framework.training.interrupts import Interrupts
from coleaf_framework.training.loop import TrainingLoop
from coleaf_framework.training.optimization import OptimizerFactory, ScheduleFactory
from coleaf_framework.training.profiling import Profiler
from coleaf_framework.training.recording import recorded, with_made
from coleaf_framework.training.resuming import require_fitting
from coleaf_framework.training.run_folder import RESUME, TRACE, OnExisting, RunFolder, parse_resume
from coleaf_framework.training.stepping import Stepper
from coleaf_framework.training.timelines import Timelines
from coleaf_framework.training.tracked import TrackedTraining, hyperparameters, require_tracking
from coleaf_framework.wrapping import wrap


class CoLeaFTrainer:
    """Trains, evaluates and runs a model.

    Args:
        model: from `wrap`; or a bare Anchor, which is then trained alone.
        config: how to train; the paper's values where None.
        decision: thresholds; where None the Anchor's published ones (its attribute `decision`), or HAN's.
        out: run folder; None writes nothing.
        on_existing: what to do where `out` holds a run: "refuse", "resume" or "overwrite".
        cache: "memory" or "device" keeps videos there after they were first read.
        quiet: no progress bar.
        profile: write a trace of some steps into `out` and print where their time went.
        accept_changes: resume a run although its code or data have changed; its scores then have a caveat.
        optimizer: makes the optimiser from the list of parameters to train, in place of the one that `config` names:
            `optimizer=lambda parameters: torch.optim.NAdam(parameters, lr=1e-3)`.
        schedule: makes the learning-rate schedule of an optimiser, in place of the one that `config` names. It is
            advanced once after each epoch, those of the Reference's head start aside:
            `schedule=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)`.
        trackers: follow the run, in place of `config.trackers`: their names, or objects of one's own that have the
            methods of `tracking.Tracker`: `trackers=["wandb", MyTracker()]`.
        group: the group under which trackers show the run.

    A resumed run needs the `optimizer` and `schedule` that it began with. Their classes and the optimiser's
    hyper-parameters are recorded and checked.

    Under torchrun each process makes the same trainer and the same calls. `fit` and `evaluate` divide the videos among
    them; only the first process writes.
    """

    def __init__(
        self,
        model: CoLeaF | nn.Module,
        config: TrainerConfig | None = None,
        *,
        decision: DecisionConfig | None = None,
        out: Path | str | None = None,
        on_existing: OnExisting = "refuse",
        cache: Cache = "none",
        quiet: bool = False,
        profile: bool = False,
        accept_changes: bool = False,
        optimizer: OptimizerFactory | None = None,
        schedule: ScheduleFactory | None = None,
        trackers: Sequence[str | Tracker] | None = None,
        group: str | None = None,
    ) -> None:
        self.config = config if config is not None else TrainerConfig()
        require_options(self.config, decision, out, cache, on_existing, {"optimizer": optimizer, "schedule": schedule})
        self.model = model if isinstance(model, CoLeaF) else wrap(model, config=CoLeaFConfig(enabled=False))
        if not any(p.requires_grad for p in self.model.parameters()):
            raise ValueError(f"{self.name} has no parameter that requires a gradient: there is nothing to train")
        self.decision = decision or DecisionConfig(**published_decision(self.model.anchor))
        self.decision.require_classes(self.model.num_classes)
        self.distributed = DistributedContext.join()
        self.device = choose_device(self.config.device)
        require_processes("trainer.workers", self.config.workers)
        self._trackers, self.group = trackers, group
        if trackers is not None:
            require_trackers(trackers)
            self.config = self.config.model_copy(update={"trackers": tuple(t for t in trackers if isinstance(t, str))})
        self.out, self.on_existing, self.accept_changes = out, on_existing, accept_changes
        self.cache, self.quiet, self.profile = cache, quiet, profile
        self._optimizer, self._schedule = optimizer, schedule
        self.history: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """What tables call the model: the class of its Anchor, and whether it is trained in CoLeaF."""
        return type(self.model.anchor).__name__ + (" in CoLeaF" if self.model.config.enabled else "")

    def fit(
        self, train: AVVPDataset, val: AVVPDataset | None = None, *, test: AVVPDataset | None = None
    ) -> list[dict[str, Any]]:
        """Train; afterwards the model has the weights of the best epoch.

        The best epoch is the first with the highest mean of the columns `config.monitor` on `val`; without `val`,
        or without columns, it is the last. Where the ground truth of `val` has only the columns AV, the default of
        `monitor` is the mean of those. With a run folder, an interrupted run goes on from its last checkpoint and
        ends with the same weights as an uninterrupted one. SIGINT and SIGTERM end it after the current step, with a
        checkpoint. With `config.anchor_ema` the Anchor's weights are the averaged ones.

        Args:
            train: to train on.
            val: to choose the best epoch on; it needs ground truth.
            test: neither trained nor scored on; the run folder records its digests, for later scores to notice changes.

        Returns:
            One entry per epoch: "epoch", "lr", "seconds", "losses" (term -> mean), "theta" (modality -> mean of
            the weights of eq. 9-11, while the event-aware contrast is active), "val" (column -> percent) and "monitor";
            "lrs", the rates of all groups of parameters, where they differ.

        Raises:
            ValueError: a data set does not fit the model, or a tracker cannot start.
            ImportError: the library of a tracker is not installed.
            FileExistsError: the run folder holds another run, or another process trains into it.
            FloatingPointError: a loss term became NaN or infinite; the last good checkpoint stays.
            OSError: a video cannot be read any more, or a checkpoint cannot be written.
            KeyboardInterrupt: the run was told to stop.
            ConnectionError: another rank failed.
        """
        trackers = require_tracking(self.config, self._trackers)
        if self.config.cuda_graphs:
            require_graphs(self.device, self.distributed.size)
        parts = self.config.accumulate * self.distributed.size
        self.config = require_training_data(
            self.model, self.decision, self.config, train, val, parts=parts, log=self.distributed.first
        )
        if (shares := positive_shares_of(train)) is not None:
            shares = shares.to(self.device)  # from now on: a copy in each step would stall it
        self.model.label_loss = replace(self.model.label_loss, positive_shares=shares)
        features = recipe_of(train)
        if self.model.record is not None:
            splits = [split for split in (train, val, test) if split is not None]
            digests = self.out is not None and self.distributed.first
            self.model.record = recorded(self.model, self.config, self.decision, splits, features, digests=digests)
        folder = RunFolder(self.out, self.on_existing) if self.out is not None and self.distributed.first else None
        try:
            # From before anything is saved, and before the ranks first wait for each other.
            with Interrupts(patient=self.distributed.size > 1) as interrupts:
                self._fit(folder, train, val, interrupts, trackers, None if features is None else features[1])
        except RuntimeError as problem:
            if not lost_contact(problem):
                raise
            raise ConnectionError(
                f"rank {self.distributed.rank} of {self.distributed.size} stops, since another rank has gone, whose "
                "own message tells why; a run that had begun goes on with --resume"
            ) from problem
        finally:
            if folder is not None:
                folder.close()
        self.model.eval()
        return self.history

    def _fit(
        self,
        folder: RunFolder | None,
        train: AVVPDataset,
        val: AVVPDataset | None,
        interrupts: Interrupts,
        trackers: dict[str, Tracker],
        projection: Path | None,
    ) -> None:
        c = self.config
        content = self.distributed.bytes_from_first(folder.resume_bytes() if folder is not None else None)
        state = parse_resume(content, Path(self.out or "") / RESUME)
        if state is not None and len(state["history"]) > c.epochs:
            raise ValueError(f"{self.out}: has {len(state['history'])} epochs already, trainer.epochs is {c.epochs}")
        self.model.to(self.device)
        if c.compile:
            compile_networks(self.model)
        graphs = CudaGraphs(self.device) if c.cuda_graphs else None
        stepper = Stepper(self.model, c, self.device, self._optimizer, self._schedule, graphs)
        if folder is not None or self.model.record is not None:
            self.model.record = with_made(require_record(self.model), stepper, self._optimizer, self._schedule)
        record = self.model.record
        if folder is not None and record is not None:
            record = folder.checked(record, accept_changes=self.accept_changes)
        profiler = Profiler(Path(self.out or ".") / TRACE) if self.profile and self.distributed.first else None
        loop = TrainingLoop(stepper, self.distributed, folder, profiler)
        if state is not None:
            steps = -(-len(train) // c.batch_size)
            require_fitting(state, stepper, steps, Path(self.out or "") / RESUME)
        val_loader = None if val is None else self._loader(val)
        before = [] if state is None else state["history"]
        tracked = self._tracked(trackers, val_loader, None if folder is None else folder.path, len(before))
        name = self.name if self.out is None else Path(self.out).resolve().name
        run = TrackedRun(name, hyperparameters(record), c.project, self.group, None if folder is None else folder.path)
        with tracked.running(run, before, resuming=folder is not None and folder.resuming):
            if folder is not None and record is not None:
                folder.begin(record, projection)
            loop.start(state)
            self.history = loop.history
            score = None if val_loader is None else partial(self._score, val_loader, tracked)
            try:
                loop.run(self._loader(train), score, interrupts, tracked, quiet=self.quiet)
            finally:
                if profiler is not None:
                    profiler.stop()

    def _tracked(
        self, trackers: dict[str, Tracker], val: BatchLoader | None, folder: Path | None, epochs: int
    ) -> TrackedTraining:
        """What reports a training, of which so many epochs are done, to the trackers of the first rank."""
        known = Trackers(trackers if self.distributed.first else {}, folder)
        if epochs == self.config.epochs and known.done(epochs):  # nothing is left to be trained or told
            known = Trackers({}, None)
        timelines, videos = None, self.config.tracked_videos
        if val is not None and videos and known:
            timelines = Timelines(val.data, lambda videos: self._run(val, videos), self.decision, videos, self.name)
        return TrackedTraining(known, self.name, measure=bool(trackers) and val is not None, timelines=timelines)

    def predict(self, data: AVVPDataset, *, truth: bool = False, name: str | None = None) -> Predictions:
        """Run the Anchor over a split in evaluation mode; scores, events and thresholds are read from the result.

        Under torchrun the videos are divided among the ranks, and every rank gets all predictions.

        Args:
            data: the split.
            truth: whether it must have ground truth.
            name: what tables call the model; the class of its Anchor, and whether in CoLeaF, where None.

        Returns:
            Predictions of N videos, in the data set's order, on the CPU.

        Raises:
            ValueError: the data set does not fit the model, its features were made otherwise than the training
                features, or it has no ground truth though it must.
            FloatingPointError: a probability is NaN or infinite.
        """
        record = self.model.record
        notes = () if record is None else require_same_features(data, record.features)
        require_fitting_data(self.model, self.decision, data, truth=truth)
        own = self.distributed.part(len(data))
        # A rank that has none of a few videos runs the first, whose predictions are then dropped.
        ids, tensors = collect_tensors(self._run(self._loader(data), own or range(1)))
        tensors = self.distributed.interleaved(tensors, len(own), len(data))
        ids = ids if self.distributed.size == 1 else tuple(data.ids)
        return assemble(name or self.name, data, self.decision, ids, tensors).with_caveats(notes)

    def evaluate(self, data: AVVPDataset, name: str | None = None) -> Evaluation:
        """Score the model on a split with ground truth, beside two trivial parsers.

        Args:
            data: the split.
            name: the model's row in the table; the class of its Anchor, and whether in CoLeaF, where None.

        Returns:
            Scores in percent by column, with caveats, which `print` shows as a table.

        Raises:
            ValueError: the data set does not fit the model, or has no ground truth.
            FloatingPointError: a probability is NaN or infinite.
        """
        return self.predict(data, truth=True, name=name).evaluation()

    def _score(self, loader: BatchLoader, tracked: TrackedTraining | None = None) -> dict[str, float]:
        totals, trivial = ScoreTotals(), None if tracked is None else tracked.trivial
        for batch, output in self._run(loader, self.distributed.part(len(loader.data))):
            assert batch.segment_labels is not None
            totals.add(decide(output, self.decision, batch.mask).cpu(), batch.segment_labels.cpu())
            if trivial is not None:
                trivial.add(batch)
        scores, columns = totals.scores(self.distributed.total), columns_of(truth_of(loader.data))
        if tracked is not None and trivial is not None:
            tracked.measured(trivial.scores(columns, self.distributed.total))
        return {column: scores[column] for column in columns}

    def _run(self, loader: BatchLoader, videos: Sequence[int]) -> Iterator[tuple[Batch, AnchorOutput]]:
        return answers(self.model, loader, videos, self.config, self.device)

    def _loader(self, data: AVVPDataset) -> BatchLoader:
        half = torch.bfloat16 if self.config.precision == "bf16" else torch.float32
        return BatchLoader(data, self.device, self.config.workers, self.cache, half)
