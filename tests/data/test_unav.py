"""UnAV-100: what is read of its annotations and features, and every way in which they can be wrong."""

from __future__ import annotations

import json
import logging
import math
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coleaf_framework import StreamSpec
from coleaf_framework.data import UnAV100, collate, open_folder, pack, video_folder
from coleaf_framework.data.opening import splits_of
from coleaf_framework.data.unav import OUR_DEFINITION, unav_truth
from coleaf_framework.data.unav_annotations import KNOWN_SHA256, UnAVVideo, read_unav
from coleaf_framework.metrics import DecisionConfig, ParsedSplit
from coleaf_framework.metrics.time_grid import TimeGrid
from tests.helpers.unav import ANNOTATIONS, CLASSES, UNAV, WIDTHS, needs_unav, small_database, write_unav


def test_reads_streams_labels_and_truth(tmp_path: Path) -> None:
    data = UnAV100(write_unav(tmp_path), "val")
    assert data.streams == {
        "audio": StreamSpec(WIDTHS["vggish"], "audio"),
        "visual": StreamSpec(WIDTHS["rgb"], "visual"),
        "visual_st": StreamSpec(WIDTHS["flow"], "visual"),
    }
    assert (data.name, data.classes, data.ids) == ("UnAV-100", CLASSES, ("valid_vid00", "valid_vid01"))
    assert (data.truth, data.segment_seconds, data.segments(0)) == ("joint", 0.32, 10)
    video = data[0]
    assert video.labels.tolist() == [1, 1, 0]
    assert torch.equal(video.streams["visual"], torch.from_numpy(np.load(tmp_path / "valid_vid00_rgb.npy")))
    centres = [0.48 + 0.32 * t for t in range(10)]
    for modality in (0, 1):
        assert video.segment_labels[:, modality, 0].tolist() == [1.0 <= c < 2.0 for c in centres]
        assert video.segment_labels[:, modality, 1].nonzero().flatten().tolist() == [2]  # 1.12 is next to 1.15 to 1.2
        assert not video.segment_labels[:, modality, 2].any()


def test_training_videos_have_weak_labels_only(tmp_path: Path) -> None:
    data = UnAV100(write_unav(tmp_path), "train")
    assert not data.has_ground_truth
    assert data[1].segment_labels is None
    assert data[1].labels.tolist() == [0, 1, 1]


def test_features_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    data = UnAV100(write_unav(tmp_path, folder="feats"), "test")
    assert torch.equal(data[0].streams["audio"], torch.from_numpy(np.load(tmp_path / "feats/test_vid000_vggish.npy")))


def test_a_folder_is_opened_by_its_annotation_file(tmp_path: Path) -> None:
    root = write_unav(tmp_path)
    assert isinstance(open_folder(root, "test"), UnAV100)
    assert splits_of(root) == ("train", "val", "test")


def test_audio_and_visual_rows_are_cut_to_the_shorter_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video_folder._logged.clear()
    with caplog.at_level(logging.WARNING):
        data = UnAV100(write_unav(tmp_path, cut={"vggish": 2, "flow": 1}), "val")
        UnAV100(tmp_path, "val")
    assert data.segments(0) == 8 == len(data[0].segment_labels)
    assert {len(x) for x in data[0].streams.values()} == {8}
    told = "stream 'visual': rows of 2 of 2 videos go on after the last segment and are cut there"
    assert caplog.text.count(told) == 1


def test_videos_of_unequal_length_make_a_padded_batch(tmp_path: Path) -> None:
    data = UnAV100(write_unav(tmp_path), "val")
    batch = collate([data[0], data[1]], data.streams)
    assert batch.mask.sum(1).tolist() == [10, 16]
    assert batch.segment_labels.shape == (2, 16, 2, 3)
    assert not batch.segment_labels[0, 10:].any()


def test_caveats_name_our_definition_and_where_annotations_are_from(tmp_path: Path) -> None:
    definition, provenance = UnAV100(write_unav(tmp_path), "test").caveats
    assert definition == OUR_DEFINITION
    assert "our definition" in definition
    assert "not 2fdfc587ad36... of the copy that the recorded scores" in provenance


def test_true_events_are_those_of_the_split(tmp_path: Path) -> None:
    events = UnAV100(write_unav(tmp_path), "test").events()
    assert events.video.tolist() == ["test_vid000", "test_vid001", "test_vid001"]
    assert (events.label.tolist(), events.start.tolist(), events.end.tolist()) == ([1, 0, 0], [2, 0, 3], [4, 1, 5])


def test_statistics_are_those_of_the_training_split(tmp_path: Path) -> None:
    root = write_unav(tmp_path)
    rows = [np.load(root / f"{video}_rgb.npy") for video in UnAV100(root, "train").ids]
    mean, deviation = UnAV100(root, "test").statistics()["visual"]
    np.testing.assert_allclose(mean, np.concatenate(rows).mean(0), atol=1e-6)
    np.testing.assert_allclose(deviation, np.concatenate(rows).std(0), atol=1e-6)


def test_digests_tell_changed_annotations_and_features(tmp_path: Path) -> None:
    before = UnAV100(write_unav(tmp_path), "val").digests()
    videos = small_database()
    videos["valid_vid01"]["annotations"][0]["segment"] = [0, 5]
    np.save(tmp_path / "valid_vid00_flow.npy", np.zeros((10, 4), np.float32))
    (tmp_path / ANNOTATIONS.name).write_text(json.dumps({"database": videos}))
    after = UnAV100(tmp_path, "val").digests()
    assert {name for name in before if before[name] != after[name]} == {"annotations", "visual_st"}


def test_goes_to_reading_processes(tmp_path: Path) -> None:
    data = UnAV100(write_unav(tmp_path), "val")
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert torch.equal(copy[1].segment_labels, data[1].segment_labels)


def test_a_packed_store_reads_as_the_folder_does(tmp_path: Path) -> None:
    root = write_unav(tmp_path / "npy", cut={"vggish": 1})
    pack(root, tmp_path / "store", dtype="float32")
    store, folder = open_folder(tmp_path / "store", "val"), UnAV100(root, "val")
    assert (store.segment_seconds, store.truth, store.classes) == (0.32, "joint", CLASSES)
    for i in range(len(folder)):
        assert torch.equal(store[i].segment_labels, folder[i].segment_labels)
        assert torch.equal(store[i].streams["visual"], folder[i].streams["visual"])


def test_declared_streams_have_segments_from_the_video_s_start(tmp_path: Path) -> None:
    root = write_unav(tmp_path)
    (root / "streams.yaml").write_text(
        "streams:\n  a: {modality: audio, folder: clap, frames: 1}\n  v: {modality: visual, folder: clip, frames: 1}\n"
    )
    for folder in ("clap", "clip"):
        (root / folder).mkdir()
        for video, entry in small_database().items():
            np.save(root / folder / f"{video}.npy", np.zeros((math.ceil(entry["duration"]), 3), np.float32))
    data = UnAV100(root, "test")
    assert data[0].segment_labels[:, 0, 1].tolist() == [False, False, True, True]  # from 2 to 4 s


def test_a_missing_file_is_counted_and_may_be_left_out(tmp_path: Path) -> None:
    root = write_unav(tmp_path)
    (root / "valid_vid01_flow.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"valid_vid01_flow\.npy: no such file; split 'val' has 2 videos"):
        UnAV100(root, "val")
    data = UnAV100(root, "val", skip_incomplete=True)
    assert data.ids == ("valid_vid00",)
    assert data.caveats[-1] == "1 of 2 videos are left out, since they lack a stream"
    assert set(data.events().video.tolist()) == {"valid_vid00"}


def test_features_of_another_video_are_refused_by_their_length(tmp_path: Path) -> None:
    data = UnAV100(write_unav(tmp_path, cut=dict.fromkeys(WIDTHS, 6)), "val")
    with pytest.raises(
        ValueError, match=r"video 'valid_vid00' has 4 segments of features, where about 10 were expected"
    ):
        data[0]


def test_classes_may_be_given_where_the_file_lacks_some(tmp_path: Path) -> None:
    videos = {video: entry for video, entry in small_database().items() if entry["subset"] == "test"}
    videos["test_vid000"]["annotations"][0] |= {"label": CLASSES[2], "label_id": 2}
    root = write_unav(tmp_path, videos)
    with pytest.raises(ValueError, match="no event has label_id 1, so the class has no name: write a classes.txt"):
        UnAV100(root, "test")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    assert UnAV100(root, "test").classes == CLASSES


def test_a_split_without_videos_is_refused(tmp_path: Path) -> None:
    videos = {video: entry for video, entry in small_database().items() if entry["subset"].lower() != "validation"}
    with pytest.raises(ValueError, match=r"split 'val' has no videos .*; it has \['train', 'test'\]"):
        UnAV100(write_unav(tmp_path, videos), "val")


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"split 'validation' is not one of \['train', 'val', 'test'\]"):
        UnAV100(write_unav(tmp_path), "validation")


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"unav100_annotations\.json: no such file"):
        UnAV100(tmp_path, "test")


WRONG = {
    "unknown subset": ({"subset": "valid"}, "video 'v': unknown subset 'valid'. Did you mean 'validation'?"),
    "no subset": ({"subset": None}, "video 'v': unknown subset None. Known subsets: train, validation, test"),
    "no duration": ({"duration": "ten"}, "video 'v': duration 'ten', where seconds above 0 were expected"),
    "no events": ({"annotations": {}}, "video 'v': annotations {}, where a list of events was expected"),
    "reversed": ([3, 1], "video 'v': segment [3, 1] is reversed or empty: its end must be after its start"),
    "empty": ([2, 2.0], "video 'v': segment [2, 2.0] is reversed or empty"),
    "negative": ([-1, 2], "video 'v': segment [-1, 2] begins before the video"),
    "past the end": ([1, 10.5], "video 'v': segment [1, 10.5] ends after the video, which lasts 10 s"),
    "one time": ([1], "video 'v': segment [1], where [start, end] in seconds was expected"),
    "another name": ("cat", 0, "video 'v': label 'cat' with label_id 0, but label_id 0 is 'dog'"),
    "another id": ("dog", 1, "video 'v': label 'dog' with label_id 1, but it has 0 elsewhere"),
    "no number": (
        "dog",
        "0",
        "video 'v': label 'dog' with label_id '0', where a name and a whole number were expected",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_annotations_are_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    *change, said = WRONG[name]
    event = {"segment": [0, 5], "label": "dog", "label_id": 0}
    entry: dict[str, Any] = {"duration": 10, "subset": "test", "annotations": [event]}
    if isinstance(change[0], dict):
        entry |= change[0]
    elif isinstance(change[0], list):
        entry["annotations"].append(event | {"segment": change[0]})
    else:
        entry["annotations"].append({"segment": [6, 7], "label": change[0], "label_id": change[1]})
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"database": {"v": entry}}))
    with pytest.raises(ValueError, match=re.escape(f"{path}: {said}")):
        read_unav(path)


def test_an_event_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    videos = small_database()
    first = videos["test_vid001"]["annotations"][0]
    videos["test_vid001"]["annotations"].append(first | {"segment": [0.0005, 1.0]})
    with pytest.raises(
        ValueError, match=r"video 'test_vid001': the event \[0.0005, 1\] of 'dog barking' is listed twice"
    ):
        UnAV100(write_unav(tmp_path, videos), "test")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON in which each key is listed once"),
        ('{"database": {"v": {}, "v": {}}}', "'v' is listed twice in one object"),
        ("[]", "it has no object 'database' with videos"),
        ('{"database": {}}', "it has no object 'database' with videos"),
        ('{"database": {"v": 3}}', "video 'v': it has no 'subset': 3"),
        ('{"database": {"../v": {}}}', "video '../v': its id is not a plain name"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        read_unav(tmp_path / "a.json")


def test_an_unknown_class_is_refused_where_classes_are_given(tmp_path: Path) -> None:
    root = write_unav(tmp_path)
    (root / "classes.txt").write_text("dog barking\ncar passing by\npeople claping")
    with pytest.raises(ValueError, match=r"unknown class 'people clapping', 2. Did you mean 'people claping'\?"):
        UnAV100(root, "test")


@needs_unav
def test_the_published_annotations_are_as_their_readme_counts_them() -> None:
    annotations = read_unav(ANNOTATIONS)
    events = {split: sum(len(v.labels) for v in videos.values()) for split, videos in annotations.videos.items()}
    assert {split: len(videos) for split, videos in annotations.videos.items()} == {
        "train": 6489,
        "val": 2134,
        "test": 2167,
    }
    assert events == {"train": 18123, "val": 6036, "test": 5900}
    assert annotations.classes == tuple((UNAV / "classes.txt").read_text().split("\n")[:100])
    assert annotations.sha256 == KNOWN_SHA256
    assert "compare it with the authors' download" in annotations.provenance


def test_truth_may_be_drawn_in_whole_seconds() -> None:
    video = UnAVVideo(3.0, (0.6, 1.6), (1.4, 3.0), (0, 1))
    truth, nearest = unav_truth(video, 3, 2, TimeGrid(1.0))
    assert truth[:, 0].tolist() == [[True, False], [False, False], [False, True]]
    assert nearest == 1


def test_probabilities_and_truth_of_a_split_in_whole_seconds(tmp_path: Path) -> None:
    data = UnAV100(write_unav(tmp_path), "test")
    probs = torch.rand(2, 13, 2, 3)
    mask = torch.arange(13) < torch.tensor([10, 13])[:, None]
    seconds, truth, real = data.whole_seconds(probs, mask)
    assert real.sum(1).tolist() == [4, 5] == list(data.durations)
    torch.testing.assert_close(seconds[0, 0], probs[0, :2].mean(0))  # centres 0.48 and 0.8
    assert truth[0, :, 0, 1].tolist() == [False, False, True, True, False]
    assert torch.equal(truth[:, :, 0], truth[:, :, 1])


def test_a_split_without_events_has_none_to_find(tmp_path: Path) -> None:
    videos = small_database()
    for entry in videos.values():
        entry["annotations"] = entry["annotations"] if entry["subset"] != "test" else []
    assert len(UnAV100(write_unav(tmp_path, videos), "test").events()) == 0


def test_its_own_scores_of_an_oracle_are_whole_but_for_the_grid(tmp_path: Path) -> None:
    data = UnAV100(write_unav(tmp_path), "val")
    batch = collate([data[i] for i in range(len(data))], data.streams)
    truth = batch.segment_labels
    mask = torch.ones(truth.shape[:2], dtype=torch.bool) if batch.mask is None else batch.mask
    probs, labels = truth.float(), batch.labels
    modality = labels[:, None].expand(-1, 2, -1)
    parsed = ParsedSplit(data.ids, probs, modality, labels, DecisionConfig(), truth, truth, labels, mask)
    scores = data.further_scores(parsed)
    assert next(iter(scores)) == "mAP@0.1"
    assert list(scores)[-3:] == ["mAP", "segment/AV at 1 s", "event/AV at 1 s"]
    assert scores["mAP@0.1"] == 100  # every event is found, if not to its second
    assert scores["mAP@0.9"] < 100
    silent = replace(parsed, segment_probs=torch.zeros_like(probs), decided=torch.zeros_like(truth))
    assert set(data.further_scores(silent).values()) == {0.0}
