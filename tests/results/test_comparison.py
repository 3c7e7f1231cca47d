"""Comparisons of runs with made-up predictions."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coleaf_framework.metrics import ALL_KEYS, DecisionConfig, all_scores
from coleaf_framework.metrics.analysis import calibration
from coleaf_framework.report.runs import Report, mean_history
from coleaf_framework.results.comparison import compare_runs
from coleaf_framework.results.event_types import types_table
from coleaf_framework.results.predictions import Predictions, require_same_videos
from coleaf_framework.results.predictions_file import read_predictions
from coleaf_framework.results.rows import Member
from tests.helpers.predictions import made_up, write_run


def members(*predictions: Predictions, seed: int = 0) -> list[Member]:
    """Runs of successive seeds."""
    return [Member(f"{x.parser}{seed + i}", seed + i, x) for i, x in enumerate(predictions)]


def certain(predictions: Predictions, events: torch.Tensor) -> Predictions:
    """Answers that decide on exactly these events."""
    probs = events.float()
    return replace(predictions, segment_probs=probs, video_probs=torch.ones_like(predictions.video_probs))


def test_rows_are_means_over_seeds_of_what_each_run_scores() -> None:
    runs = [made_up(1), made_up(2)]
    row = compare_runs("?", {"HAN": members(*runs)}).rows[0]
    each = [all_scores(predictions.decided(), predictions.truth) for predictions in runs]
    assert row.means() == pytest.approx({key: (each[0][key] + each[1][key]) / 2 for key in ALL_KEYS})
    spread = {key: abs(each[0][key] - each[1][key]) / 2**0.5 for key in ALL_KEYS}
    assert row.deviations() == pytest.approx(spread, abs=1e-9)


def test_a_gain_that_every_video_shows_is_more_than_chance() -> None:
    base = made_up(1, videos=30)
    silent, knowing = certain(base, torch.zeros_like(base.truth)), certain(base, base.truth)
    found = compare_runs("?", {"silent": members(silent), "knowing": members(knowing)})
    gain = "knowing less silent: +100.0 points (95 % interval +100.0 to +100.0)"
    assert f"{gain}, more than the choice of videos would explain" in found.conclusion
    assert "1 seed says little of other seeds" in found.conclusion


def test_no_gain_is_not_called_one() -> None:
    found = compare_runs("?", {"one": members(made_up(1)), "same": members(made_up(1))})
    assert (
        "same less one: +0.0 points (95 % interval +0.0 to +0.0), which the choice of videos may explain"
        in found.conclusion
    )
    assert "more than" not in found.conclusion


def test_the_empty_parser_above_a_run_is_said() -> None:
    base = made_up(1)
    rare = replace(base, truth=base.truth & (torch.arange(6) == 0)[:, None, None, None])
    found = compare_runs("?", {"loud": members(certain(rare, base.mask[:, :, None, None].expand(-1, -1, 2, 3)))})
    assert "loud has " in found.conclusion
    assert "with nothing to compare it to" in found.conclusion
    assert "in segment/Type@AVo the empty parser, with " in found.conclusion
    assert "is above every row" in found.conclusion


def test_only_the_same_seeds_are_paired() -> None:
    groups = {
        "two": members(made_up(1), made_up(2)),
        "one": members(made_up(3)),
        "late": members(made_up(4), made_up(5), seed=1),
    }
    found = compare_runs("?", groups)
    assert found.pairs == ()
    assert found.notes == (
        "one has the seeds 0 and two 0,1, so they are not paired",
        "late has the seeds 1,2 and two 0,1, so they are not paired",
    )


def test_pairs_are_made_by_seed_in_whatever_order_runs_are_named() -> None:
    control, treated = members(made_up(1), made_up(2)), members(made_up(3), made_up(4))
    one = compare_runs("?", {"a": control, "b": treated}).pairs[0].difference
    other = compare_runs("?", {"a": control, "b": treated[::-1]}).pairs[0].difference
    assert torch.equal(one.low.nan_to_num(), other.low.nan_to_num())


def test_a_seed_counts_once() -> None:
    with pytest.raises(ValueError, match="a and b are the same training from the same seed 3: name one of them"):
        compare_runs("?", {"HAN": [Member("a", 3, made_up(1)), Member("b", 3, made_up(1))]})


def test_a_deviation_is_over_the_seeds_that_have_a_value() -> None:
    base = made_up(1)
    nothing = replace(base, truth=torch.zeros_like(base.truth))
    silent = certain(nothing, torch.zeros_like(base.truth))
    loud = [
        certain(nothing, base.mask[:, :, None, None].expand(-1, -1, 2, 3) & (torch.rand(6, 5, 2, 3) < p))
        for p in (0.3, 0.9)
    ]
    row = compare_runs("?", {"x": members(silent, *loud)})
    assert not any("nan" in text for _, texts, _ in row.cells() for text in texts.values())
    assert row.rows[0].by_seed.isnan().any()
    assert row.rows[0].deviations()["support/segment/A"] == 0.0  # type: ignore[index]
    assert "nan" not in row.table()


def test_a_row_in_coleaf_is_compared_to_the_same_anchor_alone() -> None:
    names = ("HAN", "CMPAE", "HAN in CoLeaF", "CMPAE in CoLeaF")
    found = compare_runs("?", {name: members(made_up(seed)) for seed, name in enumerate(names)})
    assert [pair.name for pair in found.pairs] == [
        "CMPAE less HAN",
        "HAN in CoLeaF less HAN",
        "CMPAE in CoLeaF less CMPAE",
    ]


def test_csv_and_json_say_what_the_table_says() -> None:
    found = compare_runs("?", {"HAN": members(made_up(1)), "other": members(made_up(2))})
    lines = list(csv.DictReader(io.StringIO(found.as_csv())))
    content = json.loads(found.as_json())
    for line in lines:
        if line["row"] == "other less HAN" and line["value"]:
            difference = content["differences"]["other less HAN"][line["column"]]
            assert [float(line[k]) for k in ("value", "low", "high")] == pytest.approx(
                [difference[k] for k in ("value", "low", "high")], abs=1e-4
            )
    assert {line["row"] for line in lines} == {"HAN", "other", "other less HAN", "empty parser", "video-label parser"}
    assert f"{content['rows']['HAN']['mean']['segment/A']:.1f}" in found.table(markdown=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("Dog", "Car", "Cat")}, "class lists differ: 'Speech' is in one alone"),
        ({"classes": ("Dog", "Speech", "Car")}, "class lists differ: one is in another order"),
        (
            {"ids": tuple(f"other{n}" for n in range(6)), "data": "LLP"},
            "videos differ: 6 of made-up val and 6 of LLP val",
        ),
        ({"truth": torch.zeros(6, 5, 2, 3, dtype=torch.bool)}, "ground truth differs"),
    ],
)
def test_runs_of_different_data_are_not_compared(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"a and b cannot be compared: their {message}"):
        require_same_videos([("a", made_up(1)), ("b", made_up(2, **changes))])


def test_predictions_come_back_as_they_were_kept(tmp_path: Path) -> None:
    predictions = made_up(1)
    read = read_predictions(write_run(tmp_path / "run", predictions), "val")
    for name, value in vars(predictions).items():
        same = (
            torch.equal(value, getattr(read, name)) if isinstance(value, torch.Tensor) else value == getattr(read, name)
        )
        assert same, name


def test_predictions_of_other_weights_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", made_up(1))
    (run / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(
        ValueError, match=r"predictions of other weights than those in the folder now: run `coleaf predict"
    ):
        read_predictions(run, "val")
    (run / "predictions-val.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(ValueError, match=r"predictions-val.safetensors: damaged"):
        read_predictions(run, "val")


def test_a_run_without_predictions_is_told_how_to_make_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", made_up(1))
    with pytest.raises(
        FileNotFoundError, match=r"run: has no predictions of split 'test': run `coleaf predict .*run --split test`"
    ):
        Report([run], "test")
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        Report([tmp_path / "nothing"], "val")
    with pytest.raises(ValueError, match="named twice"):
        Report([run, run], "val")


def test_runs_that_differ_in_their_seed_share_a_row(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"{name}{seed}", made_up(seed), f"anchor: {{name: {name}}}\ntrainer: {{seed: {seed}}}\n")
        for name in ("han", "cmpae")
        for seed in (0, 1)
    ]
    report = Report(runs, "val")
    assert list(report.rows) == ["HAN (han0)", "HAN (cmpae0)"]
    assert [pair.name for pair in report.comparison.pairs] == ["HAN (cmpae0) less HAN (han0)"]
    assert report.comparison.pairs[0].difference.seeds == 2


def test_other_networks_are_other_rows_and_other_thresholds_too(tmp_path: Path) -> None:
    model = "model: {anchor_class: 'a:%s'}\nanchor: {name: null}\ntrain: {}\n"
    runs = [
        write_run(tmp_path / "one", made_up(1, parser="Net"), model % "Net"),
        write_run(tmp_path / "two", made_up(2, parser="Net"), model % "Net2"),
        write_run(
            tmp_path / "three", made_up(1, parser="Net", decision=DecisionConfig(gate_threshold=0.4)), model % "Net"
        ),
    ]
    assert list(Report(runs, "val").rows) == ["Net (one)", "Net (two)", "Net (three)"]
    copy = write_run(tmp_path / "copy", made_up(1, parser="Net"), model % "Net")
    with pytest.raises(ValueError, match="one and .*copy are the same training from the same seed 0"):
        Report([runs[0], copy], "val")


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"epoch": 1}', b'{"epoch": 1, "losses": {"a": null}}', b"\xff",
             b'{"epoch": 1, "losses": {}, "theta": {"audio": 1}}']
)  # fmt: skip
def test_a_damaged_log_is_named(tmp_path: Path, line: bytes) -> None:
    run = write_run(tmp_path / "a", made_up(1))
    (run / "log.jsonl").write_bytes(b'{"epoch": 1, "losses": {"a": 1.0}}\n' + line + b"\n")
    with pytest.raises(ValueError, match=r"log.jsonl, line 2: not an epoch that training logged"):
        mean_history([run])


def test_calibration_is_of_each_modality(tmp_path: Path) -> None:
    predictions = made_up(1)
    both = Report([write_run(tmp_path / "a", predictions)], "val").numbers["HAN"]["calibration"]
    for m, modality in enumerate(("audio", "visual")):
        expected = calibration(predictions.segment_probs[:, :, m], predictions.truth[:, :, m], predictions.mask)
        assert both[modality].error == expected.error


def test_histories_are_means_over_seeds_as_far_as_all_went(tmp_path: Path) -> None:
    lines = ['{"epoch": 1, "losses": {"anchor/video": %s}}\n', '{"epoch": 2, "losses": {"anchor/video": %s}}\n']
    one = write_run(tmp_path / "a", made_up(1), log=lines[0] % 2 + lines[1] % 1)
    other = write_run(tmp_path / "b", made_up(1), log=lines[0] % 4)
    none = write_run(tmp_path / "c", made_up(1))
    assert mean_history([one, other, none]) == [{"epoch": 1, "losses": {"anchor/video": 3.0}}]
    (none / "log.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"log.jsonl, line 1: not an epoch that training logged"):
        mean_history([none])


def test_what_events_were_taken_for_adds_up_over_seeds() -> None:
    """Two runs on one video of two segments: heard only, then both; missed half of the time, and once mistaken."""
    truth = torch.zeros(1, 2, 2, 3, dtype=torch.bool)
    truth[0, 0, 0, 0] = truth[0, 1, :, 0] = True
    said = [torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)]
    said[0][0, 0, 0, 0] = said[1][0, 0, :, 0] = said[0][0, 1, 1, 0] = 1.0
    always = DecisionConfig(gate="modality", gate_threshold=0.0)
    runs = [
        made_up(0, videos=1, segments=2, truth=truth, labels=truth.any((1, 2)).float(), segment_probs=probs,
                mask=torch.ones(1, 2, dtype=torch.bool), decision=always)
        for probs in said
    ]  # fmt: skip
    lines = types_table({"HAN": runs}, markdown=True).splitlines()
    assert "| HAN, audible-only | 1 | 50.0 % | 0.0 % | 50.0 % | 0.0 % |" in lines
    assert "| HAN, visible-only | 0 | - | - | - | - |" in lines
    assert "| HAN, audible-visible | 1 | 0.0 % | 50.0 % | 0.0 % | 50.0 % |" in lines


def test_predictions_whose_video_probability_exceeds_1_are_kept(tmp_path: Path) -> None:
    """As HAN's, which sums segments by weights that may exceed 1 together."""
    predictions = made_up(0)
    run = write_run(tmp_path / "run", replace(predictions, video_probs=1.5 * predictions.video_probs))
    assert read_predictions(run, "val").video_probs.max() > 1


def test_predictions_of_a_split_with_weak_labels_are_kept_and_cannot_be_scored(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", made_up(0, truth=None))
    predictions = read_predictions(run, "val")
    assert predictions.truth is None
    assert all(video.ground_truth is None for video in predictions.events())
    with pytest.raises(ValueError, match="made-up val has only weak labels; scores need ground truth"):
        Report([run], "val")


def test_the_name_that_a_file_of_predictions_had_is_read_too(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", made_up(0))
    (run / "predictions-val.safetensors").rename(run / "outputs-val.safetensors")
    assert read_predictions(run, "val").ids == made_up(0).ids
