"""TensorBoard: event files in the folder `tensorboard` of the run folder. The extra `tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coleaf_framework._extras import require_library
from coleaf_framework.tracking.protocol import Plain, Status, TrackedRun

FOLDER = "tensorboard"


class TensorBoard:
    """Writes a run for TensorBoard; `tensorboard --logdir RUNS` shows it.

    Raises:
        ImportError: TensorBoard is not installed; says how to.
    """

    def __init__(self) -> None:
        require_library("tensorboard", "the tracker tensorboard", "tensorboard")

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Open the event files.

        Raises:
            ValueError: the run has no folder.
        """
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        if run.folder is None:
            raise ValueError("its files lie in the run folder, and there is none: pass out=")
        # What a killed run wrote of epochs that are trained again does not count.
        self._writer = SummaryWriter(str(run.folder / FOLDER), purge_step=run.epochs + 1)
        known = {key: value for key, value in run.hyperparameters.items() if value is not None}
        # `add_hparams` would write into a folder of its own.
        writer = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
        for summary in hparams(known, {"monitor": 0.0})[:2]:  # type: ignore[no-untyped-call]
            writer.add_summary(summary)
        self._writer.flush()
        return {"folder": FOLDER}

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write an epoch's numbers."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def picture(self, epoch: int, name: str, figure: Any) -> None:
        """Write an epoch's picture."""
        self._writer.add_figure(name, figure, epoch, close=False)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Plain]]) -> None:
        """Write a table, as Markdown under TEXT."""
        cells = [columns, ["---"] * len(columns), *([_text(x) for x in row] for row in rows)]
        self._writer.add_text(name, "\n".join(f"| {' | '.join(row)} |" for row in cells))

    def finish(self, status: Status) -> None:
        """Write the status, under TEXT, and close the files."""
        self._writer.add_text("status", status)
        self._writer.close()


def _text(value: Plain) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value).replace("|", r"\|")
