"""LFAV: labels of either modality, truth with the offset included, unequal lengths, and every fault of its files."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from coleaf_framework.data import LFAV, LFAV_CLASSES, collate, open_folder, pack, video_folder
from coleaf_framework.data.check import check_folder
from coleaf_framework.data.lfav_files import read_lfav
from coleaf_framework.data.opening import splits_of
from coleaf_framework.metrics import DecisionConfig, ParsedSplit
from coleaf_framework.metrics.snippet_map import snippet_map
from tests.helpers.sets import LFAV_LENGTHS, write_lfav


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_lfav(tmp_path / "lfav")


def names(labels: torch.Tensor) -> list[str]:
    return [LFAV_CLASSES[i] for i in labels.nonzero().flatten().tolist()]


def test_labels_of_the_video_and_of_either_modality_are_read(root: Path) -> None:
    video, silent = (LFAV(root, "train")[i] for i in range(2))
    assert names(video.labels) == ["dog", "speech"]
    assert [names(x) for x in video.modality_labels] == [["dog", "speech"], ["dog"]]
    assert [names(x) for x in silent.modality_labels] == [[], ["car"]]
    assert video.segment_labels is None


def test_the_offset_is_included(root: Path) -> None:
    truth = LFAV(root, "val")[0].segment_labels
    audible = truth[:, 0, LFAV_CLASSES.index("cat")]
    assert audible.tolist() == [True] * 7 + [False, True, False]  # 0 to 6 is seven seconds, 8 to 8 one, 9 to 7 none
    visible = truth[:, 1, LFAV_CLASSES.index("cry")]
    assert visible.tolist() == [False] * 3 + [True] * 7  # 3 to 40,000 is cut at the end of the features
    assert truth.sum() == 15


def test_videos_are_as_long_as_their_features_and_masked_in_a_batch(root: Path) -> None:
    data = open_folder(root, "val")
    assert isinstance(data, LFAV)
    assert [data.segments(i) for i in range(2)] == [LFAV_LENGTHS["v0"], LFAV_LENGTHS["v1"]]
    batch = collate([data[0], data[1]], data.streams)
    assert batch.mask.sum(1).tolist() == [10, 4]
    assert batch.modality_labels.shape == (2, 2, 35)


def test_a_stream_that_ends_earlier_cuts_the_video_and_is_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = root / "feats/resnet18/v0.npy"
    np.save(path, np.load(path)[:9])
    video_folder._logged.clear()
    data = LFAV(root, "val")
    assert (data.segments(0), len(data[0].streams["audio"])) == (9, 9)
    assert "stream 'audio': rows of 1 of 2 videos go on after the last segment and are cut there" in caplog.text


def test_every_fault_is_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    video_folder._logged.clear()
    with caplog.at_level(logging.WARNING):
        data = LFAV(root, "val")
    issues = data.issues
    assert {file: dict(found) for file, found in issues.unknown.items()} == {"val_visual_weakly.csv": {"train": 1}}
    assert +issues.silent == Counter({"train_audio_weakly.csv": 1})
    assert +issues.spaced == Counter({"train_audio_weakly.csv": 1})
    assert +issues.mismatch == Counter({"val_weak_av.csv": 1})
    assert +issues.far == Counter({"val_visual.csv": 1})
    assert +issues.reversed == Counter({"val_audio.csv": 1})
    assert +issues.repeated == Counter({"val_visual.csv": 1})
    assert +issues.strangers == Counter({"val_visual.csv": 1})
    assert +issues.disagreeing == Counter({"val_visual.csv": 1, "test_audio.csv": 1})
    assert "1 events go on after the features of their video and are cut there" in caplog.text
    odd = [line for kind, line in check_folder(root) if kind == "odd"]
    assert all(f"annotations: {line}" in odd for line in issues.lines())


def test_a_packed_store_holds_the_same(root: Path, tmp_path: Path) -> None:
    pack(root, tmp_path / "store", dtype="float32")
    for split in splits_of(root):
        plain, packed = LFAV(root, split), LFAV(tmp_path / "store", split)
        for i in range(len(plain)):
            assert torch.equal(plain[i].streams["visual_st"], packed[i].streams["visual_st"])
            assert torch.equal(plain[i].modality_labels, packed[i].modality_labels)


def test_other_streams_may_be_declared(root: Path) -> None:
    (root / "streams.yaml").write_text(
        "streams: {audio: {modality: audio, folder: feats/vggish}, visual: {modality: visual, folder: feats/resnet18}}"
    )
    assert list(LFAV(root, "test").streams) == ["audio", "visual"]


def test_its_own_scores_are_snippet_maps(root: Path) -> None:
    data = LFAV(root, "test")
    truth, mask = data[0].segment_labels[None], torch.ones(1, 6, dtype=torch.bool)
    probs, labels = torch.rand(1, 6, 2, 35), data[0].labels[None]
    parsed = ParsedSplit(
        tuple(data.ids), probs, probs.amax(1), probs.amax((1, 2)), DecisionConfig(), probs > 0.5, truth, labels, mask
    )
    scores = data.further_scores(parsed)
    assert list(scores) == ["snippet mAP A", "snippet mAP V", "snippet mAP AV", "snippet mAP mean"]
    assert scores["snippet mAP V"] == snippet_map(probs, truth, mask)["V"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("val_audio.csv", "filename\tonset\toffset\tevent_labels\nv0\t0.5\t3\tcat\n", r"csv:2: bad interval"),
        ("val_audio.csv", "filename\tonset\toffset\nv0\t0\t3\n", r"val_audio\.csv:1: expected the header"),
        ("val_weak_av.csv", "filename\tevent_labels\n../v0\tcat\n", r"val_weak_av\.csv:2: '\.\./v0' is not a plain"),
        ("val_weak_av.csv", "filename\tevent_labels\nv0\tcat\nv0\tcat\n", r"csv:3: video 'v0' is listed twice"),
        ("val_weak_av.csv", "filename\tevent_labels\nv0\tcat\n", r"video 'v1' is in only one of it and val_weak_av"),
        ("streams.yaml", "{segment_seconds: 2, streams: {a: {modality: audio, folder: feats/vggish}, "
         "v: {modality: visual, folder: feats/resnet18}}}", "LFAV is annotated by the second"),
    ],
)  # fmt: skip
def test_bad_files_are_named(root: Path, name: str, content: str, message: str) -> None:
    (root / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        LFAV(root, "val")


def test_missing_files_and_splits_are_named(root: Path) -> None:
    with pytest.raises(ValueError, match="split 'dev' is not one of"):
        LFAV(root, "dev")
    (root / "val_visual.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_visual\.csv: no such file, which val_weak_av\.csv needs"):
        LFAV(root, "test")
    for path in root.glob("val_*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"split 'val' has no videos \(val_weak_av\.csv\); it has \['train', 'test'\]"):
        LFAV(root, "val")
    (root / "feats/vggish/e0.npy").unlink()
    found = list(check_folder(root))
    assert ("missing", f"split 'val': {root} has no annotations of it") in found
    assert any("vggish/e0.npy: no such file" in line for kind, line in found if kind == "missing")


def test_published_files_have_the_known_faults(published_lfav: Path) -> None:
    found = read_lfav(published_lfav)
    assert {split: len(videos) for split, videos in found.weak.items()} == {"train": 3721, "val": 486, "test": 968}
    issues = found.issues
    assert {file: dict(names) for file, names in issues.unknown.items()} == {
        "val_visual_weakly.csv": {"train": 3},
        "test_visual_weakly.csv": {"train": 3, "toilet_flush": 2},
    }
    assert +issues.silent == +issues.spaced == Counter({"train_audio_weakly.csv": 1})
    assert +issues.mismatch == Counter({"val_weak_av.csv": 4, "test_weak_av.csv": 5})
    assert +issues.far == Counter({"test_audio.csv": 1, "test_visual.csv": 1})
    files = ("val_audio.csv", "val_visual.csv", "test_audio.csv", "test_visual.csv")
    assert [issues.reversed[file] for file in files] == [7, 10, 12, 8]
    assert [issues.repeated[file] for file in files] == [2, 2, 4, 1]
    assert [issues.disagreeing[file] for file in files] == [1, 5, 1, 5]
    assert not +issues.strangers
    assert not any(issues.shared.values())
    assert not found.modality["train"]["audio"]["XvyeQ5Bz_lk"]
    assert found.events["test"]["g444LzmYoyI"]["audio"] == []


def test_published_label_cells_are_as_many_as_counted(published_lfav: Path) -> None:
    found = read_lfav(published_lfav)
    counts = {}
    for split, modality in found.modality.items():
        heard, seen = ({(v, c) for v, cs in modality[m].items() for c in cs} for m in ("audio", "visual"))
        counts[split] = (len(heard & seen), len(heard - seen), len(seen - heard))
    # The published counts hold `silent`, 3 and 3 rows `train` and 2 rows `toilet_flush` too.
    assert counts == {"train": (5641, 3376, 2000), "val": (892, 486, 299), "test": (1836, 963, 593)}
