"""Run the cells of a grid by an executor, with one progress bar; or name the commands that run them elsewhere."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from coleaf_framework._text import one_line
from coleaf_framework.experiments.executor import Executor
from coleaf_framework.experiments.grid import Cell, Grid
from coleaf_framework.experiments.local import LocalExecutor, cell_command
from coleaf_framework.record.log import LOG
from coleaf_framework.training.interrupts import Interrupts


def run_grid(grid: Grid, executor: Executor | None = None) -> None:
    """Train and score every cell that is not done.

    A failing cell does not stop the others. After SIGINT or SIGTERM, the same call goes on: processes of this machine
    stop after their current step, with a checkpoint; jobs of a cluster stay.

    Args:
        grid: the planned grid.
        executor: what runs the cells; one after another on this machine if None.

    Raises:
        ChildProcessError: cells failed; names each with its last line of output.
        KeyboardInterrupt: SIGINT or SIGTERM was received.
        OSError: a cluster refuses the jobs.
    """
    executor = LocalExecutor() if executor is None else executor
    failed: dict[str, str] = {}
    with Interrupts(patient=False) as interrupts:
        try:
            executor.submit([cell for cell in grid.cells if grid.needs_work(cell)])
            with _Display(grid) as display:
                while True:
                    polled = executor.poll()
                    failed.update(polled.failed)
                    display.show(polled.under_way, failed)
                    if not polled.under_way:
                        break
                    time.sleep(executor.poll_seconds)
                    if interrupts.requested:
                        executor.cancel()
        finally:
            executor.close()
    done = sum(grid.is_done(cell) for cell in grid.cells)
    if interrupts.requested:
        raise KeyboardInterrupt(f"{done} of {len(grid.cells)} runs are done; {executor.after_cancel}")
    if failed:
        reasons = "; ".join(f"{name}: {line}" for name, line in failed.items())
        raise ChildProcessError(
            f"{len(failed)} of {len(grid.cells)} runs failed ({reasons}); the same command tries them again"
        )


def cell_commands(grid: Grid) -> list[str]:
    """For each cell that is not done, a line for a shell that trains and scores it in this folder, by this Python.

    Such a cell runs to its end, or until SIGINT or SIGTERM, with a checkpoint from which the same line goes on.
    """
    here = shlex.quote(str(Path.cwd()))
    folders = [cell.folder.resolve() for cell in grid.cells if grid.needs_work(cell)]
    return [f"cd {here} && {shlex.join(cell_command(folder))}" for folder in folders]


class _Display:
    """Progress bar over the epochs of all cells, with the cells that run."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._bar = Progress(
            MofNCompleteColumn(),
            TextColumn("epochs"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        epochs = sum(cell.config.trainer.epochs for cell in grid.cells)
        # Epochs of earlier runs do not count for the estimate of the remaining time.
        self._task = self._bar.add_task("", total=epochs, completed=sum(map(self._epochs_done, grid.cells)))
        self._reported = {cell.name for cell in grid.cells if grid.is_done(cell)}

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, running: Sequence[str], failed: Mapping[str, str]) -> None:
        """Update the bar, and print a line for every cell that has ended since the last call."""
        cells = self._grid.cells
        for number, cell in enumerate(cells, 1):
            done = self._grid.is_done(cell)
            if cell.name in self._reported or not (done or cell.name in failed):
                continue
            self._reported.add(cell.name)
            state = "failed: " + failed[cell.name] if cell.name in failed else "done"
            line = Text(one_line(f"{number}/{len(cells)} {cell.name} {state}"))  # rich would interpret markup in a str
            self._bar.console.print(line, soft_wrap=True)
        epochs = sum(map(self._epochs_done, cells))
        self._bar.update(self._task, completed=epochs, description=one_line(", ".join(running)))

    def _epochs_done(self, cell: Cell) -> int:
        if self._grid.is_done(cell):
            return cell.config.trainer.epochs
        log = cell.folder / LOG
        return log.read_bytes().count(b"\n") if log.is_file() else 0
