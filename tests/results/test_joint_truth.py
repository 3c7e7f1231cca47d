"""Ground truth that does not tell audible from visible events: only the columns AV exist, and nothing shows others."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from coleaf_framework.experiments.comparing import Group, compare_groups
from coleaf_framework.experiments.grid import ALONE, COLEAF, Cell, Grid
from coleaf_framework.experiments.studies import RATES, compare_study
from coleaf_framework.experiments.type_rates import rates_table
from coleaf_framework.metrics import ALL_KEYS, all_scores
from coleaf_framework.metrics.intervals import holm
from coleaf_framework.record.config import RunConfig
from coleaf_framework.report.runs import Report
from coleaf_framework.results.columns import columns_of, primary_column, require_column
from coleaf_framework.results.comparison import Comparison, compare_runs
from coleaf_framework.results.event_types import types_table
from coleaf_framework.results.predictions import require_same_videos
from coleaf_framework.results.predictions_file import read_predictions
from coleaf_framework.results.rows import Member
from coleaf_framework.results.selection import select_thresholds
from coleaf_framework.results.tables import JOINT_LEGEND, LEGEND, score_table
from coleaf_framework.storage import parse_state, write_state
from tests.helpers.predictions import joint, made_up, write_run

EXISTING = ("segment/AV", "event/AV", "support/segment/AV", "support/event/AV")
# What no text about such data may hold: the names of the other columns, and the paper's rows.
FORBIDDEN = re.compile(r"(Type@|Event@|T@|E@|PAPER|/A\b|/V\b|/Ao\b|/Vo\b|\bAo\b|\bVo\b)")


def compared() -> Comparison:
    groups = {"HAN": [Member("a0", 0, joint(1)), Member("a1", 1, joint(2))]}
    groups["HAN in CoLeaF"] = [Member("b0", 0, joint(3)), Member("b1", 1, joint(4))]
    return compare_runs("?", groups)


def test_columns_that_need_one_modality_s_truth_do_not_exist() -> None:
    assert columns_of("joint") == EXISTING
    assert columns_of("modalities") == ALL_KEYS
    assert primary_column("joint") == "support/segment/AV"


def test_the_scores_are_those_of_av_alone() -> None:
    predictions = joint(1)
    expected = all_scores(predictions.decided(), predictions.known_truth)
    assert predictions.scores() == {column: expected[column] for column in EXISTING}
    assert all(tuple(scores) == EXISTING for scores in predictions.trivial_scores().values())


def test_a_column_that_does_not_exist_is_no_column_of_an_evaluation() -> None:
    evaluation = joint(1).evaluation()
    assert evaluation["segment/AV"] == evaluation.scores["segment/AV"]
    with pytest.raises(KeyError, match="made-up val has no column 'segment/A'; it has segment/AV, event/AV"):
        evaluation["segment/A"]
    assert not FORBIDDEN.search(str(evaluation))


@pytest.mark.parametrize("markdown", [False, True])
def test_a_table_has_one_block_and_says_why(markdown: bool) -> None:
    table = score_table({"HAN": joint(1).scores()}, "?", markdown=markdown)
    for column in EXISTING:
        assert column in table
    assert "All annotated events are audible and visible" in table
    assert not FORBIDDEN.search(table)


def test_the_legend_of_other_data_stays() -> None:
    assert LEGEND.startswith("T@ and E@ are Type@ and Event@. Support-only: over the videos that have events of the ")
    assert LEGEND in score_table({"HAN": made_up(1).scores()}, "?", markdown=True)
    assert "T@" not in JOINT_LEGEND


def test_a_comparison_shows_existing_columns_alone() -> None:
    found = compared()
    assert found.columns == EXISTING
    assert found.column == "support/segment/AV"
    assert "Conclusion, in support/segment/AV on made-up val" in found.conclusion
    for text in (found.table(), found.table(markdown=True), found.as_csv(), found.as_json()):
        assert not FORBIDDEN.search(text)
    lines = list(csv.DictReader(io.StringIO(found.as_csv())))
    assert {line["column"] for line in lines} == set(EXISTING)
    content = json.loads(found.as_json())
    assert tuple(content["by_run"]["a0"]) == EXISTING
    assert tuple(content["differences"]["HAN in CoLeaF less HAN"]) == EXISTING


def test_holm_s_correction_is_over_the_existing_columns() -> None:
    """Right everywhere against right in most videos: p is the same in all columns, enough for 4 tests, not for 36."""
    base = joint(1, videos=40)
    certain = replace(base, video_probs=torch.ones_like(base.video_probs))
    keep = torch.rand(40, generator=torch.Generator().manual_seed(3)) < 0.8
    knowing = replace(certain, segment_probs=base.known_truth.float())
    partly = replace(certain, segment_probs=base.known_truth.float() * keep[:, None, None, None])
    found = compare_runs("?", {"partly": [Member("a", 0, partly)], "knowing": [Member("b", 0, knowing)]})
    cells = {name: texts for name, texts, kind in found.cells() if kind == "difference"}["knowing less partly"]
    assert all(cells[column].endswith("**") for column in EXISTING)
    assert not any(holm(found.pairs[0].difference.p.tolist()))


def paper_grid(folder: Path, kind: Any) -> tuple[Grid, list[Group]]:
    cells = [Cell("han", variant, 0, folder / variant.name, RunConfig()) for variant in (ALONE, COLEAF)]
    grid = Grid(compare_study(), ("han",), 1, tuple(cells), "val", folder, ())
    groups = [
        Group(f"HAN {cell.variant.label}", "han", cell.variant, (Member(cell.name, 0, kind(seed)),))
        for seed, cell in enumerate(cells)
    ]
    return grid, groups


def test_the_paper_s_numbers_are_never_beside_such_data(tmp_path: Path) -> None:
    found = compare_groups(*paper_grid(tmp_path, joint))
    assert found.paper == {}
    assert not FORBIDDEN.search(found.table())
    assert "PAPER, Table 5" in compare_groups(*paper_grid(tmp_path, made_up)).table()


def test_a_column_that_does_not_exist_is_refused_in_a_sentence(tmp_path: Path) -> None:
    sentence = (
        "'segment/A': made-up val has no such column, since its ground truth does not tell audible from visible "
        "events: take segment/AV or event/AV or support/segment/AV or support/event/AV"
    )
    with pytest.raises(ValueError, match=f"--column {sentence}"):
        compare_groups(*paper_grid(tmp_path, joint), column="segment/A")
    with pytest.raises(ValueError, match=f"^column {sentence}"):
        select_thresholds(joint(1), column="segment/A")
    with pytest.raises(ValueError, match=r"--column 'segment/AW': no such column. Did you mean 'segment/AV'\?"):
        require_column("segment/AW", truth="joint", where="x")


def test_rates_by_type_are_refused(tmp_path: Path) -> None:
    grid, groups = paper_grid(tmp_path, joint)
    with pytest.raises(ValueError, match="coleaf rates counts types of events, which made-up val does not have: its"):
        rates_table(replace(grid, study=RATES), groups)


def test_thresholds_are_chosen_by_event_av_where_none_is_named() -> None:
    assert select_thresholds(joint(1)).about["column"] == "event/AV"
    assert select_thresholds(made_up(1)).about["column"] == "event/V"
    chosen = select_thresholds(joint(1), column="support/segment/AV", modalities=("audio", "visual"), search="joint")
    assert chosen.chosen.after >= chosen.chosen.before


def test_events_are_taken_for_types_but_are_of_one_type() -> None:
    body = [line for line in types_table({"HAN": [joint(1)]}, markdown=True).splitlines() if line.startswith("| HAN")]
    assert len(body) == 1
    assert body[0].startswith("| HAN, audible-visible | ")
    types = {event.modality for video in joint(1).events() for event in video.ground_truth or ()}
    assert types == {"audible-visible"}


def test_events_are_in_seconds() -> None:
    predictions = joint(1)
    in_segments = replace(predictions, segment_seconds=1.0).events()
    for video, whole in zip(predictions.events(), in_segments, strict=True):
        assert video.seconds == round(0.32 * whole.seconds, 6)
        for events, others in ((video.events, whole.events), (video.ground_truth, whole.ground_truth)):
            assert [(e.label, e.onset, e.offset) for e in events or ()] == [
                (e.label, round(0.32 * e.onset, 6), round(0.32 * e.offset, 6)) for e in others or ()
            ]
            assert all(event.offset <= video.seconds for event in events or ())


def test_no_event_ends_after_its_video_by_rounding() -> None:
    for segments in (29, 185):
        whole = torch.ones(1, segments, 2, 3, dtype=torch.bool)
        predictions = joint(
            1, videos=1, segments=segments, truth=whole, mask=whole[:, :, 0, 0], segment_probs=whole.float()
        )
        video = predictions.events()[0]
        assert video.seconds == round(0.32 * segments, 2)
        assert video.ground_truth is not None
        assert {event.offset for event in video.ground_truth} == {video.seconds}


def test_what_the_data_are_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    scores = {"mAP": 12.5, "odd": math.nan}
    kept = replace(joint(1), further=scores, trivial_further={"empty parser": {"mAP": 0.0}})
    read = read_predictions(write_run(tmp_path / "run", kept), "val")
    assert (read.segment_seconds, read.truth_kind) == (0.32, "joint")
    assert read.further["mAP"] == 12.5
    assert math.isnan(read.further["odd"])
    assert read.trivial_further == kept.trivial_further


def test_an_older_file_is_of_segments_of_a_second_and_of_both_modalities(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", made_up(1))
    path = run / "predictions-val.safetensors"
    state = parse_state(path.read_bytes(), path)
    for name in ("segment_seconds", "truth_kind", "further", "trivial_further"):
        del state[name]
    write_state(path, state)
    read = read_predictions(run, "val")
    assert (read.segment_seconds, read.truth_kind, read.further) == (1.0, "modalities", {})


@pytest.mark.parametrize(("name", "value"), [("segment_seconds", 0.0), ("segment_seconds", math.nan),
                                             ("segment_seconds", math.inf), ("truth_kind", "both")])  # fmt: skip
def test_a_file_with_another_value_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    run = write_run(tmp_path / "run", made_up(1))
    path = run / "predictions-val.safetensors"
    write_state(path, parse_state(path.read_bytes(), path) | {name: value})
    with pytest.raises(ValueError, match=f"predictions-val.safetensors: not what `coleaf predict` keeps: {name}"):
        read_predictions(run, "val")


def test_runs_of_other_kinds_of_truth_or_lengths_of_segments_are_not_compared() -> None:
    one = joint(1)
    with pytest.raises(
        ValueError, match="a and b cannot be compared: their kinds of ground truth differ: joint and mo"
    ):
        require_same_videos([("a", one), ("b", replace(one, truth_kind="modalities"))])
    with pytest.raises(ValueError, match="a and b cannot be compared: their segments last 0.32 s and 1 s"):
        require_same_videos([("a", one), ("b", replace(one, segment_seconds=1.0))])


def test_figures_and_their_numbers_are_of_existing_columns(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, joint(seed), f"anchor: {{name: {name}}}\n")
        for seed, name in enumerate(("han", "cmpae"))
    ]
    report = Report(runs, "val")
    report.write_figures(tmp_path / "figures")
    assert "reliability" not in report.figures()
    numbers = json.loads((tmp_path / "figures/numbers.json").read_text())
    assert (numbers["class_columns"], numbers["true_types"]) == (["AV"], ["audible-visible"])
    for row in numbers["rows"].values():
        assert (len(row["class_scores"]), len(row["type_table"]), row["calibration"]) == (1, 1, {})
    for path in (tmp_path / "figures").glob("*.svg"):
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())
        assert texts
        assert not any(FORBIDDEN.search(text) for text in texts)
