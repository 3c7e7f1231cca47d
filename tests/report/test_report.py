"""Tables, pictures and prediction files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from coleaf_framework.metrics import KEYS, SUPPORT, Event
from coleaf_framework.metrics.analysis import Calibration
from coleaf_framework.report import figures
from coleaf_framework.report.pictures import loss_curves, save, timeline
from coleaf_framework.results.events_file import VideoEvents, read_video_events, write_events
from coleaf_framework.results.tables import plain_table, score_table

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
    video = VideoEvents("v1", 10.0, EVENTS, None)
    write_events(tmp_path / "p.json", "HAN", "LLP", "test", [video])
    assert read_video_events(tmp_path / "p.json", "v1") == ("HAN", video)


NASTY = "[/] :dog: a|b\\\n\x1b[31m\x00\udcff</text>"
SHOWN = r"[/] :dog: a|b\\n\x1b[31m\x00\udcff</text>"


def test_a_terminal_s_table_shows_any_name_as_it_is() -> None:
    assert f" {SHOWN} " in score_table({NASTY: SCORES}, NASTY)
    assert f" {SHOWN} " in plain_table(["", "x"], [[NASTY, NASTY]], NASTY)


@pytest.mark.parametrize(
    "table",
    [
        score_table({NASTY: SCORES, "HAN": SCORES}, NASTY, markdown=True),
        plain_table(["", NASTY], [[NASTY, "1"], ["HAN", NASTY]], NASTY, markdown=True),
    ],
)
def test_a_markdown_table_has_the_same_cells_in_each_row_whatever_the_names(table: str) -> None:
    blocks = [part.splitlines() for part in table.split("\n\n") if part.startswith("|")]
    bars = [[re.sub(r"\\.", "", line).count("|") for line in block] for block in blocks]
    assert bars
    assert all(len(set(block)) == 1 for block in bars)


CURVE = Calibration(torch.tensor([0.2, 0.8]), torch.tensor([0.1, 0.9]), torch.ones(2), 1.0)
HISTORY = [{"epoch": 1, "losses": {f"{NASTY}/{NASTY}": 1.0}, "theta": {"audio": 0.5, "visual": 0.5}}]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: timeline({NASTY: [Event(NASTY, "audible-only", 0.0, 3.0)]}, 10.0, NASTY),
        lambda: loss_curves({NASTY: HISTORY}),
        lambda: figures.theta_curves({NASTY: HISTORY}),
        lambda: figures.class_bars({NASTY: torch.ones(5, 2)}, [NASTY, "Dog"]),
        lambda: figures.type_tables({NASTY: torch.ones(4, 4)}),
        lambda: figures.reliability({NASTY: {"audio": CURVE}}),
        lambda: figures.intervals({NASTY: {"Ao": (1.0, 0.5, 2.0)}}),
    ],
)
@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_figure_takes_any_name(tmp_path: Path, draw: Callable[[], Any], ending: str) -> None:
    save(draw(), tmp_path / f"figure.{ending}")
    if ending == "svg":
        ElementTree.parse(tmp_path / "figure.svg")


def test_a_linked_picture_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("somebody's")
    (tmp_path / "t.png").symlink_to(tmp_path / "target")
    save(timeline({"HAN": EVENTS}, 10.0, "video"), tmp_path / "t.png")
    assert (tmp_path / "target").read_text() == "somebody's"
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_a_timeline_of_a_long_video_has_few_ticks() -> None:
    figure = timeline({"HAN": EVENTS}, 100_000.0, "video")
    assert len(figure.axes[0].get_xticks()) < 40


VIDEO: dict[str, Any] = {"seconds": 10.0, "events": [asdict(EVENTS[0])], "ground_truth": None}


def predictions(**changes: Any) -> str:
    return json.dumps({"parser": "HAN", "videos": {"v1": VIDEO | changes}})


def event(**changes: Any) -> str:
    return predictions(events=[asdict(EVENTS[0]) | changes])


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("{", "Expecting property name"),
        ("[]", "expected a mapping"),
        (json.dumps({"videos": {}}), "parser: Field required"),
        (json.dumps({"parser": "HAN", "videos": [VIDEO]}), "videos: Input should be a valid dictionary"),
        (json.dumps({"parser": 3, "videos": {}}), "parser: Input should be a valid string, got 3"),
        (json.dumps({"parser": "HAN", "videos": {"v1": None}}), "video 'v1': expected a mapping, got None"),
        ("[" * 100_000, "nested too deeply"),
        (predictions(seconds=math.nan), "video 'v1': seconds: Input should be a finite number, got nan"),
        (predictions(seconds="10"), "video 'v1': seconds: Input should be a valid number"),
        (predictions(seconds=1e300), "video 'v1': seconds: Input should be less than"),
        (predictions(events={}), "video 'v1': events: Input should be a valid list"),
        (predictions(events=[{"label": "Dog"}]), "video 'v1': events.0.modality: Field required"),
        (predictions(ground_truth=[None]), "video 'v1': ground_truth.0: expected a mapping"),
        (event(colour="red"), "video 'v1': events.0.colour: Extra inputs are not permitted"),
        (event(label=7), "video 'v1': events.0.label: Input should be a valid string, got 7"),
        (event(modality="audio"), "video 'v1': events.0.modality: Input should be 'audible-only', "),
        (event(onset=-1), "video 'v1': events.0.onset: Input should be greater than or equal to 0, got -1"),
        (event(offset=math.inf), "video 'v1': events.0.offset: Input should be a finite number"),
        (event(offset=0), "video 'v1': events.0: offset 0.0 is not after onset 0.0"),
        (event(offset=11), "video 'v1': an event ends at 11.0, after the video's 10.0 seconds"),
        (event(confidence=2), "video 'v1': events.0.confidence: Input should be less than or equal to 1"),
    ],
)
def test_something_else_than_predictions_is_named(tmp_path: Path, content: str, wrong: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"p.json: not a file that `coleaf predict` wrote: {wrong}")):
        read_video_events(tmp_path / "p.json", "v1")
