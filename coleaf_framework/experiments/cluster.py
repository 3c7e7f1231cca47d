"""Cells as jobs of a cluster, by submitit: they go on when the command that submitted them ends.

OUT/jobs/jobs.yaml   the job of each cell, so that no cell is submitted while it has one
OUT/jobs/.lock       held by a command while it submits
OUT/jobs/            what submitit writes: a script, a pickled `CellJob` and the output of each job
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from coleaf_framework._config import StrictConfig, validated
from coleaf_framework._text import one_line, say
from coleaf_framework.experiments.cell_job import CellJob
from coleaf_framework.experiments.executor import Polled
from coleaf_framework.experiments.grid import DONE, OUTPUT, Cell
from coleaf_framework.experiments.local import last_line
from coleaf_framework.storage import make_folder, read_yaml, write_yaml

if TYPE_CHECKING:
    from submitit.core.core import Executor as Backend
    from submitit.core.core import Job

JOBS, RECORD, _LOCK = "jobs", "jobs.yaml", ".lock"
_SECONDS_FOR_LOCK = 60
_MOST_NAMED = 10
_NOT_OVER = ("PENDING", "RUNNING", "COMPLETING", "UNKNOWN")


class JobRecord(StrictConfig):
    """The jobs of a grid's cells, as `jobs.yaml` keeps them.

    Args:
        jobs: name of a cell -> id of the job that was last submitted for it.
    """

    jobs: dict[str, str]


def read_jobs(folder: Path) -> dict[str, str]:
    """The recorded jobs.

    Args:
        folder: OUT/jobs.

    Raises:
        ValueError: the record is something else; names the file.
    """
    path = folder / RECORD
    return validated(JobRecord, read_yaml(path), f"{path}: not a record of jobs").jobs if path.is_file() else {}


class ClusterExecutor:
    """Runs each cell as a job.

    A cell with a queued or running job is not submitted again, whichever command submitted it.

    Args:
        backend: submitit's executor, whose folder is OUT/jobs.
        poll_seconds: how often to look at the cells' folders; submitit itself limits how often the cluster is asked.
        seconds_to_appear: how long the files of a job that has ended may take to be seen here, on a shared file system.
        while_submitting: a context in which jobs are submitted, such as one that hides variables of a job from them.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        poll_seconds: float = 3.0,
        seconds_to_appear: float = 30.0,
        while_submitting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.poll_seconds, self.after_cancel = poll_seconds, "the same command goes on"
        self._backend, self._folder = backend, Path(backend.folder)
        self._seconds_to_appear, self._while_submitting = seconds_to_appear, while_submitting
        self._open: dict[str, tuple[Cell, Job[Any]]] = {}
        self._ended: dict[str, float] = {}

    def submit(self, cells: Sequence[Cell]) -> None:
        """Submit the cells that have no job, and attach to the jobs of the others.

        Raises:
            OSError: the cluster refuses the jobs, or another command has been submitting for a minute.
            ValueError: the record of jobs is damaged.
        """
        if not cells:
            return
        make_folder(self._folder)
        try:
            with FileLock(self._folder / _LOCK, timeout=_SECONDS_FOR_LOCK):
                new = self._submit_missing(cells)
        except Timeout:
            raise OSError(f"{self._folder}: another command is submitting jobs of this grid; try again") from None
        counts = [(new, "submitted"), (len(cells) - new, "already in the queue or running")]
        told = ", ".join(f"{n} {what}" for n, what in counts if n)
        say(f"jobs: {told}; if this command is stopped, they stay, and it comes back to them", sys.stderr)

    def _submit_missing(self, cells: Sequence[Cell]) -> int:
        recorded = read_jobs(self._folder)
        known = {cell.name: self._job(recorded[cell.name]) for cell in cells if cell.name in recorded}
        self._open = {cell.name: (cell, known[cell.name]) for cell in cells if _is_open(known.get(cell.name))}
        new = [cell for cell in cells if cell.name not in self._open]
        for cell, job in zip(new, self._submit(new), strict=True):
            self._open[cell.name] = (cell, job)
            recorded[cell.name] = str(job.job_id)
        write_yaml(self._folder / RECORD, JobRecord(jobs=recorded).model_dump(mode="json"))
        return len(new)

    def poll(self) -> Polled:
        """See which cells are done, and which have a job that ended without that."""
        failed, states, now = dict[str, str](), Counter[str](), time.monotonic()
        for name, (cell, job) in list(self._open.items()):
            over = job.done()
            if (cell.folder / DONE).is_file():
                del self._open[name]
            elif not over:
                self._ended.pop(name, None)  # it was requeued
                states[str(job.state).lower()] += 1
            elif now - self._ended.setdefault(name, now) < self._seconds_to_appear:
                states["ending"] += 1
            else:
                del self._open[name]
                failed[name] = _why_failed(cell, job)
        return Polled(tuple(f"{n} {state}" for state, n in sorted(states.items())), failed)

    def cancel(self) -> None:
        """Leave the jobs running: they belong to the cluster."""
        if self._open:
            ids = " ".join(str(job.job_id) for _, job in self._open.values())
            ids = ids if len(self._open) <= _MOST_NAMED else f"and the ids in {self._folder / RECORD}"
            self.after_cancel = f"the jobs stay, and the same command comes back to them; what ends them: scancel {ids}"
        self._open = {}

    def close(self) -> None:
        """Leave the jobs running."""

    def _job(self, job_id: str) -> Job[Any]:
        """A job that was submitted before; submitit asks the cluster for all of them at once."""
        return self._backend.job_class(self._folder, job_id)

    def _submit(self, cells: Sequence[Cell]) -> list[Job[Any]]:
        if not cells:
            return []
        for cell in cells:
            for name in (DONE, OUTPUT):
                (cell.folder / name).unlink(missing_ok=True)
        try:
            with self._while_submitting():
                return self._backend.submit_array([CellJob(str(cell.folder.resolve())) for cell in cells])
        except RuntimeError as problem:  # of submitit, whose text is what sbatch said
            said = (str(problem).strip().splitlines() or ["no reason given"])[-1]
            raise OSError(f"the cluster refuses the jobs: {said}") from problem


def _is_open(job: Job[Any] | None) -> bool:
    """Whether a job is in the queue or runs."""
    return job is not None and not job.done()


def _why_failed(cell: Cell, job: Job[Any]) -> str:
    """The state of a job that ended, and the last line that the cell, or else the job, has printed."""
    line = last_line(cell.folder / OUTPUT) or last_line(Path(job.paths.stderr)) or last_line(Path(job.paths.stdout))
    # A job that submitit knows to be over by its files may still count as running in the cluster's accounts.
    state = "failed" if str(job.state).upper() in _NOT_OVER else job.state
    return one_line(f"job {job.job_id}, {state}: {line or 'no output'}")
