"""A tracker that remembers what it is told, and what the libraries' trackers are told in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coleaf_framework.report.pictures import timeline
from coleaf_framework.tracking import Plain, Status, TrackedRun, Tracker, make_trackers

GROUP = "compare han coleaf"
COLUMNS, ROWS = ["parser", "segment/Type@AVo"], [["HAN, epoch 2", 40.5], ["empty parser", float("nan")]]


class Recorder:
    """Remembers every call; fails at the epochs `fails`, and in `start` if 0 is among them."""

    def __init__(self, fails: Sequence[int] = ()) -> None:
        self.fails = fails
        self.runs: list[TrackedRun] = []
        self.epochs: list[int] = []
        self.values: dict[int, Mapping[str, float]] = {}
        self.pictures: list[tuple[int, str]] = []
        self.tables: dict[str, tuple[Sequence[str], Sequence[Sequence[Plain]]]] = {}
        self.status: list[Status] = []

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        if 0 in self.fails:
            raise RuntimeError("no such project.")
        self.runs.append(run)
        return {"id": run.begun.get("id", "first")}

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        if epoch in self.fails:
            raise ConnectionError("the server is away")
        np.random.seed(5)  # as a library may
        torch.manual_seed(5)
        self.epochs.append(epoch)
        self.values[epoch] = values

    def picture(self, epoch: int, name: str, figure: Any) -> None:
        self.pictures.append((epoch, name))
        figure.canvas.draw()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Plain]]) -> None:
        self.tables[name] = (columns, rows)

    def finish(self, status: Status) -> None:
        self.status.append(status)


class Other(Recorder):
    """A second one, with a name of its own."""


def run_of(folder: Path | None = None, **changed: Any) -> TrackedRun:
    """A run to be tracked."""
    values: dict[str, Any] = {"trainer.epochs": 2, "trainer.monitor": '["segment/A"]', "data.root": None}
    return TrackedRun(**({"name": "mine", "hyperparameters": values, "folder": folder} | changed))


def figure() -> Any:
    """An empty timeline."""
    return timeline({"ground truth": []}, 3.0, "a video")


def tell(tracker: Tracker, epochs: range, status: Any) -> None:
    """Tell a started tracker of epochs and of the end."""
    for epoch in epochs:
        tracker.picture(epoch, "timeline/v0", figure())
        tracker.scalars(epoch, {"loss/total": 1.0 / epoch, "val/segment/Type@AVo": 10.0 * epoch})
    if status == "finished":
        tracker.table("validation", COLUMNS, ROWS)
    tracker.finish(status)


def told(name: str, folder: Path, project: str | None = "tests") -> None:
    """Two epochs, interrupted after the first."""
    (tracker,) = make_trackers([name]).values()
    assert isinstance(tracker, Tracker)
    begun = tracker.start(run_of(folder, project=project, group=GROUP))
    tell(tracker, range(1, 2), "interrupted")
    (tracker,) = make_trackers([name]).values()
    values = {"trainer.epochs": 3, "trainer.workers": 2}
    run = run_of(folder, project=project, group=GROUP, hyperparameters=values, epochs=1, begun=begun)
    assert tracker.start(run) == begun
    tell(tracker, range(2, 3), "finished")
