"""Data sets in LLP's layout: what is read, and every way in which a folder can be wrong."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coleaf_framework import StreamSpec
from coleaf_framework.data import LLP, LLP_CLASSES, AVVPFolder, collate, video_folder
from coleaf_framework.data.annotation_files import read_classes, video_id
from coleaf_framework.data.annotations import read_annotations
from coleaf_framework.data.npy_files import array_shape, load_array
from tests.helpers.data import CLASSES, SEGMENTS, Bomb, last, write_data_set, write_tsv


def test_reads_classes_streams_and_truth(data_root: Path) -> None:
    data = AVVPFolder(data_root, "val")
    assert data.classes == CLASSES
    assert data.streams == {
        "audio": StreamSpec(6, "audio"),
        "visual": StreamSpec(8, "visual", frames=2),
        "visual_st": StreamSpec(4, "visual"),
    }
    video = data[1]
    assert video.id == "va01"
    assert video.labels.tolist() == [0, 1, 0]
    expected = torch.zeros(SEGMENTS, 2, 3, dtype=torch.bool)
    expected[1:3, 0, 1] = True  # heard from 1 to 3 s, not seen
    assert torch.equal(video.segment_labels, expected)
    assert video.streams["visual"].dtype == torch.float32


def test_training_videos_have_weak_labels_only(data_root: Path) -> None:
    data = AVVPFolder(data_root, "train")
    assert not data.has_ground_truth
    assert data[0].segment_labels is None


def test_annotations_may_lie_in_their_own_folder(data_root: Path) -> None:
    before = AVVPFolder(data_root, "test")[0]
    (data_root / "annotations").mkdir()
    for path in data_root.glob("AVVP_*.csv"):
        path.rename(data_root / "annotations" / path.name)
    assert torch.equal(AVVPFolder(data_root, "test")[0].segment_labels, before.segment_labels)


def test_classes_may_be_given(data_root: Path) -> None:
    (data_root / "classes.txt").unlink()
    assert AVVPFolder(data_root, "val", classes=CLASSES[::-1])[1].labels.tolist() == [0, 1, 0]
    with pytest.raises(FileNotFoundError, match=r"classes\.txt: no such file"):
        AVVPFolder(data_root, "val")


def test_statistics_are_those_of_the_training_split(data_root: Path) -> None:
    train = AVVPFolder(data_root, "train")
    frames = torch.cat([train[i].streams["visual"] for i in range(len(train))]).double()
    mean, deviation = AVVPFolder(data_root, "val").statistics()["visual"].double()
    torch.testing.assert_close(mean, frames.mean(0), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(deviation, frames.std(0, correction=0), atol=1e-6, rtol=1e-5)


def test_unequal_lengths_are_padded_and_masked(data_root: Path) -> None:
    last(data_root, "va00", 6)
    data = AVVPFolder(data_root, "val")
    batch = collate([data[0], data[1]], data.streams)
    assert batch.mask is not None
    assert batch.mask.sum(1).tolist() == [6, 4]
    assert batch.streams["visual"].shape == (2, 12, 8)
    assert not batch.streams["visual"][1, 8:].any()
    assert not batch.segment_labels[1, 4:].any()


def test_equal_lengths_have_no_mask(data_root: Path) -> None:
    data = AVVPFolder(data_root, "val")
    assert collate([data[0], data[1]], data.streams).mask is None


# Everything that can be wrong ------------------------------------------------------------------------------


def test_a_missing_file_is_named_with_how_many_more(data_root: Path) -> None:
    (data_root / "feats/vggish/tr01.npy").unlink()
    (data_root / "feats/res152/tr02.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"vggish/tr01\.npy: no such file and 1 more; split 'train' has 6 vid"):
        AVVPFolder(data_root, "train")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize(
    "name", ["AVVP_val_pd.csv", "AVVP_eval_audio.csv", "classes.txt", "feats/vggish/va00.npy", "feats/res152/va01.npy"]
)
def test_a_pipe_in_place_of_a_file_is_named_and_not_waited_for(data_root: Path, name: str) -> None:
    (data_root / name).unlink()
    os.mkfifo(data_root / name)
    with pytest.raises(ValueError, match=rf"{name}: not a regular file$"):
        AVVPFolder(data_root, "val")[1]


def test_a_truncated_file_is_named(data_root: Path) -> None:
    path = data_root / "feats/res152/tr01.npy"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"res152/tr01\.npy: not a whole \.npy file"):
        AVVPFolder(data_root, "train")[1]


def test_a_pickle_in_a_feature_file_is_never_executed(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(data_root / "feats/vggish/tr01.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    (data_root / "feats/vggish/tr02.npy").write_bytes(pickle.dumps(Bomb()))
    for i in (1, 2):
        with pytest.raises(ValueError, match=rf"tr0{i}\.npy: not a whole"):
            AVVPFolder(data_root, "train")[i]
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 7)), r"found shape \(4, 7\), expected \(1 \* T, 6\)"),
        (np.zeros((4, 6, 1)), r"found float64 \(4, 6, 1\), expected real numbers of shape"),
        (np.zeros((4, 6), dtype=complex), "found complex128"),
        (np.zeros((0, 6)), r"found float64 \(0, 6\)"),
        (np.full((4, 6), np.nan), "video 'tr01', stream 'audio' holds NaN or inf"),
        (np.full((4, 6), -np.inf), "video 'tr01', stream 'audio' holds NaN or inf"),
    ],
)
def test_wrong_content_is_named(data_root: Path, array: np.ndarray, message: str) -> None:
    np.save(data_root / "feats/vggish/tr01.npy", array)
    with pytest.raises(ValueError, match=rf"vggish/tr01\.npy: {message}"):
        AVVPFolder(data_root, "train")[1]


def test_streams_of_differing_length_are_all_named(data_root: Path) -> None:
    np.save(data_root / "feats/res152/tr01.npy", np.zeros((6, 8)))
    with pytest.raises(ValueError, match=r"video 'tr01': .*vggish/tr01\.npy has 4; .*res152/tr01\.npy has 3; "):
        AVVPFolder(data_root, "train")[1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["tr00_0_4 Dag"], r"AVVP_train\.csv:2: unknown class 'Dag'. Did you mean 'Dog'\?"),
        (["../../etc/passwd_0_4 Dog"], r"AVVP_train\.csv:2: filename '\.\./\.\./etc/passwd_0_4' is not a plain name"),
        (["tr00_0_4 Dog", "..\\x_0_4 Dog"], r"AVVP_train\.csv:3: filename"),
        ([".._0_4 Dog"], r"AVVP_train\.csv:2: filename"),
        (["tr00_0_4 Dog", "tr00_0_4 Car"], r"AVVP_train\.csv:3: video 'tr00' is listed twice"),
        (["tr00_0_4 Dog Car"], r"AVVP_train\.csv:2: expected 2 tab-separated cells, found 3"),
        ([], "split 'train' has no videos"),
    ],
)
def test_bad_weak_rows_are_named_by_line(data_root: Path, rows: list[str], message: str) -> None:
    write_tsv(data_root / "AVVP_train.csv", "filename event_labels", rows)
    with pytest.raises(ValueError, match=message):
        AVVPFolder(data_root, "train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("va00_0_4 one 3 Dog", r"AVVP_eval_audio\.csv:2: bad interval 'one' to '3'"),
        ("va00_0_4 -1 3 Dog", "bad interval '-1' to '3'"),
        ("va00_0_4 nan 3 Dog", "bad interval 'nan' to '3'"),
        ("va00_0_4 1 9 Dog", r"AVVP_eval_audio\.csv:2: bad interval 1 to 9: video 'va00' lasts 4 s"),
        ("../va00_0_4 1 3 Dog", r"AVVP_eval_audio\.csv:2: filename '\.\./va00_0_4' is not a plain name"),
        ("va00_0_4 1 3 Dogs", "unknown class 'Dogs'. Did you mean 'Dog'"),
    ],
)
def test_bad_intervals_are_named(data_root: Path, row: str, message: str) -> None:
    write_tsv(data_root / "AVVP_eval_audio.csv", "filename onset offset event_labels", [row])
    with pytest.raises(ValueError, match=message):
        AVVPFolder(data_root, "val")[0]


def test_a_wrong_header_is_named(data_root: Path) -> None:
    (data_root / "AVVP_train.csv").write_text("filename,event_labels\n")
    with pytest.raises(ValueError, match=r"AVVP_train\.csv:1: expected the header"):
        AVVPFolder(data_root, "train")


def test_missing_splits_and_folders_are_named(data_root: Path, tmp_path: Path) -> None:
    (data_root / "AVVP_test_pd.csv").unlink()
    with pytest.raises(ValueError, match=r"split 'test' has no videos .*it has \['train', 'val'\]"):
        AVVPFolder(data_root, "test")
    with pytest.raises(ValueError, match="split 'dev' is not one of"):
        AVVPFolder(data_root, "dev")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        LLP(tmp_path / "nowhere", "train")


def test_two_clips_with_one_id_are_refused(data_root: Path) -> None:
    write_tsv(data_root / "AVVP_test_pd.csv", "filename event_labels", ["va00_30_34 Dog"])
    with pytest.raises(ValueError, match=r"AVVP_test_pd\.csv: 'va00_30_34' and 'va00_0_4' .* share the id 'va00'"):
        AVVPFolder(data_root, "val")


def test_a_segment_is_a_second_however_many_vectors_it_has(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "fast", segments=8)  # files of twice the length for videos of 4 s
    data = AVVPFolder(root, "val")
    assert data.streams["audio"].frames == 2
    assert data[0].segment_labels.shape[0] == 4


def test_a_byte_order_mark_is_no_part_of_a_name(data_root: Path) -> None:
    for name in ("classes.txt", "AVVP_val_pd.csv"):
        path = data_root / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert AVVPFolder(data_root, "val").classes == CLASSES


def test_without_interval_files_there_is_no_ground_truth(data_root: Path) -> None:
    (data_root / "AVVP_eval_visual.csv").unlink()
    data = AVVPFolder(data_root, "val")
    assert not data.has_ground_truth
    assert data[0].segment_labels is None


def test_annotations_in_both_places_are_refused_or_put_together(data_root: Path) -> None:
    before = AVVPFolder(data_root, "val")[0].segment_labels
    (data_root / "annotations").mkdir()
    audio = data_root / "AVVP_eval_audio.csv"
    audio.rename(data_root / "annotations" / audio.name)
    assert torch.equal(AVVPFolder(data_root, "val")[0].segment_labels, before)
    audio.write_text("another one")
    with pytest.raises(ValueError, match="both exist: remove one of them"):
        AVVPFolder(data_root, "val")


# LLP as published -------------------------------------------------------------------------------------------


def test_published_oddities_are_counted(published_llp: Path) -> None:
    annotations = read_annotations(published_llp, LLP_CLASSES)
    assert {split: len(videos) for split, videos in annotations.weak.items()} == {
        "train": 10_000,
        "val": 649,
        "test": 1_200,
    }
    issues = annotations.issues
    assert issues.empty_intervals == {"audio": 6, "visual": 0}
    assert issues.strangers == {"audio": 14, "visual": 11}
    assert sum(issues.disagreeing.values()) == 84


def test_published_ids_are_the_first_11_characters(published_llp: Path) -> None:
    annotations = read_annotations(published_llp, LLP_CLASSES)
    assert all(video == filename[:11] for video, filename in annotations.filenames.items())
    assert any(video.startswith(("-", "_")) for video in annotations.filenames)


@pytest.mark.parametrize(
    ("filename", "video"),
    [("-abc_DE12_3_20_30", "-abc_DE12_3"), ("clip_0_10", "clip"), ("clip", "clip"), ("c_0.5_10.25", "c")],
)
def test_ids_are_filenames_without_times(filename: str, video: str) -> None:
    assert video_id(filename) == video


def test_oddities_are_logged_once(data_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    video_folder._logged.clear()
    rows = ["va00_0_4 3 3 Dog", "gone_0_4 1 3 Dog", "va01_0_4 1 3 Car", "va02_0_4 1 3 Speech"]
    write_tsv(data_root / "AVVP_eval_audio.csv", "filename onset offset event_labels", rows)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            issues = AVVPFolder(data_root, "val").issues
    assert issues.empty_intervals["audio"] == issues.strangers["audio"] == 1
    assert len(caplog.records) == 1
    assert "1 audio rows have zero or negative length" in caplog.text


def test_llp_is_the_folder_with_25_classes(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "llp")
    (root / "classes.txt").unlink()
    data = LLP(root, "val")
    assert data.name == "LLP"
    assert data[0].labels.sum() == 1
    assert len(data.classes) == 25


def test_real_features_are_read(tuxav: Path) -> None:
    data = AVVPFolder(tuxav, "val")
    assert len(data) == 200
    assert data.streams["visual"] == StreamSpec(1280, "visual", frames=2)
    assert data[0].streams["visual"].shape == (20, 1280)


# Fuzzing: whatever the files hold, they are read or refused in one sentence that names the file -------------

cells = st.sampled_from(
    ["tr00_0_4", "tr00", "Dog", "Dog,Car", "", "1", "-1", "3.5", "nan", "1e9", "é", "a b", "../x", "0"]
)
lines = st.lists(cells | st.text(max_size=6), max_size=5).map("\t".join)
headers = st.sampled_from(["filename\tevent_labels", "filename\tonset\toffset\tevent_labels", "filename,event_labels"])
files = st.binary(max_size=80) | st.builds(
    lambda head, rows: "\n".join([head, *rows]).encode(), headers, st.lists(lines, max_size=4)
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weak=files, dense=files)
def test_any_annotation_file_is_read_or_named(tmp_path: Path, weak: bytes, dense: bytes) -> None:
    (tmp_path / "AVVP_train.csv").write_bytes(weak)
    (tmp_path / "AVVP_val_pd.csv").write_text("filename\tevent_labels\nva00_0_4\tDog\n")
    (tmp_path / "AVVP_eval_audio.csv").write_bytes(dense)
    try:
        annotations = read_annotations(tmp_path, CLASSES)
    except ValueError as problem:
        told = str(problem)
        assert told.startswith(f"{tmp_path}/AVVP_")
        assert len(told.splitlines()) == 1
    else:
        assert all(0 <= label < 3 for labels in annotations.weak["train"].values() for label in labels)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), keep=st.integers(0, 150), npy=st.booleans())
def test_any_feature_file_is_read_or_named(tmp_path: Path, content: bytes, keep: int, npy: bool) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((4, 6), dtype=np.float16))
    path.write_bytes(path.read_bytes()[:keep] + content if npy else content)
    try:
        array = load_array(path)
    except ValueError as problem:
        told = str(problem)
        assert told.startswith(f"{path}: ")
    else:
        assert array.shape == array_shape(path)


HEADERS = {
    "brackets": b"[" * 5000,
    "signs": b"-" * 5000 + b"1",
    "a shape beyond memory": b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000, 8)}",
    "a shape beyond integers": b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 8)}" % 10**30,
    "an unknown dtype": b"{'descr': '<q9', 'fortran_order': False, 'shape': (4, 6)}",
    "a dtype that is none": b"{'descr': (), 'fortran_order': False, 'shape': (4, 6)}",
    "longer than the file": b"",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_damaged_header_is_named_and_harms_no_other_file(tmp_path: Path, header: bytes) -> None:
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, np.ones((4, 6)))
    size = (len(header) or 60_000).to_bytes(2, "little")
    bad.write_bytes(b"\x93NUMPY\x01\x00" + size + header + bytes(192))
    for read in (load_array, array_shape):
        with pytest.raises(ValueError, match=r"bad\.npy: not a whole \.npy file of numbers: ") as refused:
            read(bad)
        assert len(str(refused.value)) < len(str(bad)) + 300
        assert len(str(refused.value).splitlines()) == 1
    assert load_array(good).shape == (4, 6)


def test_headers_of_other_writers_are_read(tmp_path: Path) -> None:
    header = b"{'descr':'<f4','fortran_order':False,'shape':(2,3)}".ljust(117) + b"\n"
    content = np.arange(6, dtype="<f4").tobytes()
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content)
    assert load_array(tmp_path / "x.npy").tolist() == [[0, 1, 2], [3, 4, 5]]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=arrays(
        st.sampled_from(["<f2", "<f4", ">f4", "<f8", "<i4", "|u1"]),
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
        elements=st.integers(0, 100),
    ),
    columns_first=st.booleans(),
)
def test_npy_files_are_read_as_numpy_reads_them(tmp_path: Path, array: np.ndarray, columns_first: bool) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.asfortranarray(array) if columns_first else array)
    expected, found = np.load(path), load_array(path)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_a_read_that_a_fault_of_python_interrupts_is_repeated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPython 3.11's parser, which numpy reads headers by, may raise SystemError on an intact file."""
    np.save(tmp_path / "x.npy", np.ones((2, 3), dtype=np.float32))
    read, faults = np.lib.format.read_array, [SystemError("AST constructor recursion depth mismatch")]

    def faulty(*args: object, **kwargs: object) -> np.ndarray:
        if faults:
            raise faults.pop()
        return read(*args, **kwargs)

    monkeypatch.setattr(np.lib.format, "read_array", faulty)
    assert load_array(tmp_path / "x.npy").shape == (2, 3)


def test_the_faulty_published_file_is_mended_as_upstream_did(
    published_llp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variant that most repositories carry gives the very annotations of the corrected one, and says so."""
    bad = published_llp.parent / "datasets/llp_known_bad"
    if not bad.exists():
        pytest.skip("needs the development data 'datasets', which is not part of the package")
    found = []
    for variant in ("before_fde5611", "fde5611"):
        root = tmp_path / variant
        shutil.copytree(published_llp, root)
        (root / "AVVP_eval_audio.csv").unlink()
        shutil.copyfile(bad / f"AVVP_eval_audio.{variant}.csv", root / "AVVP_eval_audio.csv")
        annotations = read_annotations(root, LLP_CLASSES)
        spans = {
            video: {m: [(i.onset, i.offset, i.label) for i in rows] for m, rows in each.items()}
            for video, each in annotations.dense.items()
        }
        found.append((spans, annotations.issues))
    assert found[0][0] == found[1][0]
    assert found[0][1].mended == {"audio": 3, "visual": 0}
    assert "3 rows of AVVP_eval_audio.csv name no video" in found[0][1].lines()[0]
    assert found[1][1].mended == {"audio": 0, "visual": 0}
    path = tmp_path / "before_fde5611/AVVP_eval_audio.csv"
    path.write_text(path.read_text() + "JfZEqeLZqWk_30_40\t0\t1\tCat\n")  # another file now: nothing is guessed
    with pytest.raises(ValueError, match="AVVP_eval_audio.csv:2449: filename .* is not a plain name"):
        read_annotations(tmp_path / "before_fde5611", LLP_CLASSES)


@pytest.mark.parametrize("name", ["D\x1b[31mog", "Dog\x00", "Ca\tr", "Dog\x85Car", "Dog\u2028Car", "Dog\x0cCar"])
def test_a_class_with_a_control_character_in_its_name_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "classes.txt").write_text(f"Speech\n\n{name}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"classes\.txt:3: a control character in the class name '"):
        read_classes(tmp_path)


def test_class_names_are_read_without_the_space_around_them(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes("\ufeff Dog \r\n\r\nBlack cat\t\r\n犬".encode())
    assert read_classes(tmp_path) == ("Dog", "Black cat", "犬")


def test_classes_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(b"Dog\n\xff\n")
    with pytest.raises(ValueError, match=r"classes\.txt: not a UTF-8 text"):
        read_classes(tmp_path)
