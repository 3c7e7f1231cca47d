"""AVE: rows, splits, features of HDF5 files, faults, and what can be wrong."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from coleaf_framework import StreamSpec
from coleaf_framework.data import AVE, AVE_CLASSES, open_folder, pack, video_folder
from coleaf_framework.data.ave import ACCURACY
from coleaf_framework.data.ave_files import BACKGROUND_FILE, ROWS_FILE, background_ids, read_rows
from coleaf_framework.data.check import check_folder
from coleaf_framework.data.h5_files import h5_array
from coleaf_framework.data.opening import splits_of
from coleaf_framework.metrics import DecisionConfig, ParsedSplit, video_label_parser
from tests.helpers.command import Command
from tests.helpers.sets import AVE_ROWS, write_ave, write_h5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_ave(tmp_path / "ave")


def test_a_sample_is_a_row_with_its_features_label_and_truth(root: Path) -> None:
    data = AVE(root, "test")
    assert list(data.ids) == ["fffffffffff_7", "-eeeeeeeeee_5"]
    assert data.streams == {"audio": StreamSpec(4, "audio"), "visual": StreamSpec(3, "visual")}
    video = data[0]
    assert video.labels.nonzero().flatten().tolist() == [AVE_CLASSES.index("Cat")]
    assert video.streams["audio"].dtype == torch.float32
    assert torch.equal(video.streams["audio"], torch.full((10, 4), 7.0))
    torch.testing.assert_close(video.streams["visual"], torch.full((10, 3), 7.0))  # the mean of each map
    assert video.segment_labels.sum(0)[:, AVE_CLASSES.index("Cat")].tolist() == [3, 3]
    assert video.segment_labels[:3].any(2).all()
    assert video.segment_labels.sum() == 6
    assert (data.truth, data.segment_seconds, data.segments(0)) == ("joint", 1.0, 10)


def test_training_has_weak_labels_only(root: Path) -> None:
    data = AVE(root, "train")
    assert not data.has_ground_truth
    assert data[0].segment_labels is None


def test_folders_are_told_by_their_annotations(root: Path) -> None:
    assert isinstance(open_folder(root, "val"), AVE)
    assert splits_of(root) == ("train", "val", "test")


def test_background_videos_are_trained_on_where_their_features_are_there(tmp_path: Path) -> None:
    data = AVE(write_ave(tmp_path / "ave", background=2), "train")
    assert list(data.ids[-2:]) == ["background_0", "background_1"]
    video = data[len(data) - 1]
    assert not video.labels.any()
    assert torch.equal(video.streams["audio"], torch.ones(10, 4))
    assert len(AVE(tmp_path / "ave", "val")) == 1


def test_background_videos_without_features_are_left_out_and_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_ave(tmp_path / "ave", background=2)
    (root / "visual_feature_noisy.h5").unlink()
    video_folder._logged.clear()
    assert len(AVE(root, "train")) == 5
    assert "the 2 background videos of labels_noisy.h5 are left out of training" in caplog.text


def test_faults_are_counted_and_are_caveats_of_the_splits_that_they_touch(root: Path) -> None:
    data = AVE(root, "val")
    assert any("2 video ids occur in several rows" in line for line in data.issues_lines())
    assert data.caveats == (
        "1 videos are in both 'train' and 'val', such as 'aaaaaaaaaaa', under different categories",
    )
    assert AVE(root, "test").caveats == ()
    train = " ".join(AVE(root, "train").caveats)
    assert "'ccccccccccc'" in train
    assert "last no second, such as 'ddddddddddd'" in train


def test_features_may_be_npy_files_by_video_which_the_rows_of_a_video_share(root: Path) -> None:
    for path in root.glob("*_feature.h5"):
        path.unlink()
    (root / "streams.yaml").write_text(
        "streams: {sound: {modality: audio, folder: clap}, sight: {modality: visual, folder: clip, frames: 2}}"
    )
    for folder, rows in (("clap", 10), ("clip", 20)):
        (root / folder).mkdir()
        for video in {row.split("&")[1] for row in AVE_ROWS}:
            np.save(root / folder / f"{video}.npy", np.full((rows, 3), ord(video[-1]), np.float32))
    train, val = AVE(root, "train"), AVE(root, "val")
    assert train.streams["sight"] == StreamSpec(3, "visual", frames=2)
    assert torch.equal(train[0].streams["sound"], val[0].streams["sound"])
    assert not torch.equal(train[0].labels, val[0].labels)
    (root / "clap" / "aaaaaaaaaaa.npy").unlink()
    assert len(AVE(root, "train", skip_incomplete=True)) == 4
    lines = [line for kind, line in check_folder(root) if kind == "missing"]
    assert "split 'train': stream 'sound': 1 of 5 videos have no file, such as 'aaaaaaaaaaa_0'" in lines


def test_a_packed_store_holds_the_same(tmp_path: Path) -> None:
    root = write_ave(tmp_path / "ave", background=2)
    pack(root, tmp_path / "store", dtype="float32")
    for split in splits_of(root):
        plain, packed = AVE(root, split), AVE(tmp_path / "store", split)
        assert plain.ids == packed.ids
        for i in range(len(plain)):
            assert torch.equal(plain[i].streams["visual"], packed[i].streams["visual"])
            assert torch.equal(plain[i].labels, packed[i].labels)


def test_processes_read_on_their_own(root: Path) -> None:
    data = AVE(root, "train")
    copied = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert torch.equal(copied[1].streams["audio"], data[1].streams["audio"])
    read = DataLoader(data, batch_size=None, num_workers=2)
    assert [video.id for video in read] == list(data.ids)


def test_without_h5py_it_is_said_how_to_install_it(
    root: Path, coleaf: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"train_order\.h5: AVE's files need h5py: pip install 'coleaf-framework\[h5"):
        AVE(root, "val")
    assert coleaf("check-data", root, fails=True).count("\n") == 1
    assert "pip install" in coleaf("train", "--data", root, fails=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Dog&aaaaaaaaaaa&good&0&10", r"Annotations\.txt:1: unknown category 'Dog'"),
        ("Bark&aaaaaaaaaaa&good&0", r"Annotations\.txt:1: expected category&video&quality&start&end, found 4 cells"),
        ("Bark&aaaaaaaaaaa&good&5&3", r"Annotations\.txt:1: bad times '5' to '3'"),
        ("Bark&aaaaaaaaaaa&good&0&11", r"bad times '0' to '11': expected whole seconds from 0 to 10"),
        ("Bark&aaaaaaaaaaa&good&0.5&3", r"bad times '0\.5' to '3'"),
        ("Bark&../aaa&good&0&3", r"Annotations\.txt:1: '\.\./aaa' is not a plain name"),
        ("Category&VideoID&Quality&StartTime&EndTime", r"Annotations\.txt:1: unknown category 'Category'"),
    ],
)
def test_bad_rows_are_named(root: Path, row: str, message: str) -> None:
    (root / ROWS_FILE).write_text("\n".join([row, *AVE_ROWS[1:]]))
    with pytest.raises(ValueError, match=message):
        AVE(root, "val")


@pytest.mark.parametrize(
    ("name", "key", "array", "message"),
    [
        ("val_order.h5", "order", np.array([8]), r"val_order\.h5: row 8, where Annotations\.txt has the rows 0 to 7"),
        ("val_order.h5", "order", np.array([6, 6]), "row 6 is in the split twice"),
        ("val_order.h5", "order", np.array([0]), r"val_order\.h5: row 0 is in train_order\.h5 too"),
        ("val_order.h5", "order", np.array([0.5]), "where row numbers were expected"),
        ("val_order.h5", "rows", np.array([6]), r"has no data set 'order'; it has \['rows'\]"),
        ("audio_feature.h5", "avadataset", np.zeros((7, 10, 4)), "has 7 rows, where the annotations have 8"),
        ("audio_feature.h5", "avadataset", np.zeros((8, 9, 4)), r"is \(8, 9, 4\), where \(rows, 10, width\)"),
        ("audio_feature.h5", "avadataset", np.full((8, 10, 4), np.nan), r"row 6, video 'aaaaaaaaaaa_6': holds NaN"),
        ("labels_noisy.h5", "avadataset", np.eye(29), "is not background"),
    ],
)
def test_bad_arrays_are_named(root: Path, name: str, key: str, array: np.ndarray, message: str) -> None:
    write_h5(root / name, key, array)
    with pytest.raises(ValueError, match=message):
        AVE(root, "val")[0]


def test_missing_and_damaged_files_are_named(root: Path) -> None:
    (root / "audio_feature.h5").write_bytes(b"no HDF5 file")
    with pytest.raises(ValueError, match=r"audio_feature\.h5: not a whole HDF5 file"):
        AVE(root, "val")
    (root / "audio_feature.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"audio_feature\.h5: no such file; AVE's features are"):
        AVE(root, "val")
    (root / "val_order.h5").unlink()
    with pytest.raises(ValueError, match=r"split 'val' has no videos \(val_order\.h5\); it has \['train', 'test'\]"):
        AVE(root, "val")
    assert ("missing", f"split 'val': {root} has no annotations of it") in list(check_folder(root))


@pytest.fixture
def published(tmp_path: Path, published_ave: Path) -> Path:
    """The published annotations with features of width 1."""
    for path in (published_ave / ROWS_FILE, *published_ave.glob("*_order.h5"), published_ave / BACKGROUND_FILE):
        shutil.copyfile(path, tmp_path / path.name)
    for stream in ("audio", "visual"):
        write_h5(tmp_path / f"{stream}_feature.h5", "avadataset", np.zeros((4143, 10, 1), np.float32))
    return tmp_path


def test_published_splits_and_faults(published: Path) -> None:
    root = published
    sizes = {split: len(AVE(root, split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 3339, "val": 402, "test": 402}
    issues = AVE(root, "val").issues
    assert sorted(len(rows) for rows in issues.repeated.values()) == [2] * 44 + [3]
    assert {pair: len(videos) for pair, videos in issues.shared.items()} == {
        ("train", "val"): 10,
        ("train", "test"): 8,
        ("val", "test"): 0,
    }
    assert issues.within["val"] == ["3tsi7DKGrWQ"]
    assert issues.empty == {"train": [26], "val": [], "test": []}
    assert len(background_ids(root)) == 178


def test_published_weak_labels_are_the_categories(published_ave: Path) -> None:
    rows, labels = read_rows(published_ave / ROWS_FILE), h5_array(published_ave / "mil_labels.h5", "avadataset")
    assert (labels.argmax(1) == [row.category for row in rows]).all()
    assert (labels.sum(1) == 1).all()
    assert h5_array(published_ave / BACKGROUND_FILE, "avadataset").shape == (178, 29)


@pytest.mark.parametrize(("split", "accuracy"), [("test", 82.2), ("val", 81.8)])
def test_the_trivial_parser_scores_as_known(published: Path, split: str, accuracy: float) -> None:
    data = AVE(published, split)
    truth = torch.stack([data.ground_truth(video, 10) for video in data.ids])
    labels = torch.stack([data[i].labels for i in range(len(data))])
    mask = torch.ones(len(data), 10, dtype=torch.bool)
    decided = video_label_parser(labels, mask)
    probs = decided.float()
    parsed = ParsedSplit(tuple(data.ids), probs, probs.amax(1), labels, DecisionConfig(), decided, truth, labels, mask)
    assert data.further_scores(parsed) == {ACCURACY: pytest.approx(accuracy, abs=0.05)}
