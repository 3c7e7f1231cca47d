"""Cells as processes of this machine, which end with the process that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from coleaf_framework._machine import cores
from coleaf_framework._text import say
from coleaf_framework.experiments.executor import Polled
from coleaf_framework.experiments.gpus import least_used, takes_any_gpu, visible_gpus
from coleaf_framework.experiments.grid import DONE, OUTPUT, Cell
from coleaf_framework.training.device import require_processes

# `python -m coleaf_framework.experiments.cell` without the current folder on the path, where a file such as random.py
# would hide the standard library's.
_START = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; import runpy; "
    'runpy.run_module("coleaf_framework.experiments.cell", run_name="__main__", alter_sys=True)'
)


class LocalExecutor:
    """Runs cells as processes of this machine, which share its cores and its GPUs.

    Where several GPUs are visible, each cell sees one of them, that with the fewest cells.

    Args:
        jobs: number of cells to run at the same time.

    Raises:
        ValueError: `jobs` is below 1, or too high for this machine.
    """

    poll_seconds = 0.2
    after_cancel = "the same command goes on"

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise ValueError(f"--jobs {jobs}: at least 1")
        require_processes("--jobs", jobs)
        self.jobs = jobs
        self._environment = cell_environment(jobs)
        self._waiting: list[Cell] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._outputs: dict[str, Path] = {}
        self._gpus: tuple[str, ...] = ()
        self._gpu_of: dict[str, str] = {}
        self._cancelled = False

    def submit(self, cells: Sequence[Cell]) -> None:
        """Queue cells; logs if they have to share GPUs."""
        for cell in cells:
            (cell.folder / DONE).unlink(missing_ok=True)
        self._waiting = list(cells)
        if users := sum(map(takes_any_gpu, cells)):
            self._gpus = visible_gpus()
            if 0 < len(self._gpus) < min(self.jobs, users):
                many = f"{len(self._gpus)} GPU" + "s" * (len(self._gpus) > 1)
                say(f"--jobs {self.jobs} on {many}: several runs share a GPU", sys.stderr)

    def poll(self) -> Polled:
        """Collect the processes that have ended, and start others in their place."""
        failed = {}
        for name in [name for name, process in self._running.items() if process.poll() is not None]:
            code = self._running.pop(name).returncode
            self._gpu_of.pop(name, None)
            if code and not self._cancelled:
                failed[name] = last_line(self._outputs[name]) or f"ended with code {code} and no output"
        while self._waiting and len(self._running) < self.jobs:
            cell = self._waiting.pop(0)
            if not (cell.folder / DONE).is_file():  # else another command has done it since `submit`
                self._start(cell)
        return Polled(tuple(self._running), failed)

    def cancel(self) -> None:
        """Stop every cell after its current step, with a checkpoint."""
        self._cancelled, self._waiting = True, []
        for process in self._running.values():
            process.terminate()

    def close(self) -> None:
        """Stop the cells that still run, and wait for them."""
        self.cancel()
        for process in self._running.values():
            process.wait()

    def _start(self, cell: Cell) -> None:
        environment = self._environment
        if self._gpus and takes_any_gpu(cell):
            gpu = self._gpu_of[cell.name] = least_used(self._gpus, self._gpu_of.values())
            environment = {**environment, "CUDA_VISIBLE_DEVICES": gpu}
        self._running[cell.name] = start_cell(cell.folder, environment)
        self._outputs[cell.name] = cell.folder / OUTPUT


def cell_environment(jobs: int) -> dict[str, str]:
    """The environment of a cell's process, which divides the cores among the jobs unless OMP_NUM_THREADS is set."""
    return {"OMP_NUM_THREADS": str(max(1, cores() // jobs)), **os.environ}


def cell_command(folder: Path, *options: str) -> list[str]:
    """The command that trains and scores a cell, by this Python.

    Args:
        folder: the cell's.
        options: of `experiments.cell`.
    """
    return [sys.executable, "-c", _START, *options, str(folder)]


def start_cell(folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the process of a cell, which stops, with a checkpoint, when this process ends.

    Args:
        folder: the cell's, which then holds what it prints.
        environment: the process's.
    """
    path = folder / OUTPUT
    path.unlink(missing_ok=True)  # a link must not be followed: its target may belong to something else
    with path.open("xb") as output:
        return subprocess.Popen(
            cell_command(folder, "--attached"),
            stdin=subprocess.PIPE,  # kept open; the cell stops when it closes, that is, when this process ends
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C reaches it once, through this process
        )


def last_line(path: Path) -> str | None:
    """The last line of a file that is not empty; None where there is none."""
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.is_file() else []
    return lines[-1] if lines else None
