"""Cells as jobs of SLURM."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coleaf_framework._extras import require_library
from coleaf_framework.experiments.cluster import JOBS, ClusterExecutor
from coleaf_framework.experiments.gpus import needs_gpu
from coleaf_framework.experiments.grid import Grid

if TYPE_CHECKING:
    from submitit import SlurmExecutor

DEFAULT_TIME = "4:00:00"
_LEAST_MINUTES = 10  # a job has to start, to train and to stop
_SECONDS_TO_STOP = 120  # between SIGUSR2 and the time limit: the step under way and the checkpoint
_REQUEUES = 100  # each has trained until its time limit
# A cell is one process; where a job's files are and which signals it gets is submitit's to say.
_NOT_TO_SET = {
    *("array", "chdir", "error", "input", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output"),
    *("signal", "test-only", "wait", "wrap"),
}
_GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gres")
_TIME = re.compile(r"(?:(?P<d>\d+)-)?(?P<a>\d+)(?::(?P<b>\d+))?(?::(?P<c>\d+))?")


def parse_slurm(options: Sequence[str]) -> dict[str, str | bool]:
    """Read options of sbatch.

    Args:
        options: each "KEY=VALUE", or "KEY" for a flag, as sbatch spells it without its dashes.

    Returns:
        Key -> value, True for a flag; always with "time".

    Raises:
        ValueError: an option is malformed, given twice, or set by the grid itself.
    """
    found: dict[str, str | bool] = {}
    for option in options:
        key, given, value = option.partition("=")
        key = key.strip().replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z-]*", key) or (given and not value.strip()):
            raise ValueError(f"--slurm {option!r}: expected KEY=VALUE, an option of sbatch such as partition=gpu")
        if key in _NOT_TO_SET:
            raise ValueError(f"--slurm {option!r}: {key} is set by the grid, whose runs are one process each")
        if key in found:
            raise ValueError(f"--slurm {option!r}: {key} is given twice")
        found[key] = value.strip() if given else True
    minutes = minutes_of(found.setdefault("time", DEFAULT_TIME))
    if minutes < _LEAST_MINUTES:
        raise ValueError(f"--slurm time={found['time']}: {minutes} minutes; at least {_LEAST_MINUTES}")
    return found


def minutes_of(time: str | bool) -> int:
    """Whole minutes of a time limit as sbatch writes it.

    Args:
        time: "M", "M:S", "H:M:S", "D-H", "D-H:M" or "D-H:M:S".

    Raises:
        ValueError: it is written in another way.
    """
    read = _TIME.fullmatch(str(time))
    if read is None:
        raise ValueError(f"--slurm time={time}: expected minutes, H:M:S or D-H:M:S, such as 12:00:00")
    a, b, c = (None if read[name] is None else int(read[name]) for name in "abc")
    if read["d"] is not None:
        return int(read["d"]) * 1440 + (a or 0) * 60 + (b or 0)
    return (a or 0) * 60 + (b or 0) if c is not None else a or 0


def require_slurm() -> None:
    """Check that jobs can be submitted from here.

    Raises:
        ImportError: submitit is not installed.
        ValueError: SLURM's commands are not there.
    """
    require_library("submitit", "--executor slurm", "slurm")
    for command in ("sbatch", "srun", "sacct"):
        if shutil.which(command) is None:
            raise ValueError(
                f"--executor slurm: no command {command} on this machine: call it on a login node of a SLURM cluster, "
                "or take --plan, whose lines any other scheduler can run"
            )


def slurm_executor(grid: Grid, options: Mapping[str, str | bool], jobs: int | None) -> ClusterExecutor:
    """An executor of a grid's cells as jobs of SLURM.

    Args:
        grid: the planned grid, in a folder that all nodes see.
        options: of `parse_slurm`.
        jobs: how many jobs may run at the same time; as many as the cluster allows if None.
    """
    options = dict(options)
    if not options.keys() & set(_GPUS) and any(map(needs_gpu, grid.cells)):
        options["gpus-per-node"] = "1"
    helpers = require_library("submitit.helpers", "--executor slurm", "slurm")
    backend = slurm_backend(grid.out / JOBS, options, jobs or len(grid.cells))
    return ClusterExecutor(backend, while_submitting=helpers.clean_env)  # the command itself may run in a job


def slurm_backend(folder: Path, options: Mapping[str, str | bool], jobs: int) -> SlurmExecutor:
    """submitit's executor, with its parameters set.

    Args:
        folder: for submitit's files.
        options: of sbatch.
        jobs: how many of the jobs that are submitted together may run at the same time.
    """
    others = dict(options)
    name, time = others.pop("job-name", "coleaf"), others.pop("time")
    backend: SlurmExecutor = require_library("submitit", "--executor slurm", "slurm").SlurmExecutor(
        folder.resolve(), max_num_timeout=_REQUEUES
    )
    cores = others.get("cpus-per-task")
    backend.update_parameters(
        job_name=name,
        time=minutes_of(time),
        array_parallelism=jobs,
        signal_delay_s=_SECONDS_TO_STOP,
        stderr_to_stdout=True,
        additional_parameters=others,
        srun_args=None if cores is None else [f"--cpus-per-task={cores}"],  # srun takes it from sbatch no longer
    )
    return backend
