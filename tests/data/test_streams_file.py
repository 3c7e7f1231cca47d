"""streams.yaml: any streams, and rows that are brought to segments by time."""

from __future__ import annotations

import logging
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coleaf_framework import StreamSpec
from coleaf_framework.data import AVVPFolder, open_folder, pack, video_folder
from coleaf_framework.data.layout import read_layout, resample, resample_bicubic
from coleaf_framework.record.provenance import data_changes
from tests.helpers.data import SEGMENTS, video_names, write_data_set, write_tsv

TWO = """
streams:
  clap: {modality: audio, folder: CLAP/features, width: 5}
  clip: {modality: visual, folder: clip, frames: 2, pattern: "{id}_clip.npy"}
"""


def declare(root: Path, text: str = TWO, rows: dict[str, int] | None = None, width: int = 5) -> Path:
    """A data set whose features lie as `TWO` says, each row holding its own number."""
    write_data_set(root)
    (root / "streams.yaml").write_text(text)
    counts = {"CLAP/features": SEGMENTS, "clip": 2 * SEGMENTS} | (rows or {})
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for video in (v for s, n in (("tr", 6), ("va", 3), ("te", 3)) for v in video_names(s, n)):
            name = f"{video}_clip.npy" if folder == "clip" else f"{video}.npy"
            np.save(root / folder / name, np.arange(count, dtype=np.float32)[:, None].repeat(width, 1))
    return root


def slow_resample(rows: list[float], rows_a_segment: float, segments: int) -> list[float]:
    """Means over a fine grid of time."""
    steps, found = 2000, []
    for t in range(segments):
        times = [(t + (i + 0.5) / steps) * rows_a_segment for i in range(steps)]
        inside = [rows[int(x)] for x in times if x < len(rows)]
        found.append(sum(inside) / len(inside) if inside else rows[-1])
    return found


def test_streams_are_those_that_the_file_declares(tmp_path: Path) -> None:
    data = open_folder(declare(tmp_path / "d"), "val")
    assert data.streams == {"clap": StreamSpec(5, "audio"), "clip": StreamSpec(5, "visual", frames=2)}
    assert data[0].streams["clip"][:, 0].tolist() == list(range(2 * SEGMENTS))


def test_a_file_elsewhere_takes_the_place_of_the_folder_s_own(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(TWO.replace("frames: 2, ", "row_seconds: 0.5, "))
    assert open_folder(declare(tmp_path / "d"), "val", streams=other).streams["clip"].frames == 1


@given(
    rows=st.lists(st.integers(-5, 5), min_size=1, max_size=12),
    rate=st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.2, 6.4]),
    segments=st.integers(1, 6),
)
def test_resampling_is_the_mean_over_time(rows: list[int], rate: float, segments: int) -> None:
    found = resample(torch.tensor(rows, dtype=torch.float32)[:, None], rate, segments)[:, 0]
    expected = torch.tensor(slow_resample([float(x) for x in rows], rate, segments))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def slow_bicubic(rows: list[float], segments: int, positions: int = 1024) -> list[float]:
    """Cubic convolution (Keys, 1981) with a = -0.75, the ends repeated; then each segment's mean of positions."""

    def kernel(x: float, a: float = -0.75) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    finer = []
    for i in range(positions):
        at = (i + 0.5) * len(rows) / positions - 0.5
        taps = range(math.floor(at) - 1, math.floor(at) + 3)
        finer.append(sum(kernel(at - tap) * rows[min(max(tap, 0), len(rows) - 1)] for tap in taps))
    bins = [(t * positions // segments, -(-(t + 1) * positions // segments)) for t in range(segments)]
    return [sum(finer[start:stop]) / (stop - start) for start, stop in bins]


@given(rows=st.lists(st.integers(-5, 5), min_size=1, max_size=40), segments=st.integers(1, 60))
@settings(max_examples=40)
def test_bicubic_resampling_is_its_formula(rows: list[int], segments: int) -> None:
    found = resample_bicubic(torch.tensor(rows, dtype=torch.float32)[:, None], segments)[:, 0]
    torch.testing.assert_close(found, torch.tensor(slow_bicubic([float(x) for x in rows], segments)), rtol=0, atol=1e-5)


def test_bicubic_resampling_leaves_many_rows_as_they_are_before_it_pools_them() -> None:
    rows = torch.randn(2049, 3)
    expected = [rows[t * 2049 // 4 : -(-(t + 1) * 2049 // 4)].mean(0) for t in range(4)]
    torch.testing.assert_close(resample_bicubic(rows, 4), torch.stack(expected))


BICUBIC = TWO.replace("width: 5}", "width: 5, groups: 2, resampling: bicubic}")


@pytest.mark.parametrize("rows", [6, 8])
def test_a_stream_may_be_resampled_bicubically_whatever_its_number_of_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: int
) -> None:
    video_folder._logged.clear()
    with caplog.at_level(logging.WARNING):
        data = open_folder(declare(tmp_path / "d", BICUBIC, rows={"CLAP/features": 2 * rows}), "val")
    assert data.streams["clap"] == StreamSpec(5, "audio")
    means = [x + rows / 2 for x in range(rows)]  # of the two groups
    assert data[0].streams["clap"][:, 0].tolist() == pytest.approx(slow_bicubic(means, SEGMENTS), abs=1e-5)
    said = f"stream 'clap': {rows} rows of 'va00' are taken to span the whole video and are brought to its 4 segments"
    assert f"{said} by bicubic interpolation and pooling" in caplog.text
    assert "by time" not in caplog.text


def test_bicubic_resampling_follows_each_video_s_length(tmp_path: Path) -> None:
    text = BICUBIC.replace("frames: 2", "row_seconds: 0.5")
    root = declare(tmp_path / "d", text, rows={"CLAP/features": 12})
    path = root / "AVVP_val_pd.csv"
    path.write_text(path.read_text().replace("va01_0_4", "va01_0_5"))
    for name in ("AVVP_eval_audio.csv", "AVVP_eval_visual.csv"):
        write_tsv(root / name, "filename onset offset event_labels", ["va00_0_4 1 3 Dog"])
    data = open_folder(root, "val")
    found = [data[i].streams["clap"][:, 0].tolist() for i in range(2)]
    assert [len(x) for x in found] == [4, 5]
    assert found[1] == pytest.approx(slow_bicubic([3.0, 4, 5, 6, 7, 8], 5), abs=1e-5)


def test_a_packed_store_holds_and_tells_what_was_resampled_bicubically(tmp_path: Path) -> None:
    root = declare(tmp_path / "d", BICUBIC, rows={"CLAP/features": 12})
    pack(root, tmp_path / "store", dtype="float32")
    store, folder = open_folder(tmp_path / "store", "val"), open_folder(root, "val")
    assert torch.equal(store[1].streams["clap"], folder[1].streams["clap"])
    assert data_changes({"val": folder.digests()}, {"val": store.digests()}) == []
    (root / "streams.yaml").write_text(BICUBIC.replace(", resampling: bicubic", ""))
    changed = {"val": open_folder(root, "val").digests()}
    assert data_changes(changed, {"val": store.digests()}) == ["the features (clap) of 'val' differ"]


def test_rows_that_do_not_divide_into_segments_span_the_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video_folder._logged.clear()
    with caplog.at_level(logging.WARNING):
        data = open_folder(declare(tmp_path / "d", rows={"CLAP/features": 6}), "val")
    assert data.streams["clap"] == StreamSpec(5, "audio")
    assert data[0].streams["clap"][:, 0].tolist() == pytest.approx([1 / 3, 5 / 3, 10 / 3, 14 / 3])
    assert "stream 'clap': 6 rows of 'va00' are no multiple of its 4 segments" in caplog.text


def test_groups_of_rows_are_averaged_before_they_are_laid_over_time(tmp_path: Path) -> None:
    text = TWO.replace("width: 5}", "width: 5, groups: 2}")
    data = open_folder(declare(tmp_path / "d", text, rows={"CLAP/features": 8}), "val")
    assert data[0].streams["clap"][:, 0].tolist() == [2, 3, 4, 5]  # means of rows 0 and 4, 1 and 5, ...


def test_rows_that_go_on_are_cut_and_rows_that_end_early_repeat_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video_folder._logged.clear()
    text = TWO.replace("width: 5}", "frames: 1}")
    with caplog.at_level(logging.WARNING):
        data = open_folder(declare(tmp_path / "d", text, rows={"CLAP/features": 3, "clip": 11}), "val")
    assert data[0].streams["clap"][:, 0].tolist() == [0, 1, 2, 2]
    assert data[0].streams["clip"][:, 0].tolist() == list(range(8))
    assert "stream 'clip': rows of 3 of 3 videos go on after the last segment and are cut there" in caplog.text
    assert "stream 'clap': rows of 3 of 3 videos end before the last segment and repeat their last row" in caplog.text


def test_without_times_a_video_is_as_long_as_its_shortest_stream(tmp_path: Path) -> None:
    root = declare(tmp_path / "d", TWO.replace("width: 5}", "frames: 1}"), rows={"CLAP/features": 3})
    write_tsv(root / "AVVP_train.csv", "filename event_labels", [f"{v} Dog" for v in video_names("tr", 6)])
    data = open_folder(root, "train")
    assert data.segments(0) == 3
    assert len(data[0].streams["clip"]) == 6


def test_segments_may_be_shorter_than_a_second(tmp_path: Path) -> None:
    text = "segment_seconds: 0.5\n" + TWO.replace("frames: 2", "row_seconds: 0.5").replace("width: 5", "frames: 1")
    root = declare(tmp_path / "d", text, rows={"CLAP/features": 8})
    data = open_folder(root, "val")
    assert data.segment_seconds == 0.5
    assert data.segments(0) == 8
    assert data[0].segment_labels[:, 0, 0].tolist() == [False] * 2 + [True] * 4 + [False] * 2  # from 1 to 3 s


def test_a_packed_store_holds_the_segments(tmp_path: Path) -> None:
    text = "segment_seconds: 0.5\n" + TWO.replace("frames: 2", "row_seconds: 0.5").replace("width: 5", "frames: 1")
    root = declare(tmp_path / "d", text, rows={"CLAP/features": 8})
    pack(root, tmp_path / "store", dtype="float32")
    store, folder = open_folder(tmp_path / "store", "val"), open_folder(root, "val")
    assert store.segment_seconds == 0.5
    for name, x in folder[1].streams.items():
        assert torch.equal(store[1].streams[name], x)


def test_a_declared_data_set_goes_to_reading_processes(tmp_path: Path) -> None:
    data = open_folder(declare(tmp_path / "d"), "val")
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert torch.equal(copy[0].streams["clap"], data[0].streams["clap"])


def test_the_digest_covers_how_rows_lie_in_time(tmp_path: Path) -> None:
    root = declare(tmp_path / "d")
    before = open_folder(root, "val").digests()
    (root / "streams.yaml").write_text(TWO.replace("frames: 2", "row_seconds: 0.5"))
    now = open_folder(root, "val").digests()
    assert (now["clip"] != before["clip"], now["clap"] == before["clap"]) == (True, True)


def test_a_store_of_the_same_files_by_another_rate_is_seen_to_differ(tmp_path: Path) -> None:
    text = TWO.replace("frames: 2", "row_seconds: 0.5")
    root = declare(tmp_path / "d", text)
    pack(root, tmp_path / "one", dtype="float32")
    (root / "streams.yaml").write_text(text.replace("0.5", "0.4"))
    pack(root, tmp_path / "other", dtype="float32")
    before, now = ({"val": open_folder(tmp_path / name, "val").digests()} for name in ("one", "other"))
    assert data_changes(before, now) == ["the features (clip) of 'val' differ"]


def test_a_store_is_seen_to_hold_the_data_of_its_folder(tmp_path: Path) -> None:
    root = declare(tmp_path / "d", TWO.replace("frames: 2", "row_seconds: 0.5"))
    pack(root, tmp_path / "store", dtype="float32")
    before, now = ({"val": open_folder(folder, "val").digests()} for folder in (root, tmp_path / "store"))
    assert data_changes(before, now) == []


def test_rows_that_are_taken_for_frames_unasked_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video_folder._logged.clear()
    with caplog.at_level(logging.WARNING):
        open_folder(declare(tmp_path / "d", rows={"CLAP/features": 8}), "val")
    assert "stream 'clap': 2 rows a segment, as of the first video, are taken for frames in order" in caplog.text
    assert "clip" not in caplog.text  # whose frames are declared


def test_packing_says_that_pseudo_labels_stay_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = declare(tmp_path / "d")
    (root / "labels.yaml").write_text("kind: npy\n")
    pack(root, tmp_path / "store", dtype="float32")
    assert "labels.yaml: it is not packed: pass --labels" in caplog.text


@pytest.mark.parametrize("seconds", [0.96, 0.32, 3.0])
def test_an_event_may_last_to_the_end_of_a_video_that_segments_do_not_divide(tmp_path: Path, seconds: float) -> None:
    text = f"segment_seconds: {seconds}\n" + TWO.replace("frames: 2", "row_seconds: 0.5").replace(
        "width: 5", "row_seconds: 1"
    )
    root = declare(tmp_path / "d", text)
    rows = [f"{v}_0_4 3.95 4 Dog" for v in video_names("va", 3)]
    for modality in ("audio", "visual"):
        write_tsv(root / f"AVVP_eval_{modality}.csv", "filename onset offset event_labels", rows)
    truth = open_folder(root, "val")[0].segment_labels
    assert len(truth) == round(4 / seconds)
    assert truth[:, 0].any(1).tolist() == [False] * (len(truth) - 1) + [True]


WRONG = {
    "no audio stream": ("streams: {a: {modality: visual}}", "no audio stream in ['a']"),
    "no streams": ("streams: {}", "no audio stream"),
    "unknown modality": ("streams: {a: {modality: sound}, b: {modality: visual}}", "streams.a.modality"),
    "two rates": (TWO.replace("frames: 2", "frames: 2, row_seconds: 1.0"), "frames and row_seconds both say"),
    "a path": (TWO.replace("folder: clip", "folder: ../clip"), "streams.clip.folder: expected a folder in"),
    "a pattern": (TWO.replace("{id}_clip", "clip"), "streams.clip.pattern: expected a file name with {id}"),
    "a name": (TWO.replace("clap:", "mask:"), "'mask' names no stream"),
    "a typing error": (TWO.replace("width", "widht"), "no key 'widht'. Did you mean 'width'?"),
    "no such resampling": (
        TWO.replace("width: 5", "resampling: cubic"),
        "streams.clap.resampling: Input should be 'mean' or 'bicubic', got 'cubic'",
    ),
    "a rate to resample": (
        TWO.replace("frames: 2", "frames: 2, resampling: bicubic"),
        "resampling bicubic is for rows that span the whole video: leave out frames",
    ),
    "another width": (TWO.replace("width: 5", "width: 6"), "va00.npy: width 5, where streams.yaml says 6"),
    "odd groups": (TWO.replace("width: 5", "groups: 3"), "4 rows are no multiple of groups: 3"),
    "a wrong rate": (
        TWO.replace("frames: 2", "row_seconds: 0.1"),
        "8 rows cover 0.8 s, but the video has 4 s by its annotations",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    text, said = WRONG[name]
    root = declare(tmp_path / "d", text)
    with pytest.raises(ValueError, match=re.escape(said)) as problem:
        open_folder(root, "val")
    assert str(tmp_path) in str(problem.value)


def test_widths_that_differ_are_found_before_training(tmp_path: Path) -> None:
    root = declare(tmp_path / "d", TWO.replace(", width: 5", ""))
    np.save(root / "CLAP/features/va02.npy", np.zeros((SEGMENTS, 7), np.float32))
    with pytest.raises(ValueError, match=r"va02\.npy: width 7, not 5 as in the split's first video"):
        open_folder(root, "val")


def test_a_missing_stream_is_counted_and_may_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = declare(tmp_path / "d")
    (root / "clip" / "va01_clip.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"va01_clip\.npy: no such file; split 'val' has 3 videos .*skip"):
        AVVPFolder(root, "val")
    video_folder._logged.clear()
    with caplog.at_level(logging.WARNING):
        data = AVVPFolder(root, "val", skip_incomplete=True)
    assert data.ids == ("va00", "va02")
    assert "1 of 3 videos lack a stream and are left out, such as 'va01'" in caplog.text
    assert data.caveats[-1] == "1 of 3 videos are left out, since they lack a stream"


def test_a_store_takes_no_streams_file(tmp_path: Path) -> None:
    pack(declare(tmp_path / "d"), tmp_path / "store", dtype="float32")
    with pytest.raises(ValueError, match="packed store says itself what its streams are"):
        open_folder(tmp_path / "store", "val", streams=tmp_path / "d" / "streams.yaml")


def test_a_layout_names_its_file_in_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_layout(tmp_path / "nowhere.yaml")
