"""`coleaf evaluate` on files of events that others wrote, beside runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from coleaf_framework.data.opening import open_annotated
from coleaf_framework.metrics import list_events
from coleaf_framework.results.events_file import VideoEvents, write_events
from coleaf_framework.results.given import SplitTruth
from tests.helpers.command import Command
from tests.helpers.sets import write_ave_annotations, write_unav_annotations

TRAINED = [
    x
    for setting in ("trainer.epochs=1", "trainer.batch_size=4", "trainer.device=cpu", "anchor.options.width=8")
    for x in ("--set", setting)
]
SEED = ("--set", "trainer.seed=1")
# So that a network of one epoch predicts something.
LOW = ("--set", "decision.segment_threshold=0.45", "--set", "decision.gate_threshold=0.4")
ROWS = ["te00_0_4,audio,Dog,1,3", "te00_0_4,visual,Dog,1,3", "te01_0_4,audio,Car,1,3", "te02_0_4,audio,Speech,0,4"]


def scores(path: str) -> Any:
    return json.loads(Path(path).read_text())


def as_csv(name: str, *rows: str) -> str:
    Path(name).write_text("\n".join(["id,modality,class,onset,offset", *rows]) + "\n")
    return name


def test_a_file_of_predict_has_the_very_scores_of_its_run(coleaf: Command, data_root: Path) -> None:
    coleaf("train", "--data", data_root, "--anchor", "han", "--out", "run", *TRAINED)
    coleaf("predict", "run", "--data", data_root, "--out", "p.json", *LOW)
    assert scores("p.json")["videos"]["te00"]["events"]
    coleaf("evaluate", "run", "--data", data_root, "--json", "run.json", *LOW)
    coleaf("evaluate", "p.json", "--data", data_root, "--json", "file.json")
    ours, theirs = scores("run.json"), scores("file.json")
    assert theirs["runs"] == {"p.json": ours["runs"]["run"]}
    for part in ("intervals", "trivial", "notes"):
        assert theirs[part] == ours[part]

    table = coleaf("evaluate", "p.json", "run", "--data", data_root, "--unseen", "Car", "--json", "both.json", *LOW)
    assert "HAN in CoLeaF (p.json)" in table
    assert "HAN in CoLeaF less HAN in CoLeaF (p.json)" in table  # the first that is named is compared to
    assert "1 unseen classes (Car), of which 1 of 3 videos have an event" in table
    both = scores("both.json")
    assert {x["value"] for d in both["differences"].values() for x in d.values()} <= {0.0, None}
    unseen = both["open_vocabulary"]["unseen"]["runs"]
    assert unseen["run"] == unseen["p.json"]


def test_seeds_are_a_row_that_is_not_paired_with_a_file(coleaf: Command, data_root: Path) -> None:
    for out, seed in (("a", ()), ("b", SEED)):
        coleaf("train", "--data", data_root, "--anchor", "han", "--out", out, *TRAINED, *seed)
    table = coleaf("evaluate", "a", "b", as_csv("x.csv", *ROWS), "--data", data_root, "--markdown")
    assert "| HAN in CoLeaF (2 seeds) |" in table
    assert "NOTE: x and HAN in CoLeaF (2 seeds) have other seeds" in table


def test_the_truth_as_a_file_scores_100(coleaf: Command, data_root: Path) -> None:
    """Here as the data's own annotation files, which are LLP's form, with the other split's rows left out."""
    both = ("--audio-events", data_root / "AVVP_eval_audio.csv", "--visual-events", data_root / "AVVP_eval_visual.csv")
    table = coleaf("evaluate", *both, "--data", data_root, "--skip-unknown-videos", "--json", "s.json")
    assert set(next(iter(scores("s.json")["runs"].values())).values()) == {
        100.0,
        None,
    }  # no video has a visible-only event
    assert "3 videos of its file are not in tiny test" in table
    table = coleaf("evaluate", *both[:2], "--data", data_root, "--skip-unknown-videos", "--json", "s.json")
    found = next(iter(scores("s.json")["runs"].values()))
    assert (found["segment/A"], found["support/segment/V"]) == (100.0, 0.0)
    assert "NOTE: only its audible events were given (audio)" in table


def test_features_are_not_needed(coleaf: Command, data_root: Path) -> None:
    """The lengths of filenames give the same scores as those of the features."""
    file = as_csv("x.csv", *ROWS)
    coleaf("evaluate", file, "--data", data_root, "--json", "with.json")
    (data_root / "feats").rename("elsewhere")
    table = coleaf("evaluate", file, "--data", data_root, "--json", "without.json")
    assert "has no features: how long videos last is by the annotations" in table
    assert scores("without.json")["runs"] == scores("with.json")["runs"]


@pytest.mark.parametrize("kind", ["ave", "unav"])
def test_joint_truth_needs_no_features_either(coleaf: Command, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("h5py", reason="needs the extra `ave`")
    root = (write_ave_annotations if kind == "ave" else write_unav_annotations)(tmp_path / "data")
    truth = SplitTruth.of(open_annotated(root, "test")[0])
    videos = []
    for name, segments, length in zip(truth.ids, truth.truth, truth.mask.sum(1).tolist(), strict=True):
        events = list_events(segments, truth.classes, None, truth.segment_seconds)
        videos.append(VideoEvents(name, length * truth.segment_seconds, events, None))
    write_events(tmp_path / "p.json", "theirs", truth.data, "test", videos)
    coleaf("evaluate", "p.json", "--data", root, "--json", "s.json")
    found = scores("s.json")["runs"]["p.json"]
    assert found == dict.fromkeys(found, 100.0)
    assert "segment/AV" in found


@pytest.mark.parametrize("name", ["empty parser", "video-label parser"])
def test_a_file_does_not_share_the_row_of_a_trivial_parser(coleaf: Command, data_root: Path, name: str) -> None:
    table = coleaf("evaluate", as_csv(f"{name}.csv", *ROWS), "--data", data_root, "--markdown")
    ours, trivial = (next(x for x in table.splitlines() if f"| {row} |" in x) for row in (f"{name} ({name}.csv)", name))
    assert ours.split("|")[2:] != trivial.split("|")[2:]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "name a run folder, or a file of events"),
        ("x.csv", "does not say where the ground truth is: pass --data DIR"),
        ("gone.json --data DATA", "gone.json: no such file"),
        ("x.csv ./x.csv --data DATA", "x.csv: is named twice"),
        ("x.csv --data DATA --json ./x.csv", "is one of the files that are scored, which it would replace"),
        ("x.csv --data DATA --format xml", "--format 'xml' is none of dcase, llp, csv"),
        ("run --missing-as-empty", "--missing-as-empty is about files of events, of which none is named"),
        ("x.csv --data DATA --column segment/A", "give --unseen too"),
        ("x.csv --data DATA --unseen Car --column segment/B", "'segment/B': no such column"),
        ("x.csv --data DATA --split train", "has only weak labels"),
        ("x.csv --data DATA --split val", "video 'te00_0_4' is not in tiny val, nor 2 more"),
        ("--audio-events x.csv --visual-events y --visual-events z --data DATA", "names 1 files and --visual-events 2"),
    ],
)
def test_what_makes_no_sense_is_refused(coleaf: Command, data_root: Path, arguments: str, words: str) -> None:
    as_csv("x.csv", *ROWS)
    given = arguments.replace("DATA", str(data_root)).split()
    assert words in coleaf("evaluate", *given, fails=True)


def test_silence_on_llp_is_the_share_of_videos_without_such_events(coleaf: Command, published_llp: Path) -> None:
    """Counted from the rows of the published files: docs/published_columns.md."""
    second: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for modality in ("audio", "visual"):
        for row in csv.DictReader((published_llp / f"AVVP_eval_{modality}.csv").open(), delimiter="\t"):
            times = range(int(row["onset"]), int(row["offset"]))
            second.setdefault((modality, row["filename"]), set()).update((row["event_labels"], t) for t in times)
    names = [row["filename"] for row in csv.DictReader((published_llp / "AVVP_test_pd.csv").open(), delimiter="\t")]
    heard, seen = ([second.get((m, name), set()) for name in names] for m in ("audio", "visual"))
    silent = {
        "segment/Ao": sum(not (a - v) for a, v in zip(heard, seen, strict=True)),
        "segment/Vo": sum(not (v - a) for a, v in zip(heard, seen, strict=True)),
        "segment/AV": sum(not (a & v) for a, v in zip(heard, seen, strict=True)),
    }
    Path("nothing.json").write_text(json.dumps({"videos": {name: {"events": []} for name in names}}))
    coleaf("evaluate", "nothing.json", "--data", published_llp, "--json", "s.json")
    found = scores("s.json")["runs"]["nothing.json"]
    assert {name: found[name] for name in silent} == pytest.approx({k: 100 * n / 1200 for k, n in silent.items()})
    assert round(found["segment/Ao"], 1) == 38.1
    assert round(found["segment/Vo"], 1) == 65.6
