"""Trainings that are followed: what trackers are told, and that it changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder
from coleaf_framework.storage import read_yaml, write_yaml
from coleaf_framework.tracking import STATE, Trackers
from coleaf_framework.training.losslog import LossLog
from coleaf_framework.training.timelines import chosen_videos
from coleaf_framework.training.tracked import TrackedTraining, numbers_of
from tests.helpers.tracking import Other, Recorder, run_of
from tests.helpers.training import FAST, PAST, SMALL, Interrupted, interrupt_at, same_weights

pytest.importorskip("matplotlib", reason="needs the extra `plot`")
ROOT = Path(__file__).parents[2]


def train(
    data_root: Path, out: Path | None, *trackers: Any, epochs: int = 2, on_existing: Any = "refuse", **settings: Any
) -> CoLeaFTrainer:
    """HAN with dropout, three steps an epoch."""
    data = AVVPFolder(data_root, "train")
    torch.manual_seed(0)
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options=SMALL, config=CoLeaFConfig(**PAST))
    config = TrainerConfig(**(FAST | {"epochs": epochs, "batch_size": 2} | settings))
    made = CoLeaFTrainer(
        model, config, out=out, on_existing=on_existing, quiet=True, trackers=list(trackers), group="study"
    )
    made.fit(data, AVVPFolder(data_root, "val"))
    return made


def test_a_tracked_run_has_the_very_weights_of_one_that_is_not(data_root: Path, tmp_path: Path) -> None:
    whole = train(data_root, tmp_path / "a", epochs=3, anchor_ema=0.9)
    plain = torch.rand(3)
    tracked = train(data_root, tmp_path / "b", Recorder(), epochs=3, anchor_ema=0.9)
    assert torch.equal(torch.rand(3), plain)  # nor is the random state another afterwards
    assert same_weights(tracked.model.state_dict(), whole.model.state_dict())
    assert [entry["losses"] for entry in tracked.history] == [entry["losses"] for entry in whole.history]


def test_trackers_are_told_of_every_epoch(data_root: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = train(data_root, tmp_path / "run", recorder)
    (run,) = recorder.runs
    assert (run.name, run.group, run.project, run.folder) == ("run", "study", None, tmp_path / "run")
    assert recorder.epochs == [1, 2]
    for entry in trainer.history:
        values = recorder.values[entry["epoch"]]
        assert values["loss/total"] == pytest.approx(sum(entry["losses"].values()))
        assert {name for name in values if name.startswith("loss/anchor/")}
        assert values["val/support/segment/Type@AVo"] == pytest.approx(
            entry["val"]["support/segment/Type@AVo"], nan_ok=True
        )
        assert values["monitor"] == entry["monitor"]
        assert values["learning_rate"] == 5e-4
        assert {"seconds", "best_epoch", "theta/audio", "theta/visual"} <= values.keys()
    assert recorder.pictures == [(epoch, f"timeline/va{i:02d}") for epoch in (1, 2) for i in (0, 1)]
    assert recorder.status == ["finished"]


def test_hyperparameters_are_the_record_without_folders(data_root: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    train(data_root, tmp_path / "run", recorder)
    values = recorder.runs[0].hyperparameters
    assert (values["trainer.epochs"], values["anchor.options.width"], values["train.videos"]) == (2, 8, 6)
    assert {"versions.torch", "made_of.data.train.annotations", "decision.segment_threshold"} <= values.keys()
    assert not [x for x in values.values() if isinstance(x, str) and str(tmp_path) in x]


def test_the_table_compares_the_best_epoch_to_the_trivial_parsers(data_root: Path) -> None:
    recorder = Recorder()
    trainer = train(data_root, None, recorder)
    columns, rows = recorder.tables["validation"]
    evaluation = trainer.evaluate(AVVPFolder(data_root, "val"))
    assert columns[0] == "parser"
    assert "support/segment/Type@AVo" in columns
    assert [row[0] for row in rows[1:]] == ["empty parser", "video-label parser"]
    for row, scores in zip(rows, evaluation.rows().values(), strict=True):
        for column, value in zip(columns[1:], row[1:], strict=True):
            assert value == pytest.approx(scores[column], nan_ok=True), column


def test_videos_with_two_types_of_events_are_drawn_first(data_root: Path) -> None:
    """Events of the first and third video are heard and seen, those of the second are heard alone."""
    val = AVVPFolder(data_root, "val")
    lines = (data_root / "AVVP_eval_audio.csv").read_text().splitlines()
    (data_root / "AVVP_eval_audio.csv").write_text("\n".join([*lines, "va02_0_4\t0\t1\tDog"]) + "\n")
    assert chosen_videos(AVVPFolder(data_root, "val"), 1) == [2]
    assert chosen_videos(AVVPFolder(data_root, "val"), 2) == [0, 2]
    assert chosen_videos(val, 9) == [0, 1, 2]


@pytest.mark.parametrize("fails", [[1], [2]])
def test_a_tracker_that_fails_does_not_cost_the_training(
    data_root: Path, tmp_path: Path, fails: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    other = Other()
    trainer = train(data_root, tmp_path / "run", Recorder(fails=fails), other)
    assert len(trainer.history) == 2
    assert other.epochs == [1, 2]
    assert f"Recorder failed at epoch {fails[0]}" in caplog.text


def test_timelines_that_cannot_be_drawn_do_not_cost_the_training(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("coleaf_framework.training.timelines.timeline", broken)
    recorder = Recorder()
    train(data_root, None, recorder)
    assert (recorder.epochs, recorder.pictures) == ([1, 2], [])
    assert [r.getMessage() for r in caplog.records if "no timelines from epoch 1 on" in r.getMessage()]


def test_a_tracker_that_cannot_start_leaves_the_folder_free(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Recorder cannot start: RuntimeError: no such project"):
        train(data_root, tmp_path / "run", Recorder(fails=[0]))
    assert len(train(data_root, tmp_path / "run", Recorder()).history) == 2


def test_a_missing_library_is_said_before_anything_is_written(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"tracker wandb needs wandb: pip install 'coleaf-framework\[wandb\]'"):
        train(data_root, tmp_path / "run", "wandb")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"trainer.tracked_videos above 0 needs matplotlib.*\[plot\]"):
        train(data_root, tmp_path / "run", Recorder())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("step", [1, 4])
def test_a_resumed_run_is_one_tracked_run(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    first, again = Recorder(), Recorder()
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            train(data_root, tmp_path / "run", first)
    train(data_root, tmp_path / "run", again, on_existing="resume")
    assert first.status == ["failed"]
    assert again.status == ["finished"]
    assert again.runs[0].begun == {"id": "first"}
    assert first.epochs + again.epochs == [1, 2]
    done = Recorder()
    train(data_root, tmp_path / "run", done, on_existing="resume")
    assert done.runs == []  # all was told


def test_a_run_that_is_stopped_while_it_tells_of_former_epochs_says_so() -> None:
    class Stopped(Recorder):
        def scalars(self, epoch: int, values: Any) -> None:
            raise KeyboardInterrupt

    recorder = Stopped()
    tracked = TrackedTraining(Trackers({"Stopped": recorder}, None), "HAN", measure=False, timelines=None)
    before = {"epoch": 1, "lr": 0.5, "seconds": 1.0, "losses": {}}
    with pytest.raises(KeyboardInterrupt), tracked.running(run_of(), [before], resuming=True):
        pass
    assert recorder.status == ["interrupted"]


def test_a_run_that_was_stopped_says_so(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LossLog, "add", stopped)
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(data_root, tmp_path / "run", recorder)
    assert recorder.status == ["interrupted"]


def test_trackers_may_change_when_a_run_goes_on(data_root: Path, tmp_path: Path) -> None:
    train(data_root, tmp_path / "run", epochs=1)
    late = Recorder()
    train(data_root, tmp_path / "run", late, on_existing="resume", project="other", tracked_videos=0)
    assert (late.epochs, late.pictures, late.runs[0].project) == ([1, 2], [], "other")


def test_overwriting_a_run_forgets_the_tracked_one(data_root: Path, tmp_path: Path) -> None:
    train(data_root, tmp_path / "run", Recorder(), epochs=1)
    (tmp_path / "run/wandb").mkdir()
    train(data_root, tmp_path / "run", epochs=1, on_existing="overwrite")
    assert not (tmp_path / "run" / STATE).exists()
    assert not (tmp_path / "run/wandb").exists()


@pytest.mark.parametrize(("before", "after"), [(True, ["tensorboard"]), (False, [])])
def test_a_run_recorded_with_the_former_key_goes_on(
    data_root: Path, tmp_path: Path, before: bool, after: list[str]
) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    train(data_root, tmp_path / "run", epochs=1)
    record = read_yaml(tmp_path / "run/config.yaml")
    for key in ("trackers", "project", "tracked_videos"):
        del record["trainer"][key]
    record["trainer"]["tensorboard"] = before
    write_yaml(tmp_path / "run/config.yaml", record)
    train(data_root, tmp_path / "run", *after, on_existing="resume")
    trainer = read_yaml(tmp_path / "run/config.yaml")["trainer"]
    assert "tensorboard" not in trainer
    assert list(trainer["trackers"]) == after


def test_groups_of_several_learning_rates_are_told() -> None:
    entry = {"epoch": 1, "lr": 0.5, "lrs": [0.5, 0.1], "seconds": 1.0, "losses": {}}
    assert numbers_of(entry)["learning_rate_2"] == 0.1


RANKS = """
import os, sys
from pathlib import Path
from tests.helpers.tracking import Recorder
from tests.helpers.training import fit
recorder = Recorder()
fit(Path(sys.argv[1]), Path(sys.argv[2]) / "run", trackers=[recorder], epochs=2)
rows = [row[0] for row in recorder.tables.get("validation", ((), ()))[1]]
Path(sys.argv[2], os.environ["RANK"]).write_text(f"{recorder.epochs} {len(recorder.pictures)} {rows}")
"""


@pytest.mark.slow
def test_only_the_first_rank_tells(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run(
        [*command, str(tmp_path / "worker.py"), str(data_root), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert (tmp_path / "1").read_text() == "[] 0 []"
    first = (tmp_path / "0").read_text()
    assert first.startswith("[1, 2] 4 [")
    assert "'empty parser', 'video-label parser'" in first
