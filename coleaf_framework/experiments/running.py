"""Run the cells of a grid in parallel processes, with one progress bar."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from coleaf_framework._machine import cores
from coleaf_framework._text import one_line
from coleaf_framework.experiments.grid import DONE, OUTPUT, Cell, Grid
from coleaf_framework.record.log import LOG
from coleaf_framework.training.device import require_processes
from coleaf_framework.training.interrupts import Interrupts

# `python -m coleaf_framework.experiments.cell` without the current folder on the path, where a file such as random.py
# would hide the standard library's.
_START = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; import runpy; "
    "runpy.run_module('coleaf_framework.experiments.cell', run_name='__main__', alter_sys=True)"
)
_POLL_SECONDS = 0.2


def run_grid(grid: Grid, jobs: int = 1) -> None:
    """Train and score every cell that is not done.

    A failing cell does not stop the others. SIGINT and SIGTERM stop every cell after its current step, with a
    checkpoint; the same call resumes from there.

    Args:
        grid: the planned grid.
        jobs: number of cells to run at the same time.

    Raises:
        ValueError: `jobs` is below 1, or too high for this machine.
        ChildProcessError: cells failed; names each with its last line of output.
        KeyboardInterrupt: SIGINT or SIGTERM was received.
    """
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: at least 1")
    require_processes("--jobs", jobs)
    waiting = [cell for cell in grid.cells if grid.needs_work(cell)]
    for cell in waiting:
        (cell.folder / DONE).unlink(missing_ok=True)
    running: dict[str, subprocess.Popen[bytes]] = {}
    failed: dict[str, str] = {}
    by_name = {cell.name: cell for cell in grid.cells}
    environment = cell_environment(jobs)
    with Interrupts(patient=False) as interrupts, _Display(grid) as display:
        try:
            while waiting or running:
                while waiting and len(running) < jobs and not interrupts.requested:
                    cell = waiting.pop(0)
                    running[cell.name] = _start(cell, environment)
                if interrupts.requested:
                    waiting = []
                    _stop(running)
                time.sleep(_POLL_SECONDS)
                for name in [name for name, process in running.items() if process.poll() is not None]:
                    process = running.pop(name)
                    if process.returncode and not interrupts.requested:
                        failed[name] = _last_line(by_name[name].folder / OUTPUT, process.returncode)
                display.show(tuple(running), failed)
        finally:
            _stop(running)
            for process in running.values():
                process.wait()
    done = sum(grid.is_done(cell) for cell in grid.cells)
    if interrupts.requested:
        raise KeyboardInterrupt(f"{done} of {len(grid.cells)} runs are done; the same command goes on")
    if failed:
        reasons = "; ".join(f"{name}: {line}" for name, line in failed.items())
        raise ChildProcessError(
            f"{len(failed)} of {len(grid.cells)} runs failed ({reasons}); the same command tries them again"
        )


def cell_environment(jobs: int) -> dict[str, str]:
    """The environment of a cell's process, which divides the cores among the jobs unless OMP_NUM_THREADS is set."""
    return {"OMP_NUM_THREADS": str(max(1, cores() // jobs)), **os.environ}


def _start(cell: Cell, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    path = cell.folder / OUTPUT
    path.unlink(missing_ok=True)  # a link must not be followed: its target may belong to something else
    with path.open("xb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", _START, str(cell.folder)],
            stdin=subprocess.PIPE,  # kept open; the cell stops when it closes, that is, when this process ends
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C reaches it once, through this process
        )


def _stop(running: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for process in running.values():
        process.terminate()


def _last_line(path: Path, code: int) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else f"ended with code {code} and no output"


class _Display:
    """Progress bar over the epochs of all cells, with the names of those that run."""

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
