"""Runs that are stopped, starved or lied to: what is told, what is kept, and that resuming repeats the run exactly."""

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

import numpy as np
import pytest
import torch
from filelock import FileLock

from coleaf_framework import CoLeaFTrainer
from coleaf_framework.data import AVVPFolder, Video
from coleaf_framework.training.interrupts import Interrupts
from coleaf_framework.training.loop import TrainingLoop
from coleaf_framework.training.run_folder import RunFolder
from tests.helpers.training import fit, resume_state, same_weights


def final(trainer: CoLeaFTrainer) -> tuple[dict[str, Any], Any]:
    drop = {"seconds"}
    history = [{k: v for k, v in entry.items() if k not in drop} for entry in trainer.history]
    return trainer.model.state_dict(), history


class StopsAt:
    """Sends this process a signal in the middle of a step, numbered from 0 over all epochs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGINT) -> None:
        original, steps = TrainingLoop._step, iter(range(10**6))

        def stepped(loop: TrainingLoop, *args: Any) -> None:
            if next(steps) == step:
                os.kill(os.getpid(), number)
            original(loop, *args)

        monkeypatch.setattr(TrainingLoop, "_step", stepped)


@pytest.mark.parametrize("recipe", ["paper", "official"])
@pytest.mark.parametrize(
    ("step", "settings"),
    [(0, {}), (2, {}), (3, {"workers": 1}), (4, {"accumulate": 2}), (7, {"bucket_by_length": True})],
)
def test_a_signal_ends_the_run_after_the_step_and_resuming_repeats_it_exactly(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, step: int, settings: dict[str, Any]
) -> None:
    whole = final(fit(data_root, tmp_path / "whole", recipe=recipe, **settings))
    with monkeypatch.context() as patch:
        StopsAt(patch, step, signal.SIGTERM if step == 4 else signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match=r"cut keeps, for --resume, everything up to "):
            fit(data_root, tmp_path / "cut", recipe=recipe, **settings)
    state = resume_state(tmp_path / "cut")
    assert 3 * len(state["history"]) + state["epoch_steps"] == step + 1
    torch.randn(17)  # whatever else the new process does
    again = final(fit(data_root, tmp_path / "cut", recipe=recipe, on_existing="resume", **settings))
    assert same_weights(again[0], whole[0])
    assert again[1] == whole[1]


def test_the_signals_handlers_are_given_back(data_root: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    fit(data_root, None)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_checkpoints_between_epochs_survive_a_kill(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed outright, after step 5 of 9: the last checkpoint is that of step 5, in the second epoch."""
    whole = final(fit(data_root, None))

    class Killed(Exception):
        pass

    def killed(loop: TrainingLoop, *args: Any) -> None:
        if len(loop.history) == 1 and loop.epoch_steps == 2:
            raise Killed
        original(loop, *args)

    original = TrainingLoop._step
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_step", killed)
        with pytest.raises(Killed):
            fit(data_root, tmp_path / "cut", checkpoint_steps=1)
    assert resume_state(tmp_path / "cut")["epoch_steps"] == 2
    assert same_weights(final(fit(data_root, tmp_path / "cut", on_existing="resume"))[0], whole[0])


class Failing(AVVPFolder):
    """A data set one of whose videos fails at its second reading."""

    problem: Exception = ValueError("the disk says no")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[int] = []

    def __getitem__(self, index: int) -> Video:
        self.seen.append(index)
        if self.seen.count(1) == 2:
            raise self.problem
        return super().__getitem__(index)


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, ChildProcessError])
def test_a_video_that_cannot_be_read_any_more_costs_nothing_that_was_done(
    data_root: Path, tmp_path: Path, kind: type[Exception]
) -> None:
    train = Failing(data_root, "train")
    train.problem = kind("the disk says no")
    whole = final(fit(data_root, None))
    with pytest.raises(kind, match=r"the disk says no; .*cut keeps, for --resume, everything up to .*epoch"):
        fit(data_root, tmp_path / "cut", train=train)
    done = resume_state(tmp_path / "cut")
    assert len(done["history"]) == 1
    assert same_weights(final(fit(data_root, tmp_path / "cut", on_existing="resume"))[0], whole[0])


def test_a_validation_video_that_vanishes_costs_no_epoch(data_root: Path, tmp_path: Path) -> None:
    whole = final(fit(data_root, None))
    path = data_root / "feats/vggish/va01.npy"
    content = path.read_bytes()

    class Vanishing(AVVPFolder):
        def __getitem__(self, index: int) -> Video:
            path.unlink(missing_ok=True)
            return super().__getitem__(index)

    with pytest.raises(FileNotFoundError, match=r"va01\.npy: no such file; .*everything up to epoch 1, step 3"):
        fit(data_root, tmp_path / "cut", train=Vanishing(data_root, "train"))
    path.write_bytes(content)
    again = final(fit(data_root, tmp_path / "cut", on_existing="resume"))
    assert same_weights(again[0], whole[0])
    assert again[1] == whole[1]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (lambda: json.loads("{"), ValueError, r"^Expecting property name.*keeps, for --resume"),
        (lambda: {}["x"], RuntimeError, r"^video 'tr01': KeyError: 'x'; .*keeps, for --resume"),
    ],
)
def test_whatever_a_data_set_raises_is_told_in_a_line_and_what_was_done_is_kept(
    data_root: Path, tmp_path: Path, workers: int, raised: Any, kind: type[Exception], message: str
) -> None:
    class Raising(AVVPFolder):
        def __getitem__(self, index: int) -> Video:
            if index == 1:
                raised()
            return super().__getitem__(index)

    with pytest.raises(kind, match=message) as told:
        fit(data_root, tmp_path / "cut", train=Raising(data_root, "train"), workers=workers)
    assert len(str(told.value).splitlines()) == 1


def test_there_must_be_a_run_to_go_on_with(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run holds no run to go on with: leave out --resume"):
        fit(data_root, tmp_path / "run", on_existing="resume")
    fit(data_root, tmp_path / "run", epochs=1)
    (tmp_path / "run/resume.safetensors").unlink()
    before = (tmp_path / "run/model.safetensors").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"resume\.safetensors: no such file, so the run cannot go on"):
        fit(data_root, tmp_path / "run", on_existing="resume")
    assert (tmp_path / "run/model.safetensors").read_bytes() == before


def test_damaged_best_weights_are_told_before_training_goes_on(data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    path = tmp_path / "run/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged: its checksum"):
        fit(data_root, tmp_path / "run", on_existing="resume", epochs=10**6)


def test_a_second_ctrl_c_is_obeyed_at_once() -> None:
    with Interrupts(patient=False) as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with Interrupts(patient=True) as interrupts:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.requested


def test_more_reading_processes_than_the_machine_could_run_are_refused(data_root: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^trainer\.workers=1000000: at most \d+ on a machine of \d+ cores; set trainer"
    ):
        fit(data_root, None, workers=10**6)


def test_an_empty_data_set_is_refused(data_root: Path) -> None:
    class Empty(AVVPFolder):
        def __len__(self) -> int:
            return 0

    with pytest.raises(ValueError, match="tiny train has no videos"):
        fit(data_root, None, train=Empty(data_root, "train"))


def test_nan_features_in_the_middle_of_an_epoch_are_named(data_root: Path, tmp_path: Path) -> None:
    class Spoiling(AVVPFolder):
        reads = 0

        def __getitem__(self, index: int) -> Video:
            self.reads += 1
            if self.reads == 4:
                for video in self.ids:
                    np.save(self.root / f"feats/vggish/{video}.npy", np.full((4, 6), np.nan))
            return super().__getitem__(index)

    with pytest.raises(
        ValueError, match=r"tr0\d\.npy: video 'tr0\d', stream 'audio' holds NaN or inf; .*epoch 1, step 1"
    ):
        fit(data_root, tmp_path / "cut", train=Spoiling(data_root, "train"))


def test_a_second_run_into_the_folder_is_refused_while_the_first_goes_on(data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    with FileLock(tmp_path / "run/.lock"):
        for on_existing in ("refuse", "resume", "overwrite"):
            with pytest.raises(FileExistsError, match=r"run: another process is training into it"):
                fit(data_root, tmp_path / "run", on_existing=on_existing)
    assert len(fit(data_root, tmp_path / "run", on_existing="resume").history) == 3


LIMITED = """
import resource, signal, sys
from pathlib import Path
from coleaf_framework.training.loop import TrainingLoop
from tests.helpers.training import fit
original = TrainingLoop.save
def save(loop):
    if len(loop.history) == 2:
        size = max(p.stat().st_size for p in Path(sys.argv[2]).iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
    original(loop)
TrainingLoop.save = save
fit(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_disk_that_fills_keeps_the_previous_checkpoint(data_root: Path, tmp_path: Path) -> None:
    """A file-size limit stands in for the full disk, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(data_root), str(tmp_path / "run")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "resume.safetensors could not be written: File too large; its previous content stays" in done.stderr
    assert len(resume_state(tmp_path / "run")["history"]) == 1
    assert {p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")} == {".lock"}
    assert same_weights(
        final(fit(data_root, tmp_path / "run", on_existing="resume"))[0], final(fit(data_root, None))[0]
    )


@pytest.mark.slow
def test_a_killed_process_leaves_no_lock(data_root: Path, tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; import sys; from tests.helpers.training import fit;"
        "fit(Path(sys.argv[1]), Path(sys.argv[2]), epochs=10**6)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(data_root), str(tmp_path / "run")])
    deadline, log = time.monotonic() + 60, tmp_path / "run/log.jsonl"
    # An epoch's line comes just before its checkpoint, so the second line says that the first epoch's is on disk.
    while not (log.exists() and log.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = len(resume_state(tmp_path / "run")["history"])
    assert done
    again = fit(data_root, tmp_path / "run", on_existing="resume", epochs=done + 1)
    assert same_weights(final(again)[0], final(fit(data_root, None, epochs=done + 1))[0])


def test_overwriting_a_run_leaves_what_its_links_point_to(tmp_path: Path) -> None:
    board, folder = tmp_path / "board", tmp_path / "run"
    for made in (board, folder):
        made.mkdir()
    (board / "events").write_text("somebody's")
    (folder / "tensorboard").symlink_to(board)
    (folder / "config.yaml").write_text("")
    RunFolder(folder, "overwrite").close()
    assert not (folder / "tensorboard").exists()
    assert (board / "events").read_text() == "somebody's"


def test_a_linked_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("somebody's")
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match=r"\.lock"):
        RunFolder(tmp_path)
    assert (tmp_path / "target").read_text() == "somebody's"


TRAIN = (
    sys.executable,
    "-m",
    "coleaf_framework",
    "train",
    "--set",
    "anchor.options.width=8",
    "--set",
    "trainer.workers=2",
)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals to a group")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_every_process_of_a_run_ends_it_with_a_checkpoint(
    data_root: Path, tmp_path: Path, number: int
) -> None:
    """As Ctrl-C in a terminal and schedulers do; processes that read videos get it too."""
    words = ("--data", data_root, "--out", tmp_path / "run", "--set", "trainer.epochs=1000000")
    process = subprocess.Popen([*TRAIN, *map(str, words)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline, log = time.monotonic() + 60, tmp_path / "run/log.jsonl"
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert f"\ncoleaf: interrupted; {tmp_path / 'run'} keeps, for --resume, everything up to " in said


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits open files")
@pytest.mark.parametrize("limit", [20, 32])
def test_too_few_open_files_are_told_in_a_sentence(data_root: Path, tmp_path: Path, limit: int) -> None:
    limited = ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "bash"]
    words = ("--data", data_root, "--out", tmp_path / "run", "--set", "trainer.epochs=1")
    done = subprocess.run([*limited, *TRAIN, *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    *_, said = done.stderr.strip().splitlines()  # the first warns of a training that ends within the warm-up
    assert re.fullmatch(r"coleaf: .*Too many open files for trainer\.workers=2; .*: raise the limit, as by `.*`", said)
