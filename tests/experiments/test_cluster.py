"""Cells as jobs of a cluster: submitted once, found again, and named when they fail."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import pytest
from filelock import FileLock

from coleaf_framework.experiments import cluster
from coleaf_framework.experiments.cluster import ClusterExecutor, read_jobs
from coleaf_framework.experiments.executor import Polled
from coleaf_framework.experiments.grid import DONE, OUTPUT, Cell, Grid, Study
from coleaf_framework.experiments.running import run_grid
from tests.helpers.clusters import MadeUpCluster, cell_in


def executor_of(backend: MadeUpCluster, **changes: Any) -> ClusterExecutor:
    return ClusterExecutor(backend, **{"seconds_to_appear": 0.0, **changes})


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return [cell_in(tmp_path / name) for name in "ab"]


@pytest.fixture
def backend(tmp_path: Path) -> MadeUpCluster:
    return MadeUpCluster(tmp_path / "jobs")


def test_the_same_command_comes_back_to_its_jobs(cells: list[Cell], backend: MadeUpCluster, tmp_path: Path) -> None:
    first = executor_of(backend)
    first.submit(cells)
    backend.states["7_1"] = "RUNNING"
    assert first.poll().under_way == ("1 pending", "1 running")
    first.cancel()
    first.close()
    assert first.poll().under_way == ()
    assert first.after_cancel == (
        "the jobs stay, and the same command comes back to them; what ends them: scancel 7_0 7_1"
    )
    second = executor_of(backend)
    second.submit([*cells, cell_in(tmp_path / "c")])  # as of a grid that has grown
    assert backend.submitted == ["a", "b", "c"]
    assert read_jobs(tmp_path / "jobs") == {"a": "7_0", "b": "7_1", "c": "7_2"}


def test_a_cell_is_over_when_its_folder_says_so(cells: list[Cell], backend: MadeUpCluster) -> None:
    executor = executor_of(backend)
    executor.submit(cells)
    for cell in cells:
        (cell.folder / DONE).touch()
    assert executor.poll() == Polled((), {})


def test_ctrl_c_leaves_the_jobs_and_says_how_to_come_back(
    cells: list[Cell], backend: MadeUpCluster, tmp_path: Path
) -> None:
    grid = Grid(Study("one", "?", (), ()), ("han",), 1, tuple(cells), "val", tmp_path, ())
    executor = executor_of(backend, poll_seconds=0.01)
    ctrl_c = Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    ctrl_c.start()
    with pytest.raises(KeyboardInterrupt, match="0 of 2 runs are done; the jobs stay, .* scancel 7_0 7_1"):
        run_grid(grid, executor)
    assert backend.states == {"7_0": "PENDING", "7_1": "PENDING"}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("OUT_OF_MEMORY", "OUT_OF_MEMORY"),
        ("CANCELLED by 1000", "CANCELLED by 1000"),
        ("COMPLETING", "failed"),  # its files are there before the cluster has taken note of its end
    ],
)
def test_a_dead_job_is_named_and_the_same_command_submits_its_cell_again(
    cells: list[Cell], backend: MadeUpCluster, tmp_path: Path, state: str, told: str
) -> None:
    executor = executor_of(backend)
    executor.submit(cells)
    (tmp_path / "a" / OUTPUT).write_text("epoch 1\nepoch 2\n")
    (tmp_path / "jobs/7_1.out").write_text("slurmstepd: error: killed\n")
    backend.states |= {"7_0": state, "7_1": state}
    assert executor.poll().failed == {
        "a": f"job 7_0, {told}: epoch 2",
        "b": f"job 7_1, {told}: slurmstepd: error: killed",
    }
    (cells[1].folder / DONE).touch()  # by hand, say
    executor_of(backend).submit(cells[:1])
    assert backend.submitted == ["a", "b", "a"]
    assert not (tmp_path / "a" / OUTPUT).exists()  # or the next failure would be told by this one's words


def test_files_may_be_seen_later_than_the_end_of_their_job(cells: list[Cell], backend: MadeUpCluster) -> None:
    """Shared file systems are slow to show what another machine has written."""
    executor = executor_of(backend, seconds_to_appear=1000)
    executor.submit(cells)
    backend.states |= {"7_0": "COMPLETED", "7_1": "COMPLETED"}
    assert executor.poll() == Polled(("2 ending",), {})
    backend.states["7_0"] = "PENDING"  # requeued
    assert executor.poll() == Polled(("1 ending", "1 pending"), {})
    for cell in cells:
        (cell.folder / DONE).touch()
    assert executor.poll() == Polled((), {})


def test_two_commands_at_once_submit_each_cell_once(cells: list[Cell], tmp_path: Path) -> None:
    submitting, go_on = Event(), Event()

    def submit_slowly() -> None:
        submitting.set()
        go_on.wait(10)

    backend = MadeUpCluster(tmp_path / "jobs", submit_slowly)
    threads = [Thread(target=executor_of(backend).submit, args=(cells,)) for _ in range(2)]
    threads[0].start()
    assert submitting.wait(10)
    threads[1].start()
    threads[1].join(0.3)  # enough to submit too, if nothing held it back
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert backend.submitted == ["a", "b"]


def test_a_command_that_hangs_while_it_submits_is_named(
    cells: list[Cell], backend: MadeUpCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SECONDS_FOR_LOCK", 0.05)
    (tmp_path / "jobs").mkdir()
    with FileLock(tmp_path / "jobs/.lock"), pytest.raises(OSError, match="another command is submitting jobs"):
        executor_of(backend).submit(cells)
    assert backend.submitted == []


def test_a_refusal_is_told_in_the_clusters_words_and_leaves_no_record(cells: list[Cell], tmp_path: Path) -> None:
    def refuse() -> None:
        raise RuntimeError("sbatch: error: a line\nsbatch: error: invalid partition specified: gpux")

    executor = executor_of(MadeUpCluster(tmp_path / "jobs", refuse))
    with pytest.raises(OSError, match="^the cluster refuses the jobs: sbatch: error: invalid partition .*gpux$"):
        executor.submit(cells)
    assert read_jobs(tmp_path / "jobs") == {}


def test_a_damaged_record_is_named_before_anything_is_submitted(
    cells: list[Cell], backend: MadeUpCluster, tmp_path: Path
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/jobs.yaml").write_text("jobs: [1]")
    with pytest.raises(ValueError, match=r"jobs\.yaml: not a record of jobs"):
        executor_of(backend).submit(cells)
    assert backend.submitted == []
