"""The training loop. Shape letters: see `protocol.py`."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.data import AVVPDataset, CachedVideos, Video, collate
from coleaf_framework.metrics import (
    DecisionConfig,
    ParsingScores,
    decide,
    empty_parser,
    list_events,
    mean_of,
    video_label_parser,
)
from coleaf_framework.model import CoLeaF
from coleaf_framework.plugins import published_decision
from coleaf_framework.protocol import AnchorOutput, Batch, Progress
from coleaf_framework.report.predictions import VideoPrediction
from coleaf_framework.training.best import BestWeights
from coleaf_framework.training.config import TrainerConfig
from coleaf_framework.training.device import choose_device, seed_everything
from coleaf_framework.training.evaluation import Evaluation
from coleaf_framework.training.losslog import LossLog
from coleaf_framework.training.progress import TensorBoard, TrainingProgress
from coleaf_framework.training.run_folder import OnExisting, RunFolder
from coleaf_framework.wrapping import wrap


class CoLeaFTrainer:
    """Trains, evaluates and runs a model.

    Args:
        model: from `wrap`; or a bare Anchor, which is then trained alone.
        config: how to train; the paper's values where None.
        decision: thresholds; where None the Anchor's published ones (its attribute `decision`), or HAN's.
        out: run folder; None writes nothing.
        on_existing: what to do where `out` holds a run: "refuse", "resume" or "overwrite".
        cache: keep videos in memory after they were first read.
        quiet: no progress bar.
    """

    def __init__(
        self,
        model: CoLeaF | nn.Module,
        config: TrainerConfig | None = None,
        *,
        decision: DecisionConfig | None = None,
        out: Path | str | None = None,
        on_existing: OnExisting = "refuse",
        cache: bool = False,
        quiet: bool = False,
    ) -> None:
        self.config = config if config is not None else TrainerConfig()
        self.model = model if isinstance(model, CoLeaF) else wrap(model, config=CoLeaFConfig(enabled=False))
        if not any(p.requires_grad for p in self.model.parameters()):
            raise ValueError(f"{self.name} has no parameter that requires a gradient: there is nothing to train")
        self.decision = decision or DecisionConfig(**published_decision(self.model.anchor))
        self.decision.require_classes(self.model.num_classes)
        self.device = choose_device(self.config.device)
        if self.config.tensorboard:
            TensorBoard.require()
        self.out, self.on_existing = out, on_existing
        self.cache, self.quiet = cache, quiet
        self.history: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """What tables call the model: the class of its Anchor, and whether it is trained in CoLeaF."""
        return type(self.model.anchor).__name__ + (" in CoLeaF" if self.model.config.enabled else "")

    def fit(self, train: AVVPDataset, val: AVVPDataset | None = None) -> list[dict[str, Any]]:
        """Train; afterwards the model has the weights of the best epoch.

        The best epoch is the first with the highest mean of the columns `config.monitor` on `val`; without `val`,
        or without columns, it is the last. With a run folder, an interrupted run goes on from its last whole epoch
        and ends with the very weights that it would have had.

        Returns: one entry per epoch: "epoch", "lr", "seconds", "losses" (term -> mean), "val" (column -> percent)
        and "monitor".

        Raises:
            ValueError: a data set does not fit the model.
            FileExistsError: the run folder holds another run.
            FloatingPointError: a loss term became NaN or infinite; the last good checkpoint stays.
        """
        self._check(train)
        if val is not None:
            self._check(val, truth=True)
            if val.classes != train.classes:
                raise ValueError(f"classes of {val.split} differ from those of {train.split}")
        self._describe(train)
        c = self.config
        folder = RunFolder(self.out, self.on_existing) if self.out is not None else None
        state = folder.load_resume() if folder is not None else None
        if state is not None and len(state["history"]) > c.epochs:
            raise ValueError(f"{self.out}: has {len(state['history'])} epochs already, trainer.epochs is {c.epochs}")
        if folder is not None:
            folder.begin(self.model.description)

        self.model.to(self.device)
        optimizer = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], lr=c.learning_rate)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, c.lr_step, c.lr_gamma)
        best = BestWeights(folder)
        self.history = self._restore(state, optimizer, schedule, best)

        order = torch.Generator()
        train_loader, val_loader = self._loader(train, order), self._loader(val) if val is not None else None
        board = TensorBoard(folder.path) if folder is not None and c.tensorboard else None
        with TrainingProgress(c.epochs, len(train_loader), quiet=self.quiet) as progress:
            for epoch in range(len(self.history) + 1, c.epochs + 1):
                # Everything random in an epoch follows from its number, so a resumed run repeats it exactly.
                seed_everything(c.seed * 1_000_003 + epoch)
                order.manual_seed(c.seed * 1_000_003 + epoch)
                entry = self._epoch(epoch, train_loader, val_loader, optimizer, schedule, progress)
                self.history.append(entry)
                best.offer(entry.get("monitor"), epoch, self.model)
                progress.epoch_done(entry, best.epoch)
                if board is not None:
                    board.write(entry)
                if folder is not None:
                    self._save(folder, optimizer, schedule, best)
        if board is not None:
            board.close()
        best.restore(self.model)
        self.model.eval()
        return self.history

    def evaluate(self, data: AVVPDataset, name: str | None = None) -> Evaluation:
        """Score the model on a split with ground truth.

        Args:
            data: the split.
            name: the model's row in the table; the class of its Anchor, and whether in CoLeaF, where None.

        Raises:
            ValueError: the data set does not fit the model, or has no ground truth.
        """
        meters = [ParsingScores() for _ in range(3)]
        for batch, output in self.outputs(data, truth=True):
            truth, mask = _truth_and_mask(batch)
            decided = decide(output, self.decision, batch.mask)
            for meter, predicted in zip(
                meters, (decided, empty_parser(truth), video_label_parser(batch.labels, mask)), strict=True
            ):
                meter.update(predicted.cpu(), truth.cpu())
        scores, empty, video_label = (meter.compute() for meter in meters)
        return Evaluation(name or self.name, f"{data.name} {data.split}", len(data), scores, empty, video_label)

    def predict(self, data: AVVPDataset) -> list[VideoPrediction]:
        """The events of every video, with the annotated ones where the split has them.

        Raises:
            ValueError: the data set does not fit the model.
        """
        predictions = []
        for batch, output in self.outputs(data):
            decided = decide(output, self.decision, batch.mask).cpu()
            probs = output.segment_probs.float().cpu()
            lengths = [decided.shape[1]] * len(decided) if batch.mask is None else batch.mask.sum(1).tolist()
            for i, (video, length) in enumerate(zip(batch.ids, lengths, strict=True)):
                events = list_events(decided[i, :length], data.classes, probs[i, :length])
                truth = None
                if batch.segment_labels is not None:
                    truth = list_events(batch.segment_labels[i, :length].cpu(), data.classes)
                predictions.append(VideoPrediction(video, float(length), events, truth))
        return predictions

    def outputs(self, data: AVVPDataset, *, truth: bool = False) -> Iterator[tuple[Batch, AnchorOutput]]:
        """Batches of a split with the Anchor's answers, in evaluation mode, without gradient.

        Args:
            data: the split.
            truth: whether it must have ground truth.

        Raises:
            ValueError: the data set does not fit the model, or has no ground truth.
            FloatingPointError: an answer is NaN or infinite.
        """
        self._check(data, truth=truth)
        yield from self._run(self._loader(data))

    def _epoch(
        self,
        epoch: int,
        train: DataLoader[Video],
        val: DataLoader[Video] | None,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        progress: TrainingProgress,
    ) -> dict[str, Any]:
        start = time.perf_counter()
        entry: dict[str, Any] = {"epoch": epoch, "lr": schedule.get_last_lr()[0]}
        entry["losses"] = self._train_epoch(train, optimizer, epoch, progress)
        schedule.step()
        if val is not None:
            entry["val"] = self._score(val)
            if self.config.monitor:
                entry["monitor"] = mean_of(entry["val"], self.config.monitor)
        entry["seconds"] = round(time.perf_counter() - start, 3)
        return entry

    def _train_epoch(
        self,
        loader: DataLoader[Video],
        optimizer: torch.optim.Optimizer,
        epoch: int,
        progress: TrainingProgress,
    ) -> dict[str, float]:
        self.model.train()
        log = LossLog(epoch)
        for i, batch in enumerate(loader):
            batch = batch.to(self.device)
            for terms in self._updates(batch, Progress(epoch, (epoch - 1) * len(loader) + i)):
                try:
                    log.add(terms, i + 1)
                except FloatingPointError as problem:
                    raise FloatingPointError(f"{problem}; {self._last_good()}") from None
                optimizer.zero_grad(set_to_none=True)
                torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            progress.step(epoch, log.means())
        try:
            log.flush()
        except FloatingPointError as problem:
            raise FloatingPointError(f"{problem}; {self._last_good()}") from None
        return log.means()

    def _last_good(self) -> str:
        if self.out is None or not self.history:
            return "no epoch was completed with a run folder, so there is no checkpoint"
        return f"{self.out} keeps the best weights so far and, for --resume, epoch {len(self.history)}"

    def _score(self, loader: DataLoader[Video]) -> dict[str, float]:
        meter = ParsingScores()
        for batch, output in self._run(loader):
            truth, _ = _truth_and_mask(batch)
            meter.update(decide(output, self.decision, batch.mask).cpu(), truth.cpu())
        scores: dict[str, float] = meter.compute()
        return scores

    def _run(self, loader: DataLoader[Video]) -> Iterator[tuple[Batch, AnchorOutput]]:
        self.model.to(self.device).eval()
        for batch in loader:
            batch = batch.to(self.device)
            with torch.no_grad(), self._autocast():
                output = self.model.infer(batch)
            if not (torch.isfinite(output.segment_probs).all() and torch.isfinite(output.video_probs).all()):
                raise FloatingPointError(
                    f"{type(self.model.anchor).__name__} gives NaN or inf for videos {list(batch.ids[:3])} ..."
                )
            yield batch, output

    def _updates(self, batch: Batch, progress: Progress) -> Iterator[dict[str, Tensor]]:
        updates = self.model.updates(batch, progress)
        while True:
            with self._autocast():  # the networks' and losses' part, not the update between two of them
                terms = next(updates, None)
            if terms is None:
                return
            yield terms

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _loader(self, data: AVVPDataset, order: torch.Generator | None = None) -> DataLoader[Video]:
        """Batches of `data`, in random order where a generator is given."""
        videos: Any = CachedVideos(data) if self.cache else data
        return DataLoader(
            videos,
            batch_size=self.config.batch_size,
            sampler=RandomSampler(videos, generator=order) if order is not None else None,
            num_workers=self.config.workers,
            pin_memory=self.device.type == "cuda",
            collate_fn=functools.partial(collate, streams=data.streams),
        )

    def _check(self, data: AVVPDataset, *, truth: bool = False) -> None:
        where = f"{data.name} {data.split}"
        if len(data.classes) != self.model.num_classes:
            raise ValueError(
                f"{where} has {len(data.classes)} classes, the model {self.model.num_classes}: "
                "wrap the network with num_classes of the data set"
            )
        trained_on = self.model.description.get("model", {}).get("classes")
        if trained_on is not None and list(data.classes) != list(trained_on):
            raise ValueError(f"{where} has the classes {list(data.classes)}, the model was trained on {trained_on}")
        for name, spec in self.model.streams.items():
            if data.streams.get(name) != spec:
                raise ValueError(
                    f"{where}: stream {name!r} is {data.streams.get(name)}, the model takes {spec}: "
                    "wrap the network with streams=dataset.streams"
                )
        if truth and not data.has_ground_truth:
            raise ValueError(f"{where} has only weak labels; scores need segment labels (AVVP_eval_*.csv)")

    def _describe(self, train: AVVPDataset) -> None:
        described = self.model.description
        described.setdefault("model", {})["classes"] = list(train.classes)
        ids = hashlib.sha256("\n".join(train.ids).encode()).hexdigest()[:16]
        described["train"] = {"name": train.name, "videos": len(train), "ids": ids}
        described["trainer"] = self.config.model_dump(mode="json")
        described["decision"] = self.decision.model_dump(mode="json")

    def _save(self, folder: RunFolder, optimizer: Any, schedule: Any, best: BestWeights) -> None:
        folder.write_log(self.history)
        folder.save_resume(
            {
                "model": self.model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "history": self.history,
                "best": {"value": best.value, "epoch": best.epoch},
            }
        )

    def _restore(self, state: Any, optimizer: Any, schedule: Any, best: BestWeights) -> list[dict[str, Any]]:
        if state is None:
            return []
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        best.value, best.epoch = state["best"]["value"], state["best"]["epoch"]
        return list(state["history"])


def _truth_and_mask(batch: Batch) -> tuple[Tensor, Tensor]:
    truth = batch.segment_labels
    assert truth is not None
    return truth, truth.new_ones(truth.shape[:2]) if batch.mask is None else batch.mask
