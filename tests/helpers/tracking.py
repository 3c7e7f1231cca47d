"""A tracker that remembers what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coleaf_framework.tracking import Plain, Status, TrackedRun


class Recorder:
    """Remembers every call; fails at the epochs `fails`, and in `start` if 0 is among them."""

    def __init__(self, fails: Sequence[int] = ()) -> None:
        self.fails = fails
        self.runs: list[TrackedRun] = []
        self.epochs: list[int] = []
        self.values: dict[int, Mapping[str, float]] = {}
        self.pictures: list[tuple[int, str]] = []
        self.pixels: list[Any] = []
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
        self.pixels.append(np.asarray(figure.canvas.buffer_rgba()).copy())

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
