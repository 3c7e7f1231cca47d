"""Tables, pictures and prediction files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from coleaf_framework.metrics import KEYS, SUPPORT, Event
from coleaf_framework.report.pictures import loss_curves, save, timeline
from coleaf_framework.report.predictions import VideoPrediction, read_video, write_predictions
from coleaf_framework.report.tables import score_table

SCORES = {key: float(i) for i, key in enumerate((*KEYS, *(SUPPORT + key for key in KEYS)))}


def test_a_table_shows_every_column_of_every_parser() -> None:
    table = score_table({"HAN": SCORES, "empty parser": SCORES}, "LLP test")
    assert "LLP test" in table
    assert table.count("HAN") == table.count("empty parser") == 4
    for i in range(36):
        assert table.count(f" {i}.0 ") == 2


def test_a_table_is_never_cut() -> None:
    name = "a parser with a rather long name (3 seeds)"
    rows = {name: dict.fromkeys(SCORES, 100.0)}
    table = score_table(rows, "LLP test", {name: dict.fromkeys(SCORES, 10.0)})
    assert table.count("100.0 ± 10.0") == 36
    assert "…" not in table


def test_a_markdown_table_has_deviations_and_dashes_for_what_has_no_value() -> None:
    scores = SCORES | {"support/event/Vo": math.nan}
    table = score_table({"HAN": scores}, "LLP test", {"HAN": dict.fromkeys(SCORES, 0.5)}, markdown=True)
    assert "| HAN | 0.0 ± 0.5 | 1.0 ± 0.5 |" in table
    assert "| - |" in table
    assert "nan" not in table


EVENTS = [
    Event("Dog", "audible-only", 0.0, 3.0, 0.9),
    Event("Car", "audible-visible", 2.0, 5.0, 0.8),
    Event("Car", "visible-only", 5.0, 6.0, 0.7),
]


def test_a_timeline_has_an_audio_and_a_visual_row_for_each_parser(tmp_path: Path) -> None:
    save(timeline({"ground truth": EVENTS, "HAN": []}, 10.0, "video"), tmp_path / "t.svg")
    text = (tmp_path / "t.svg").read_text()
    for row in ("ground truth, audio", "ground truth, visual", "HAN, audio", "HAN, visual", "Dog", "Car"):
        assert row in text


@pytest.mark.filterwarnings("error")
def test_a_timeline_has_room_for_many_classes(tmp_path: Path) -> None:
    events = [Event(f"Some_long_class_name_{i}", "audible-visible", 0.0, 10.0) for i in range(25)]
    save(timeline({"HAN in CoLeaF": events}, 10.0, "video"), tmp_path / "t.png")
    assert (tmp_path / "t.png").exists()


def test_loss_curves_have_a_panel_for_each_branch(tmp_path: Path) -> None:
    history = [{"epoch": e, "losses": {"anchor/video": 1 / e, "reference/video": 2 / e}} for e in (1, 2, 3)]
    save(loss_curves({"HAN in CoLeaF": history}), tmp_path / "l.svg")
    text = (tmp_path / "l.svg").read_text()
    assert "HAN in CoLeaF: anchor" in text
    assert "HAN in CoLeaF: reference" in text


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    video = VideoPrediction("v1", 10.0, EVENTS, None)
    write_predictions(tmp_path / "p.json", "HAN", "LLP", "test", [video])
    assert read_video(tmp_path / "p.json", "v1") == ("HAN", video)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"videos": {}})])
def test_something_else_than_predictions_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ValueError, match=r"p\.json: not a file that `coleaf predict` wrote"):
        read_video(tmp_path / "p.json", "v1")
