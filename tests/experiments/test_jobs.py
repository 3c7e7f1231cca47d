"""Cells that run as jobs, by submitit's local and debug executors, as SLURM's, and by a command line of `--plan`."""

from __future__ import annotations

import pickletools
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from coleaf_framework.experiments.cell_job import CellJob
from coleaf_framework.experiments.cluster import ClusterExecutor, read_jobs
from coleaf_framework.experiments.grid import ALONE, CELL, Grid, Study
from coleaf_framework.experiments.planning import plan_grid
from coleaf_framework.experiments.running import run_grid
from coleaf_framework.record.config import RunConfig
from coleaf_framework.storage import WEIGHTS, read_tensors, read_yaml
from coleaf_framework.training.experiment import train
from tests.helpers.clusters import local_backend, make_slurm, signal_job
from tests.helpers.command import Command

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
SETTINGS = ("trainer.batch_size=4", "anchor.options.width=8", "trainer.monitor=[]", "trainer.device=cpu")


def one_cell(data_root: Path, out: Path, epochs: int) -> Grid:
    settings = [*SETTINGS, f"trainer.epochs={epochs}"]
    return plan_grid(Study("one", "?", (ALONE,), ()), ["han"], 1, out, data=data_root, split="val", settings=settings)


def assert_as_trained_here(cell: Path, out: Path) -> None:
    """The weights are those of the same run in this process, bit for bit."""
    train(RunConfig(**read_yaml(cell / CELL)["config"]), out, quiet=True)
    one, other = read_tensors(cell / WEIGHTS), read_tensors(out / WEIGHTS)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@ON_LINUX
def test_a_job_that_reaches_its_time_limit_is_requeued_and_found_again(data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="needs the extra `slurm`")
    grid = one_cell(data_root, tmp_path / "grid", epochs=15)
    ClusterExecutor(local_backend(grid.out / "jobs")).submit(grid.cells)  # and the command ends
    log, deadline = grid.cells[0].folder / "log.jsonl", time.monotonic() + 90
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    (job,) = read_jobs(grid.out / "jobs").values()
    signal_job(int(job))
    run_grid(grid, ClusterExecutor(local_backend(grid.out / "jobs"), poll_seconds=0.2))
    assert read_jobs(grid.out / "jobs") == {"han-alone-seed0": job}  # it was not submitted again
    said = (grid.out / f"jobs/{job}_0_log.out").read_text()
    assert said.count("Requeued job") == 1
    assert_as_trained_here(grid.cells[0].folder, tmp_path / "here")


def test_what_is_pickled_for_a_job_is_the_path_of_a_folder(tmp_path: Path) -> None:
    helpers = pytest.importorskip("submitit.helpers", reason="needs the extra `slurm`")
    path = tmp_path / "job.pkl"
    helpers.DelayedSubmission(CellJob("/runs/han-alone-seed0")).dump(path)
    operations = [(operation.name, value) for operation, value, _ in pickletools.genops(path.read_bytes())]
    words = [value for name, value in operations if "UNICODE" in name]
    assert "/runs/han-alone-seed0" in words
    modules = [word for word in words if "." in word]
    assert modules == ["submitit.core.utils", "coleaf_framework.experiments.cell_job"]  # by name, without code
    assert sum(name in ("GLOBAL", "STACK_GLOBAL", "INST") for name, _ in operations) == 2


@pytest.mark.slow
def test_submitits_debug_executor_runs_a_cell(data_root: Path, tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit", reason="needs the extra `slurm`")
    grid = one_cell(data_root, tmp_path / "grid", epochs=1)
    run_grid(grid, ClusterExecutor(submitit.DebugExecutor(grid.out / "jobs")))
    assert_as_trained_here(grid.cells[0].folder, tmp_path / "here")


@pytest.mark.slow
@ON_LINUX
def test_a_grid_runs_as_an_array_of_slurm(
    coleaf: Command, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By scripts in the place of SLURM's commands."""
    pytest.importorskip("submitit", reason="needs the extra `slurm`")
    make_slurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    settings = [x for setting in (*SETTINGS, "trainer.epochs=1") for x in ("--set", setting)]
    printed = coleaf("compare", "--anchors", "han", "--data", data_root, "--split", "val", "--seeds", 1, "--out",
                     "grid", *settings, "--executor", "slurm", "--slurm", "partition=gpu", "--jobs", 2)  # fmt: skip
    assert "HAN in CoLeaF less HAN alone" in printed
    script = (tmp_path / "script.sh").read_text()
    assert "#SBATCH --array=0-1%2" in script
    assert "#SBATCH --partition=gpu" in script
    assert read_jobs(tmp_path / "grid/jobs") == {"han-alone-seed0": "77_0", "han-coleaf-seed0": "77_1"}
    assert_as_trained_here(tmp_path / "grid/han-coleaf-seed0", tmp_path / "here")


@pytest.mark.slow
def test_a_planned_cell_is_run_by_its_line(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    settings = [x for setting in (*SETTINGS, "trainer.epochs=1") for x in ("--set", setting)]
    words = ("ablate", "--variant", "soft: coleaf.temperature=1", "--anchors", "han", "--data", data_root, "--split",
             "val", "--seeds", 1, "--out", "a grid", *settings, "--plan")  # fmt: skip
    (tmp_path / "random.py").write_text("raise SystemExit('it took the place of the standard library')")
    lines = coleaf(*words).splitlines()
    assert len(lines) == 2
    subprocess.run(["sh", "-c", lines[1]], check=True, cwd="/", stdin=subprocess.DEVNULL)  # as schedulers do
    assert coleaf(*words).splitlines() == lines[:1]
    assert_as_trained_here(Path(lines[1].rpartition(" '")[2].strip("'")), tmp_path / "here")
