"""Events of a file on the segments of a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given as given_that
from hypothesis import strategies as st

from coleaf_framework.metrics.time_grid import TimeGrid
from coleaf_framework.results.events_file import write_events
from coleaf_framework.results.given import (
    GivenEvent,
    GivenEvents,
    Placing,
    SplitTruth,
    joined,
    predictions_of,
    read_events,
)
from coleaf_framework.results.given.names import read_class_map
from tests.helpers.given import one_video, split_truth
from tests.helpers.predictions import joint, made_up


def of(videos: dict[str, list[GivenEvent]], **changes: object) -> GivenEvents:
    given = GivenEvents("f.csv", "theirs", "CSV", videos, {name: f"f.csv:{i}" for i, name in enumerate(videos, 2)})
    return replace(given, **changes)  # type: ignore[arg-type]


def event(onset: float, offset: float, label: str = "Dog", modalities: tuple[int, ...] = (0,)) -> GivenEvent:
    return GivenEvent("f.csv:2", label, modalities, onset, offset)


def heard(truth: SplitTruth, *events: GivenEvent) -> tuple[list[int], tuple[str, ...]]:
    """Segments in which the first class is heard, and the caveats."""
    found = predictions_of(of({"v": list(events)}), truth)
    return found.decided()[0, :, 0, 0].nonzero().flatten().tolist(), found.caveats


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["modalities", "joint"])
def test_events_written_and_read_back_decide_the_same(tmp_path: Path, seed: int, kind: str) -> None:
    """Also where segments last 0.32 s, whose borders are no numbers of the machine."""
    ours = made_up(seed) if kind == "modalities" else joint(seed)
    write_events(tmp_path / "p.json", "HAN", ours.data, ours.split, ours.events(), ("a caveat",))
    truth = split_truth(
        truth=ours.known_truth, segment_seconds=ours.segment_seconds, truth_kind=ours.truth_kind,
        seconds=tuple((ours.mask.sum(1) * ours.segment_seconds).tolist()),
    )  # fmt: skip
    found = predictions_of(read_events(tmp_path / "p.json"), truth)
    assert torch.equal(found.decided(), ours.decided())
    assert found.scores() == pytest.approx(ours.scores(), nan_ok=True)
    assert found.caveats == ("a caveat",)


@given_that(st.lists(st.booleans(), min_size=60, max_size=60), st.sampled_from([1.0, 0.32, 0.1, 2.5]))
def test_any_decision_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, bits: list[bool], seconds: float
) -> None:
    decided = torch.tensor(bits).view(1, 15, 2, 2)
    ours = made_up(
        0, ids=("v",), classes=("Dog", "Car"), segment_probs=decided.float(), modality_probs=torch.ones(1, 2, 2),
        video_probs=torch.ones(1, 2), truth=decided, labels=torch.ones(1, 2), mask=torch.ones(1, 15).bool(),
        segment_seconds=seconds, split="val",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("given") / "p.json"
    write_events(path, "HAN", "made-up", "val", ours.events())
    truth = one_video(15, truth=decided, segment_seconds=seconds, seconds=(15 * seconds,), grid=TimeGrid(seconds))
    found = predictions_of(read_events(path), truth)
    assert torch.equal(found.decided(), decided)
    assert found.caveats == ()


@pytest.mark.parametrize(
    ("onset", "offset", "segments", "told"),
    [
        (1.0, 3.0, [1, 2], ""),
        (1.4, 3.4, [1, 2], "borders of segments"),
        (1.6, 3.6, [2, 3], "borders of segments"),
        (0.5, 1.5, [0], "borders of segments"),
        (2.1, 2.2, [2], "no segment's centre"),
        (3.0, 5.4, [3, 4], "cut there"),
        (0.0, 6.0, [0, 1, 2, 3, 4], "cut there"),
    ],
)
def test_an_event_marks_the_segments_whose_centre_it_covers(
    onset: float, offset: float, segments: list[int], told: str
) -> None:
    found, caveats = heard(one_video(5), event(onset, offset))
    assert found == segments
    assert any(told in caveat for caveat in caveats) if told else caveats == ()


def test_times_of_the_media_are_on_the_grid_of_the_data() -> None:
    """UnAV-100's token t has its centre at 0.32 t + 0.48; a file of `coleaf predict` says t to t + 1 times 0.32."""
    truth = one_video(10, segment_seconds=0.32, seconds=(4.0,), grid=TimeGrid(0.32, first=0.48))
    assert heard(truth, event(0.6, 1.0))[0] == [1]  # its centre is 0.8
    in_segments = predictions_of(of({"v": [event(0.64, 0.96)]}, in_segments=True), truth)
    assert in_segments.decided()[0, :, 0, 0].nonzero().flatten().tolist() == [2]
    assert "read as `coleaf predict` writes them" in in_segments.caveats[0]


@pytest.mark.parametrize(("modalities", "told"), [((0,), "audible alone"), ((1,), "visible alone"), ((0, 1), None)])
def test_events_of_one_modality_are_no_events_of_joint_truth(modalities: tuple[int, ...], told: str | None) -> None:
    caveats = predictions_of(of({"v": [event(0, 2, modalities=modalities)]}), one_video(5, truth_kind="joint")).caveats
    assert [told in caveat for caveat in caveats if "none counts as found" in caveat] == [True] * (told is not None)


@pytest.mark.parametrize(("onset", "offset"), [(5, 5.5), (4, 6.1), (7, 9)])
def test_an_event_beyond_the_video_is_refused(onset: float, offset: float) -> None:
    with pytest.raises(ValueError, match=r"f.csv:2: 'Dog' from .* lies beyond the end of video 'v', which lasts 5 s"):
        heard(one_video(5), event(onset, offset))


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((event(0, 1), event(0, 1)), "1 of 2 events stand in it twice and count once (first: f.csv:2)"),
        ((event(0, 1), event(1, 2)), "1 of 2 events touch or overlap another"),
        ((event(0, 3), event(1, 2)), "1 of 2 events touch or overlap another"),
        (
            (event(4, 5), replace(event(0, 3), only=True, where="f.csv:3"), event(1, 2, modalities=(0, 1))),
            "1 of 3 events are said to be audible only where their class is visible too, and count as both "
            "(first: f.csv:3)",
        ),
        (
            (event(0, 1), replace(event(2, 3), where="f.csv:3"), replace(event(3, 4), where="f.csv:4")),
            "1 of 3 events touch or overlap another of their class and modality, and count as one event with it "
            "(first: f.csv:4)",
        ),
    ],
)
def test_what_does_not_go_together_is_counted(events: tuple[GivenEvent, ...], told: str) -> None:
    (caveat,) = heard(one_video(5), *events)[1]
    assert caveat.startswith(told)


def test_another_class_does_not_contradict_that_one_is_heard_alone() -> None:
    alone = replace(event(0, 3), only=True)
    assert heard(one_video(5), alone, event(0, 3, "Car"), event(1, 2, "Car", modalities=(1,)))[1] == ()


def test_an_event_that_is_cut_may_begin_within_a_segment_too() -> None:
    cut, borders = heard(one_video(5), event(3.4, 5.4))[1]
    assert "cut there" in cut
    assert "borders of segments" in borders


def test_the_first_event_that_covers_no_centre_is_named() -> None:
    _, lost = heard(one_video(5), event(0, 1), replace(event(2.1, 2.2), where="f.csv:3"))[1]
    assert lost.endswith("cover no segment's centre, and mark the nearest segment (first: f.csv:3)")


def test_sound_and_picture_of_a_video_may_have_endings_of_their_own() -> None:
    truth = split_truth()
    sound = of({f"{name}.wav": [event(0, 1)] for name in truth.ids})
    picture = of({f"{name}.mp4": [event(1, 2, modalities=(1,))] for name in truth.ids[1:]})
    found = predictions_of(joined(sound, picture), truth)
    assert found.decided()[:, :2, :, 0].any(0).tolist() == [[True, False], [False, True]]
    assert found.caveats == ("1 videos are in one of its two files alone, and count as without visible events",)


@pytest.mark.parametrize("names", [("v", "v.mp4"), ("v.avi", "v.mp4")])
def test_two_names_of_one_video_in_one_of_two_files_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"video 'v' has two names in the file"):
        predictions_of(joined(of({"v.wav": []}), of({name: [] for name in names})), one_video(5))


def test_a_class_in_either_modality_is_no_overlap() -> None:
    assert heard(one_video(5), event(0, 3), event(1, 2, modalities=(1,)), event(3, 4, modalities=(1,)))[1] == ()


@pytest.mark.parametrize("name", ["v", "v_10_15", "v.wav", "v_10_15.mp4"])
def test_a_video_has_its_id_or_its_name_in_the_annotations(name: str) -> None:
    truth = one_video(5, filenames={"v": "v_10_15"})
    assert predictions_of(of({name: [event(0, 1)]}), truth).decided().sum() == 1


def test_other_times_are_another_clip() -> None:
    with pytest.raises(ValueError, match=r"f.csv:2: video 'v_20_25' is not in made-up val. Did you mean 'v_10_15'"):
        predictions_of(of({"v_20_25": []}), one_video(5, filenames={"v": "v_10_15"}))
    assert predictions_of(of({"v_20_25": []}), one_video(5)).ids == ("v",)  # where the annotations say no times


def test_two_names_of_one_video_are_refused() -> None:
    with pytest.raises(ValueError, match=r"video 'v' has two names in the file, 'v' and 'v.wav'"):
        predictions_of(of({"v": [], "v.wav": []}), one_video(5))


def test_a_missing_video_is_not_silently_empty() -> None:
    truth = split_truth()
    given = of({name: [] for name in truth.ids[2:]})
    with pytest.raises(ValueError, match=r"2 of the 6 videos of made-up val are not in it: 'video0', 'video1'"):
        predictions_of(given, truth)
    found = predictions_of(given, truth, Placing(missing_as_empty=True))
    assert found.caveats == ("2 of 6 videos are not in its file and count as without events",)


def test_an_unknown_video_is_refused_or_left_out_with_a_note() -> None:
    given = of({"v": [], "w": [event(0, 99, "no class of the data")]})
    with pytest.raises(ValueError, match=r"f.csv:3: video 'w' is not in made-up val"):
        predictions_of(given, one_video(5))
    placing = Placing(skip_unknown=True)
    assert "1 videos of its file are not in made-up val" in predictions_of(given, one_video(5), placing).caveats[0]


def test_unknown_classes_are_named_with_their_places() -> None:
    given = of({"v": [event(0, 1, "dog"), event(0, 1, "Hound")]})
    words = r"2 class names are none of the 2 classes.*'dog' \(f.csv:2\) Did you mean 'Dog'"
    with pytest.raises(ValueError, match=words):
        predictions_of(given, one_video(5))


def test_a_class_map_says_what_names_mean(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("Hound: Dog\nMusic: null\n")
    placing = Placing(class_map=read_class_map(path, ("Dog", "Car")))
    found = predictions_of(of({"v": [event(0, 1, "Hound"), event(0, 5, "Music")]}), one_video(5), placing)
    assert found.decided().nonzero().tolist() == [[0, 0, 0, 0]]
    assert [note for note in found.caveats if "left out by its class map: 'Music'" in note]
    assert [note for note in found.caveats if "such as 'Hound'" in note]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hound: dog", "'Hound' means 'dog', which is no class of the data. Did you mean 'Dog'"),
        ("Dog: Car", "'Dog' is a class of the data itself"),
        ("1: Dog", "the name 1 is no text"),
        ("Hound: [Dog]", "which is no class"),
    ],
)
def test_a_wrong_class_map_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_class_map(tmp_path / "map.yaml", ("Dog", "Car"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "test"}, "says that it is of split 'test': take --split test"),
        ({"seconds": {"v": 8.0}}, "video 'v' lasts 8 s there, and 5 s in made-up val"),
    ],
)
def test_a_file_of_another_split_or_length_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        predictions_of(of({"v": []}, **changes), one_video(5))


def test_other_data_and_another_truth_are_caveats() -> None:
    given = of({"v": []}, data="theirs", truth={"v": [event(0, 1)]}, in_segments=True)
    told = predictions_of(given, one_video(5)).caveats
    assert told == (
        "its file says that it is of 'theirs', and is scored on 'made-up'",
        "the ground truth in its file is not that of made-up val for 1 videos, such as 'v'",
    )
