"""What trackers get from a run: numbers and timelines of a few videos after each epoch, a table at the end."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from coleaf_framework._extras import require_library
from coleaf_framework.metrics import ScoreTotals, empty_parser, video_label_parser
from coleaf_framework.protocol import Batch
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.record.run_record import RunRecord
from coleaf_framework.report.pictures import pyplot
from coleaf_framework.tracking import Plain, Status, TrackedRun, Tracker, Trackers, flat, make_trackers
from coleaf_framework.training.timelines import Timelines
from coleaf_framework.wrapping.sandbox import isolated_random_state


def require_tracking(config: TrainerConfig, given: Sequence[str | Tracker] | None = None) -> dict[str, Tracker]:
    """The trackers of a training, by name.

    Args:
        config: its configuration.
        given: trackers in place of the configuration's.

    Raises:
        ImportError: a library is not installed; says how to.
    """
    trackers = dict(make_trackers(config.trackers if given is None else given))
    if trackers and config.tracked_videos:
        require_library("matplotlib", "trainer.tracked_videos above 0", "plot")
    return trackers


def hyperparameters(record: RunRecord | None) -> dict[str, Plain]:
    """A run's record on one level, with the versions of Python and PyTorch."""
    versions: dict[str, Plain] = {"versions.python": platform.python_version(), "versions.torch": torch.__version__}
    return versions | ({} if record is None else flat(record.dump()))


def numbers_of(entry: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch for trackers.

    Args:
        entry: as `CoLeaFTrainer.fit` returns it.

    Example:
        >>> numbers_of({"epoch": 1, "lr": 0.5, "seconds": 2.0, "losses": {"anchor/video": 1.0}})
        {'learning_rate': 0.5, 'seconds': 2.0, 'loss/total': 1.0, 'loss/anchor/video': 1.0}
    """
    values = {"learning_rate": float(entry["lr"]), "seconds": float(entry["seconds"])}
    values |= {f"learning_rate_{i}": rate for i, rate in enumerate(entry.get("lrs", ()), 1)}
    values["loss/total"] = float(sum(entry["losses"].values()))
    for key, value in entry.items():
        if isinstance(value, Mapping):
            values |= {f"{'loss' if key == 'losses' else key}/{name}": float(x) for name, x in value.items()}
    if "monitor" in entry:
        values["monitor"] = float(entry["monitor"])
    return values


class TrivialParsers:
    """Scores of the two trivial parsers, gathered while the model is scored."""

    def __init__(self) -> None:
        self._totals = {"empty parser": ScoreTotals(), "video-label parser": ScoreTotals()}

    def add(self, batch: Batch) -> None:
        """Add the videos of a batch with ground truth."""
        assert batch.segment_labels is not None
        truth, labels = batch.segment_labels.cpu(), batch.labels.cpu()
        mask = torch.ones(truth.shape[:2], dtype=torch.bool) if batch.mask is None else batch.mask.cpu()
        self._totals["empty parser"].add(empty_parser(truth), truth)
        self._totals["video-label parser"].add(video_label_parser(labels, mask), truth)

    def scores(
        self, columns: Sequence[str], total: Callable[[list[float]], list[float]]
    ) -> dict[str, dict[str, float]]:
        """Name of a parser -> column -> percent, over all ranks; see `ScoreTotals.scores`."""
        every = {name: totals.scores(total) for name, totals in self._totals.items()}
        return {name: {column: scores[column] for column in columns} for name, scores in every.items()}


class TrackedTraining:
    """Reports the epochs of a training to its trackers.

    Nothing here changes the training: random states are restored, and errors become warnings.

    Args:
        trackers: of the first rank; without any, nothing is tracked.
        name: what tables call the model.
        measure: whether the trivial parsers are scored too, on every rank or on none.
        timelines: given to trackers after each epoch; None draws none.
    """

    def __init__(self, trackers: Trackers, name: str, *, measure: bool, timelines: Timelines | None) -> None:
        self.trackers, self.name, self._timelines = trackers, name, timelines
        self._measure, self._trivial = measure, dict[str, dict[str, float]]()

    @property
    def trivial(self) -> TrivialParsers | None:
        """Meters of the trivial parsers for a pass over the validation split; None if their scores are known."""
        return TrivialParsers() if self._measure and not self._trivial else None

    def measured(self, scores: Mapping[str, dict[str, float]]) -> None:
        """Keep the trivial parsers' scores for the table."""
        self._trivial = dict(scores)

    @contextmanager
    def running(self, run: TrackedRun, history: Sequence[Mapping[str, Any]], *, resuming: bool) -> Iterator[None]:
        """A context in which the run is tracked: "finished" at its end, else "interrupted" or "failed".

        Args:
            run: the run.
            history: the epochs that were trained before.
            resuming: whether the run goes on.

        Raises:
            ValueError: a tracker cannot start.
        """
        if not self.trackers:
            yield
            return
        with isolated_random_state():
            self.trackers.start(run, resuming=resuming)
        status: Status = "failed"
        try:
            with isolated_random_state():
                self.trackers.scalars([(entry["epoch"], numbers_of(entry)) for entry in history])
            yield
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            with isolated_random_state():
                self.trackers.finish(status)

    def epoch_done(self, entry: Mapping[str, Any], best: int) -> None:
        """Report an epoch, with the model as it was scored.

        Args:
            entry: of the history.
            best: the best epoch so far.
        """
        if not self.trackers:
            return
        with isolated_random_state():
            if self._timelines is not None:
                figures = self._timelines.figures(entry["epoch"])
                for name, figure in figures.items():
                    self.trackers.picture(entry["epoch"], name, figure)
                    pyplot().close(figure)
            self.trackers.scalars([(entry["epoch"], numbers_of(entry) | {"best_epoch": float(best)})])

    def trained(self, history: Sequence[Mapping[str, Any]], best: int) -> None:
        """Report the validation scores of the best epoch, beside the trivial parsers'."""
        scores = history[best - 1].get("val") if best else None
        if scores is None:
            return
        rows = {f"{self.name}, epoch {best}": scores, **self._trivial}
        self.trackers.table(
            "validation", ["parser", *scores], [[name, *(of[column] for column in scores)] for name, of in rows.items()]
        )
