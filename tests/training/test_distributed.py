"""Several ranks under torchrun with gloo: the gradients, losses and scores of one process; and one that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from coleaf_framework.storage import read_tensors
from tests.helpers.data import last, write_data_set
from tests.helpers.rank_worker import RUNS
from tests.helpers.training import resume_state

WORKER = Path(__file__).parents[1] / "helpers/rank_worker.py"
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def torchrun(ranks: int, *command: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", *command]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set of six training videos of unequal length, in steps of four and two, and one process's results."""
    root = write_data_set(tmp_path_factory.mktemp("ranks") / "data")
    last(root, "tr01", 6)
    last(root, "tr04", 1)
    last(root, "va01", 7)
    out = root.parent / "alone"
    out.mkdir()
    subprocess.run([sys.executable, str(WORKER), str(root), str(out)], check=True, env=environment())
    return root, out


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_compute_what_one_process_does(alone: tuple[Path, Path], tmp_path: Path, ranks: int) -> None:
    """Also where the last step, and the validation split, have fewer videos than ranks."""
    root, expected = alone
    command = torchrun(ranks, str(WORKER), str(root), str(tmp_path))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    for run in RUNS:
        whole = read_tensors(expected / f"{run}-0.gradients")
        told = json.loads((expected / f"{run}-0.json").read_text())
        for rank in range(ranks):
            gradients = read_tensors(tmp_path / f"{run}-{rank}.gradients")
            assert gradients.keys() == whole.keys()
            for name, gradient in whole.items():
                torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-7, msg=f"{run} {name}")
            ours: dict[str, Any] = json.loads((tmp_path / f"{run}-{rank}.json").read_text())
            for kind in ("losses", "val", "test"):
                assert ours[kind] == pytest.approx(told[kind], rel=1e-6, abs=1e-9, nan_ok=True), (run, kind)
            assert ours["lengths"] == told["lengths"]


DYING = """
import os, signal, sys
from coleaf_framework.cli.main import main
from coleaf_framework.training.loop import TrainingLoop
original = TrainingLoop._step
def step(loop, *args):
    if loop.distributed.rank == 1 and len(loop.history) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    original(loop, *args)
TrainingLoop._step = step
main()
"""


def test_a_rank_that_dies_ends_the_job_with_its_name_and_a_checkpoint(alone: tuple[Path, Path], tmp_path: Path) -> None:
    """The job is then resumed on another number of ranks, and by one process."""
    script, out = tmp_path / "dying.py", tmp_path / "run"
    script.write_text(DYING)
    settings = ["--set", "anchor.options={width: 8}", "--set", "trainer.batch_size=4", "--set", "trainer.epochs=4"]
    train = ["train", "--data", str(alone[0]), *settings, "--out", str(out)]
    start = time.monotonic()
    died = subprocess.run(
        torchrun(2, str(script), *train), env=environment(), capture_output=True, text=True, timeout=120
    )
    assert time.monotonic() - start < 60
    assert died.returncode != 0
    assert "rank      : 1" in died.stderr
    assert "SIGKILL" in died.stderr
    assert "rank 0 of 2 stops, since another rank has gone" in died.stderr
    assert len(resume_state(out)["history"]) == 2
    resume = ["-m", "coleaf_framework", "train", "--resume", "--out", str(out), "--set"]
    for epochs, command in ((4, torchrun(3)), (5, [sys.executable])):
        done = subprocess.run([*command, *resume, f"trainer.epochs={epochs}"], env=environment(), capture_output=True)
        assert done.returncode == 0, done.stderr
        assert len(resume_state(out)["history"]) == epochs


FAILING = """
import sys
from coleaf_framework.cli.main import main
from coleaf_framework.data import AVVPFolder
from coleaf_framework.training.distributed import DistributedContext
original, reads = AVVPFolder.__getitem__, []
def getitem(data, index):
    reads.append(index)
    if DistributedContext.join().rank == 1 and len(reads) == 3:
        raise ValueError("x.npy: holds NaN")
    return original(data, index)
AVVPFolder.__getitem__ = getitem
main()
"""


def test_a_rank_that_cannot_read_stops_all_with_a_checkpoint(alone: tuple[Path, Path], tmp_path: Path) -> None:
    script, out = tmp_path / "failing.py", tmp_path / "run"
    script.write_text(FAILING)
    settings = [
        "--set",
        "anchor.options={width: 8}",
        "--set",
        "trainer.batch_size=2",
    ]
    train = ["train", "--data", str(alone[0]), *settings, "--out", str(out)]
    failed = subprocess.run(
        torchrun(2, str(script), *train), env=environment(), capture_output=True, text=True, timeout=120
    )
    assert "coleaf: x.npy: holds NaN; the first rank says what was saved" in failed.stderr
    assert (
        f"rank 0 stops, since another rank failed; {out} keeps, for --resume, everything up to epoch" in failed.stderr
    )
    assert resume_state(out)["epoch_steps"] > 0


STOPPING = """
import sys, time
from coleaf_framework.cli.main import main
from coleaf_framework.training.loop import TrainingLoop
said, start = TrainingLoop.saved, TrainingLoop.start
def saved(loop):
    print(f"rank {loop.distributed.rank} stops after {len(loop.history)} epochs, {loop.epoch_steps} steps",
          file=sys.stderr)
    return said(loop)
def slow_start(loop, state):
    start(loop, state)
    time.sleep(SLEEP)  # a moment in which a run can be resumed and does not train yet
TrainingLoop.saved, TrainingLoop.start = saved, slow_start
main()
"""


@pytest.mark.parametrize("sleep", [0, 1])
def test_ctrl_c_stops_every_rank_after_the_same_step(alone: tuple[Path, Path], tmp_path: Path, sleep: int) -> None:
    """At whatever moment it comes, once there is something to go on from."""
    script, out = tmp_path / "stopping.py", tmp_path / "run"
    script.write_text(STOPPING.replace("SLEEP", str(sleep)))
    settings = ["--set", "anchor.options={width: 8}", "--set", "trainer.epochs=100000"]
    train = [str(script), "train", "--data", str(alone[0]), *settings, "--out", str(out)]
    process = subprocess.Popen(torchrun(2, *train), env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (out / "resume.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert "coleaf: interrupted; the first rank says what was saved" in told
    assert f"{out} keeps, for --resume, everything up to" in told
    stopped = {rank: set(re.findall(rf"rank {rank} stops after (.*)", told)) for rank in (0, 1)}
    assert stopped[0] == stopped[1]
    assert len(stopped[0]) == 1
