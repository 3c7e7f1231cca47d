"""Cells as processes of this machine: which GPU each gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from coleaf_framework.experiments.gpus import visible_gpus
from coleaf_framework.experiments.grid import DONE
from coleaf_framework.experiments.local import LocalExecutor
from tests.helpers.clusters import cell_in


class Process:
    """A process that a test ends."""

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


Started = dict[str, tuple[Process, str | None]]
Gpus = Callable[[int], None]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What was started: name of a cell -> its process, and the GPUs that it sees."""
    found: Started = {}

    def start(folder: Path, environment: dict[str, str]) -> Process:
        found[folder.name] = (Process(), environment.get("CUDA_VISIBLE_DEVICES"))
        return found[folder.name][0]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("coleaf_framework.experiments.local.start_cell", start)
    return found


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Say how many GPUs there are."""
    return lambda n: monkeypatch.setattr(torch.cuda, "device_count", lambda: n)


def test_cells_that_run_together_have_a_gpu_each(started: Started, gpus: Gpus, tmp_path: Path, capsys: Capture) -> None:
    gpus(3)
    executor = LocalExecutor(3)
    executor.submit([cell_in(tmp_path / name) for name in "abcd"])
    executor.poll()
    assert {name: seen for name, (_, seen) in started.items()} == {"a": "0", "b": "1", "c": "2"}
    started["b"][0].returncode = 0
    assert executor.poll().under_way == ("a", "c", "d")
    assert started["d"][1] == "1"  # the one that has become free
    assert capsys.readouterr().err == ""


def test_more_jobs_than_gpus_share_them_and_a_line_says_so(
    started: Started, gpus: Gpus, tmp_path: Path, capsys: Capture
) -> None:
    gpus(2)
    executor = LocalExecutor(5)
    executor.submit([cell_in(tmp_path / name) for name in "abcde"])
    executor.poll()
    assert [seen for _, seen in started.values()] == ["0", "1", "0", "1", "0"]
    assert capsys.readouterr().err == "--jobs 5 on 2 GPUs: several runs share a GPU\n"


@pytest.mark.parametrize("device", ["cpu", "cuda:1", "mps"])
def test_a_cell_that_names_its_device_is_left_alone(started: Started, gpus: Gpus, tmp_path: Path, device: str) -> None:
    gpus(2)
    executor = LocalExecutor(2)
    executor.submit([cell_in(tmp_path / "a", device), cell_in(tmp_path / "b")])
    executor.poll()
    assert [seen for _, seen in started.values()] == [None, "0"]


def test_without_a_gpu_nothing_is_set(started: Started, gpus: Gpus, tmp_path: Path) -> None:
    gpus(0)
    executor = LocalExecutor(2)
    executor.submit([cell_in(tmp_path / "a")])
    executor.poll()
    assert started["a"][1] is None


@pytest.mark.parametrize(
    ("named", "count", "expected"),
    [
        (None, 2, ("0", "1")),
        ("2,0", 2, ("2", "0")),
        ("GPU-8932f937, MIG-5a1", 2, ("GPU-8932f937", "MIG-5a1")),
        ("0,-1,2", 1, ("0",)),  # CUDA's list ends at the first that is not there
        ("", 0, ()),
    ],
)
def test_the_users_list_of_gpus_is_kept(
    gpus: Gpus, monkeypatch: pytest.MonkeyPatch, named: str | None, count: int, expected: tuple[str, ...]
) -> None:
    gpus(count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected


def test_a_cell_that_ends_badly_is_named_by_its_last_line(started: Started, tmp_path: Path) -> None:
    executor = LocalExecutor(2)
    executor.submit([cell_in(tmp_path / "a", "cpu"), cell_in(tmp_path / "b", "cpu")])
    executor.poll()
    (tmp_path / "a/output.txt").write_text("begun\nValueError: too much\n")
    for process, _ in started.values():
        process.returncode = 1
    assert executor.poll().failed == {"a": "ValueError: too much", "b": "ended with code 1 and no output"}


def test_a_cell_that_another_command_has_done_meanwhile_is_not_trained_again(started: Started, tmp_path: Path) -> None:
    executor = LocalExecutor(1)
    first, second = cells = [cell_in(tmp_path / name, "cpu") for name in "ab"]
    (first.folder / DONE).touch()  # of before, and out of date
    executor.submit(cells)
    executor.poll()
    (second.folder / DONE).touch()
    started["a"][0].returncode = 0
    assert executor.poll().under_way == ()
    assert list(started) == ["a"]
