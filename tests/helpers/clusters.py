"""Clusters without a cluster: made-up jobs, submitit's local executor, and SLURM's commands as small scripts."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from coleaf_framework.experiments.grid import ALONE, Cell
from coleaf_framework.record.config import RunConfig


def cell_in(folder: Path, device: str = "auto") -> Cell:
    """A cell in a folder of its own, which holds nothing yet."""
    folder.mkdir(parents=True)
    return Cell("han", ALONE, 0, folder, RunConfig(trainer={"device": device}))


class MadeUpCluster:
    """As submitit's executors: each job has the state that a test says, "PENDING" at first."""

    def __init__(self, folder: Path, on_submit: Callable[[], object] = lambda: None) -> None:
        self.folder, self.on_submit = folder, on_submit
        self.states: dict[str, str] = {}
        self.submitted: list[str] = []

    def job_class(self, folder: Path, job_id: str) -> Any:
        cluster, paths = self, SimpleNamespace(stdout=folder / f"{job_id}.out", stderr=folder / f"{job_id}.err")

        class Job:
            def __init__(self) -> None:
                self.job_id, self.paths = job_id, paths

            @property
            def state(self) -> str:
                return cluster.states[job_id]

            def done(self) -> bool:
                return self.state not in ("PENDING", "RUNNING")

        return Job()

    def submit_array(self, tasks: list[Any]) -> list[Any]:
        self.on_submit()
        jobs = []
        for task in tasks:
            job_id = f"7_{len(self.submitted)}"
            self.submitted.append(Path(task.folder).name)
            self.states[job_id] = "PENDING"
            jobs.append(self.job_class(self.folder, job_id))
        return jobs


def local_backend(folder: Path) -> Any:
    """submitit's local executor, whose jobs are found again by the number of their process, as a cluster's are."""
    import submitit

    class FoundJob(submitit.LocalJob[None]):
        def get_info(self, mode: str = "force") -> dict[str, str]:
            return super().get_info(mode) if self._process or not runs(int(self.job_id)) else {"jobState": "RUNNING"}

    class Backend(submitit.LocalExecutor):
        job_class = FoundJob

    backend = Backend(folder)
    backend.update_parameters(timeout_min=10, stderr_to_stdout=True)
    return backend


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> list[int]:
    """The processes below one."""
    children = [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(x for child in children for x in descendants(child))]


def signal_job(controller: int) -> None:
    """What SLURM sends before the time limit, to every process of a job."""
    for pid in descendants(controller):
        os.kill(pid, signal.SIGUSR2)


SBATCH = """
import os, re, subprocess, sys
script, folder, none = open(sys.argv[1]).read(), os.environ["FAKE_SLURM"], subprocess.DEVNULL
open(folder + "/script.sh", "w").write(script)
for task in range(int(re.search("--array=0-([0-9]+)", script)[1]) + 1):
    here = {"SLURM_JOB_ID": str(90 + task), "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(task)}
    command, env = ["bash", sys.argv[1]], os.environ | here
    job = subprocess.Popen(command, env=env, stdin=none, stdout=none, stderr=none, start_new_session=True)
    open(f"{folder}/pid-{task}", "w").write(str(job.pid))
print("Submitted batch job 77")
"""
SRUN = """
import os, sys
command = sys.argv[1:]
while command[0].startswith("--"):
    option = command.pop(0)
    if option == "--output":
        path = command.pop(0).replace("%A", os.environ["SLURM_ARRAY_JOB_ID"])
        path = path.replace("%a", os.environ["SLURM_ARRAY_TASK_ID"]).replace("%t", "0")
        output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(output, 1), os.dup2(output, 2)
os.execvp(command[0], command)
"""
SACCT = """
import os, pathlib
print("JobID|State|NodeList")
for path in pathlib.Path(os.environ["FAKE_SLURM"]).glob("pid-*"):
    stat = pathlib.Path("/proc", path.read_text(), "stat")
    runs = stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    print("77_" + path.name[4:] + ("|RUNNING|" if runs else "|FAILED|") + "node")
"""


def make_slurm(folder: Path) -> None:
    """Write `sbatch`, `srun` and `sacct`, which run the tasks of a job array at once on this machine."""
    folder.mkdir()
    for name, code in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
        path.chmod(0o755)
