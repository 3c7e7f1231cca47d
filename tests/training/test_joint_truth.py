"""Training, and the commands that use a trained run, on data whose ground truth has only the columns AV."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from coleaf_framework import CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AveragedFrames
from coleaf_framework.experiments.planning import plan_grid
from coleaf_framework.experiments.studies import RATES, compare_study
from coleaf_framework.record.log import read_log
from coleaf_framework.results.predictions_file import read_predictions
from tests.helpers.command import Command
from tests.helpers.joint import TinyJoint, TinyWithScores, open_as

EXISTING = ["segment/AV", "event/AV", "support/segment/AV", "support/event/AV"]
REFUSED = "'segment/A': tiny-joint val has no such column, since its ground truth does not tell audible from visible"
TINY = ("--set", "trainer.epochs=2", "--set", "trainer.device=cpu", "--set", "anchor.options.width=8")


def trainer(out: Path | None = None, on_existing: Any = "refuse", **settings: Any) -> CoLeaFTrainer:
    torch.manual_seed(0)
    model = wrap("han", streams=TinyJoint.streams, num_classes=3, anchor_options={"width": 8})
    config = TrainerConfig(**({"epochs": 2, "batch_size": 3, "device": "cpu"} | settings))
    return CoLeaFTrainer(model, config, out=out, on_existing=on_existing, quiet=True)


def test_the_default_monitor_is_of_av_and_the_run_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = trainer(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        history = made.fit(TinyJoint(), TinyJoint("val"))
    assert (
        caplog.messages.count(
            "trainer.monitor is support/segment/AV, support/event/AV: the columns of its default do not exist for the "
            "ground truth of tiny-joint val"
        )
        == 1
    )
    recorded = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert recorded["trainer"]["monitor"] == ["support/segment/AV", "support/event/AV"]
    for entry in history:
        assert list(entry["val"]) == EXISTING
        expected = (entry["val"]["support/segment/AV"] + entry["val"]["support/event/AV"]) / 2
        assert entry["monitor"] == pytest.approx(expected)
    assert [list(entry["val"]) for entry in read_log(tmp_path / "run/log.jsonl")] == [EXISTING, EXISTING]


def test_a_run_with_the_replaced_default_is_resumed(tmp_path: Path) -> None:
    trainer(tmp_path / "run").fit(TinyJoint(), TinyJoint("val"))
    more = trainer(tmp_path / "run", "resume", epochs=3)
    assert len(more.fit(TinyJoint(), TinyJoint("val"))) == 3


@pytest.mark.parametrize("monitor", [("segment/AV",), ()])
def test_a_monitor_that_exists_stays(monitor: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    made = trainer(monitor=monitor, epochs=1)
    made.fit(TinyJoint(), TinyJoint("val"))
    assert made.config.monitor == monitor
    assert "trainer.monitor" not in caplog.text


def test_another_monitor_that_does_not_exist_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"trainer.monitor {REFUSED}"):
        trainer(tmp_path / "run", monitor=("segment/AV", "segment/A")).fit(TinyJoint(), TinyJoint("val"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("segment_seconds", 0, "tiny-joint train: segment_seconds is 0.0, where a positive number of seconds was exp"),
        ("segment_seconds", math.nan, "tiny-joint train: segment_seconds is nan, where"),
        ("truth", "both", "tiny-joint train: truth is 'both', where one of modalities, joint was expected"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: Any, message: str) -> None:
    data = TinyJoint()
    setattr(data, name, value)
    with pytest.raises(ValueError, match=message):
        trainer().fit(data)


def test_predictions_carry_what_the_data_are_and_its_own_scores() -> None:
    data = TinyWithScores("val")
    predictions = trainer().predict(data)
    assert (predictions.segment_seconds, predictions.truth_kind) == (0.32, "joint")
    right = (predictions.decided() == predictions.known_truth)[predictions.mask].float().mean().item()
    assert predictions.further["right cells"] == pytest.approx(100 * right)
    assert predictions.trivial_further["empty parser"]["confidence"] == 0
    assert predictions.trivial_further["video-label parser"]["confidence"] == 100
    share = (predictions.trivial()["video-label parser"] == predictions.known_truth)[predictions.mask].float().mean()
    assert predictions.trivial_further["video-label parser"]["right cells"] == pytest.approx(100 * share.item())
    text = str(predictions.evaluation())
    assert "Scores of this data set, in percent" in text
    assert "right cells" in text


def test_averaged_frames_keep_what_the_data_are() -> None:
    model = wrap("han", streams=AveragedFrames(TinyJoint()).streams, num_classes=3, anchor_options={"width": 8})
    made = CoLeaFTrainer(model, TrainerConfig(device="cpu"), quiet=True)
    predictions = made.predict(AveragedFrames(TinyWithScores("val")))
    assert set(predictions.further) == {"right cells", "confidence"}
    assert (predictions.segment_seconds, predictions.truth_kind) == (0.32, "joint")
    assert made.predict(AveragedFrames(TinyJoint("val"))).further == {}


def test_own_scores_of_another_form_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TinyWithScores("val")
    monkeypatch.setattr(data, "further_scores", lambda parsed: {"mAP": "high"})
    with pytest.raises(TypeError, match=r"tiny-joint: further_scores gave \{'mAP': 'high'\}, where name -> number was"):
        trainer().predict(data)


@pytest.fixture
def run(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trained run on the tiny data set, with its own scores."""
    data = open_as(monkeypatch, TinyWithScores)
    for seed in (0, 1):
        coleaf(
            "train", "--data", data, "--anchor", "han", "--out", f"run{seed}", *TINY, "--set", f"trainer.seed={seed}"
        )
    return Path("run0")


def test_evaluate_prints_existing_columns_and_own_scores(coleaf: Command, run: Path, tmp_path: Path) -> None:
    printed = coleaf("evaluate", run, "run1", "--split", "test", "--json", "scores.json")
    for text in (*EXISTING, "right cells", "Scores of this data set", "empty parser", "video-label parser", " ± "):
        assert text in printed
    assert "Type@" not in printed
    content = json.loads((tmp_path / "scores.json").read_text())
    assert list(content["runs"]["run0"]) == EXISTING
    assert set(content["further"]["run1"]) == {"right cells", "confidence"}
    markdown = coleaf("evaluate", run, "--split", "test", "--markdown")
    assert "|  | right cells | confidence |" in markdown


def test_predict_writes_seconds_and_the_report_is_made_of_it(coleaf: Command, run: Path, tmp_path: Path) -> None:
    coleaf("predict", run, "--split", "test", "--set", "decision.segment_threshold=0.1",
           "--set", "decision.gate_threshold=0.1")  # fmt: skip
    videos = json.loads((tmp_path / "run0/predictions-test.json").read_text())["videos"]
    assert [video["seconds"] for video in videos.values()] == [1.28, 1.6, 1.92] * 2
    truth = videos["test0"]["ground_truth"]
    assert [(e["onset"], e["offset"], e["modality"]) for e in truth] == [(0.32, 1.28, "audible-visible")]
    kept = read_predictions(tmp_path / "run0", "test")
    assert set(kept.further) == {"right cells", "confidence"}
    assert "AV on tiny-joint test" in coleaf("report", run, "--out", "page.html")
    coleaf("plot", "run0/predictions-test.json", "--video", "test0", "--out", "picture.svg")


def test_thresholds_maximise_av(coleaf: Command, run: Path) -> None:
    assert "event/AV on tiny-joint val: " in coleaf("thresholds", run)
    assert f"column {REFUSED}" in coleaf("thresholds", run, "--column", "segment/A", fails=True)


def test_a_grid_is_refused_before_it_trains(coleaf: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = open_as(monkeypatch, TinyJoint)
    for command, sentence in (
        (("compare", "--column", "segment/A"), f"--column {REFUSED}"),
        (("rates",), "coleaf rates counts types of events, which tiny-joint val does not have: its ground truth"),
        (("compare", "--set", "trainer.monitor=[segment/A]"), f"han alone: trainer.monitor {REFUSED}"),
    ):
        failed = coleaf(
            *command, "--data", data, "--anchors", "han", "--split", "val", "--out", "grid", *TINY, fails=True
        )
        assert sentence in failed
    assert not (tmp_path / "grid").exists()


def test_a_grid_on_such_data_is_planned_and_says_its_monitor_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = open_as(monkeypatch, TinyJoint)
    settings = ("anchor.options.width=8", "trainer.epochs=1")
    grid = plan_grid(compare_study(), ["han"], 1, tmp_path, data=data, settings=settings, column="segment/AV")
    assert len(grid.cells) == 2
    assert caplog.text.count("trainer.monitor is support/segment/AV, support/event/AV") == 1
    with pytest.raises(ValueError, match="coleaf rates counts types of events"):
        plan_grid(RATES, ["han"], 1, tmp_path, data=data, settings=settings)
