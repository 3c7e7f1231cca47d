"""What the framework asks of a tracker: five methods, which are given plain values and matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Status = Literal["finished", "interrupted", "failed"]
Plain = bool | int | float | str | None


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run when it begins or goes on.

    Args:
        name: of the run folder, or of the model where there is none.
        hyperparameters: the run's record as one level of keys, such as "trainer.epochs".
        project: to put the run into; where None the library's own environment variable says it, or it is "coleaf".
        group: what the run is shown with: for a cell of a grid its study and variant.
        folder: the run folder, or None.
        epochs: number of epochs that the tracker was told of already; above 0 where a run goes on.
        begun: what `start` returned when the run began; empty for a new one.
    """

    name: str
    hyperparameters: Mapping[str, Plain]
    project: str | None = None
    group: str | None = None
    folder: Path | None = None
    epochs: int = 0
    begun: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Tracker(Protocol):
    """Keeps a run's losses, scores, pictures and table somewhere. Methods are called in the order of this class.

    An error in `start` refuses the training before it begins. Errors in the others never end a training: a warning
    names the tracker, which is then left out.
    """

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Begin a run, or go on with it.

        Args:
            run: the run; `run.begun` is not empty where an interrupted one goes on.

        Returns:
            What finds the run again, such as its id; the run folder keeps it, and it comes back as `run.begun`.
        """
        ...

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Keep numbers of an epoch.

        Args:
            epoch: from 1.
            values: name -> number, such as "loss/anchor/video" or "val/segment/Type@AVo"; may be NaN.
        """
        ...

    def picture(self, epoch: int, name: str, figure: Any) -> None:
        """Keep a picture of an epoch.

        Args:
            epoch: from 1.
            name: such as "timeline/VIDEO".
            figure: a `matplotlib.figure.Figure`, which the caller closes.
        """
        ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Plain]]) -> None:
        """Keep a table.

        Args:
            name: such as "validation".
            columns: the headings.
            rows: a value for each column; a number may be NaN.
        """
        ...

    def finish(self, status: Status) -> None:
        """End the run, so that all of it is kept.

        Args:
            status: "finished"; "interrupted", by Ctrl-C or SIGTERM; or "failed".
        """
        ...
