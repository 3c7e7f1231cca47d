"""Grids that run: done once, whatever happens in between, and read by the commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from coleaf_framework._machine import cores
from coleaf_framework.experiments.grid import ALONE, CELL, OUTPUT, Study
from coleaf_framework.experiments.local import cell_environment
from coleaf_framework.experiments.planning import plan_grid
from coleaf_framework.experiments.running import run_grid
from coleaf_framework.record.config import RunConfig
from coleaf_framework.storage import WEIGHTS, read_tensors, read_yaml
from coleaf_framework.training.experiment import train
from tests.helpers.command import Command
from tests.helpers.networks import NETWORK

TINY = [
    x
    for setting in ("trainer.batch_size=4", "anchor.options.width=8", "trainer.monitor=[]", "trainer.device=cpu")
    for x in ("--set", setting)
]

EPOCHS = ("--set", "trainer.epochs=30")  # so many that an interrupt comes in between


@pytest.mark.slow
def test_a_grid_is_trained_once_and_its_tables_are_written(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    command = ("compare", "--anchors", "han", "--data", data_root, "--split", "val", "--seeds", 1, "--jobs", 2,
               "--out", "grid", *TINY, "--set", "trainer.epochs=2")  # fmt: skip
    printed = coleaf(*command)
    assert "HAN in CoLeaF less HAN alone" in printed
    assert "PAPER, Table 5: han in CoLeaF" in printed
    assert "Conclusion, in support/segment/Type@AVo on tiny val, 3 videos: HAN in CoLeaF less HAN alone: " in printed
    assert "1 seed says little of other seeds" in printed
    found = json.loads((tmp_path / "grid/compare.json").read_text())
    assert found["by_run"].keys() == {"han-alone-seed0", "han-coleaf-seed0"}
    lines = (tmp_path / "grid/compare.csv").read_text().splitlines()
    assert len(lines) == 1 + 36 * 5  # two rows, their difference and two trivial parsers

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("grid/*/*")}
    assert coleaf(*command, "--column", "segment/A").count("Conclusion, in segment/A ") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("grid/*/*")} == before
    assert "has trainer.epochs = 2, now it is 3" in coleaf(*command, "--set", "trainer.epochs=3", fails=True)

    # A cell is a run as any other, and the grid is the other tables' too.
    evaluated = coleaf("evaluate", "grid/han-coleaf-seed0", "--split", "val", "--json", "s.json")
    assert "HAN in CoLeaF" in evaluated
    scores = next(iter(json.loads((tmp_path / "s.json").read_text())["runs"].values()))
    kept = found["by_run"]["han-coleaf-seed0"]
    assert {k: v for k, v in scores.items() if v is not None} == pytest.approx(
        {k: v for k, v in kept.items() if v is not None}
    )
    # Answers to other thresholds, or an unfinished training's, are not mistaken for the grid's.
    coleaf("predict", "grid/han-coleaf-seed0", "--split", "val", "--set", "decision.segment_threshold=0")
    (tmp_path / "grid/han-alone-seed0/done.yaml").unlink()
    coleaf(*command)
    assert json.loads((tmp_path / "grid/compare.json").read_text()) == found
    rates = coleaf("rates", *command[1:])
    assert "HAN alone, without cross-attention" in rates
    assert "PAPER, LLP test: cmpae unimodal (U)" in rates
    assert (tmp_path / "grid/rates-scores.json").exists()


@pytest.mark.slow
def test_a_network_of_ones_own_is_compared_by_its_name(
    coleaf: Command, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compare_net.py").write_text(NETWORK)
    printed = coleaf("ablate", "--variant", "soft: coleaf.temperature=1, coleaf.contrast_weight=2", "--anchors",
                     "compare_net:Own", "--data", data_root, "--split", "val", "--seeds", 1, "--out", "grid",
                     "--set", "trainer.epochs=1", "--set", "trainer.batch_size=4")  # fmt: skip
    assert "Own in CoLeaF, soft less Own in CoLeaF" in printed
    assert (tmp_path / "grid/compare_net.Own-soft-seed0" / WEIGHTS).exists()


@pytest.mark.slow
def test_a_failing_cell_is_named(coleaf: Command, data_root: Path) -> None:
    (data_root / "feats/vggish/tr03.npy").write_bytes(b"no array")
    more = ("--set", "trainer.epochs=1", "--set", "data.standardize=true")
    command = ("compare", "--anchors", "han", "--data", data_root, "--split", "val", "--seeds", 1, *TINY, *more)
    said = coleaf(*command, fails=True)
    assert "2 of 2 runs failed" in said
    assert "han-coleaf-seed0: " in said
    assert "tr03.npy" in said


@pytest.mark.slow
def test_an_interrupted_grid_goes_on_and_ends_as_if_nothing_had_happened(
    coleaf: Command, data_root: Path, tmp_path: Path
) -> None:
    words = ("ablate", "--variant", "plain: coleaf.contrast=none", "--anchors", "han", "--data", data_root, "--split",
             "val", "--seeds", 1, "--jobs", 2, "--out", tmp_path / "grid", *TINY, *EPOCHS)  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "coleaf_framework", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    deadline, log = time.monotonic() + 90, tmp_path / "grid/han-plain-seed0/log.jsonl"
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=90)[1]
    assert process.returncode == 130, said
    assert "interrupted; 0 of 2 runs are done; the same command goes on" in said
    assert 1 <= log.read_text().count("\n") < 30
    coleaf(*words)
    for cell in ("han-plain-seed0", "han-coleaf-seed0"):
        config = RunConfig(**read_yaml(tmp_path / "grid" / cell / CELL)["config"])
        train(config, tmp_path / cell, quiet=True)
        one, other = (read_tensors(folder / cell / WEIGHTS) for folder in (tmp_path / "grid", tmp_path))
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_cells_end_with_the_process_that_started_them(data_root: Path, tmp_path: Path) -> None:
    words = ("ablate", "--variant", "plain: coleaf.contrast=none", "--anchors", "han", "--data", data_root, "--split",
             "val", "--seeds", 1, "--out", tmp_path / "grid", *TINY, "--set", "trainer.epochs=100000")  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "coleaf_framework", *map(str, words)], stderr=subprocess.DEVNULL)
    folder = tmp_path / "grid/han-plain-seed0"
    deadline = time.monotonic() + 90
    while not (folder / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    lock = FileLock(folder / ".lock")
    lock.acquire(timeout=30)  # the cell lets go of it when it has saved and ended
    lock.release()


def test_jobs_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert cell_environment(2)["OMP_NUM_THREADS"] == "4"
    assert cell_environment(20)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cell_environment(2)["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ablate", "--table", 7), "--table 7: no such ablation; the paper's are 2, 3 and 4"),
        (("ablate",), "takes --table 2, 3 or 4, or one --variant or more"),
        (("ablate", "--table", 2, "--variant", "a: coleaf.contrast=nce"), "takes --table 2, 3 or 4, or one --variant"),
        (("ablate", "--variant", "coleaf.contrast=nce"), "expected NAME: section.key=value"),
        (("ablate", "--variant", "x: trainer.seed=3"), "trainer.seed is not a setting of CoLeaF: it is set by --seeds"),
        (
            ("ablate", "--variant", "x: coleaf.enabled=false"),
            "coleaf.enabled is not a setting of CoLeaF: it is set by coleaf",
        ),
        (("report", "nothing", "--out", "."), "--out .: is a folder, where the name of a file was expected"),
        (("ablate", "--variant", "alone: coleaf.contrast=nce"), "--variant alone: a name that is taken"),
        (
            ("compare", "--anchors", "han", "--seeds", 1, "--jobs", 10**6),
            f"--jobs=1000000: at most {max(64, 4 * cores())} on a machine of {cores()} cores; set --jobs={cores()}",
        ),
        (("compare", "--seeds", 10**9), "Invalid value for '--seeds'"),
        (("compare", "--anchors", "nobody"), "no anchor is called 'nobody'"),
        (("compare", "--column", "segment/Typ@AV"), "--column 'segment/Typ@AV': no such column. Did you mean"),
    ],
)
def test_bad_input_is_told_in_a_sentence(coleaf: Command, words: tuple[object, ...], message: str) -> None:
    assert message in coleaf(*words, fails=True)


@pytest.mark.slow
def test_a_linked_output_is_replaced_and_its_target_stays(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("somebody's")
    cell = tmp_path / "grid/han-alone-seed0"
    cell.mkdir(parents=True)
    (cell / OUTPUT).symlink_to(tmp_path / "target")
    settings = [*TINY[1::2], "trainer.epochs=1"]
    study = Study("one", "?", (ALONE,), ())
    run_grid(plan_grid(study, ["han"], 1, tmp_path / "grid", data=data_root, split="val", settings=settings))
    assert (tmp_path / "target").read_text() == "somebody's"
    assert not (cell / OUTPUT).is_symlink()
