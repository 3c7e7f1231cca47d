"""Frames of video tracks: how many, which, and how they look."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coleaf_framework.media import probe
from tests.helpers.media import brightening, flash, join, make_media, quarters, whole

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "examples/clips/tuxva000000.mp4"


def greys(frames: list[Any]) -> list[int]:
    return [round(float(frame.mean())) for frame in frames]


def corners(frame: Any) -> str:
    """The colours of `quarters`: upper left, upper right, lower left, lower right."""
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    picks = frame[4, 4], frame[4, -5], frame[-5, 4], frame[-5, -5]
    return "".join(names[tuple(int(value > 127) for value in pick)] for pick in picks)


def test_recorded_clip_decodes_to_the_recorded_frames() -> None:
    with np.load(ROOT / "tests/data/video/features.npz") as recorded:
        expected = recorded["tuxva000000/first_frames_uint8"].astype(int)
    frames = np.stack(whole(CLIP, frame_size=(160, 160)).frames)
    assert frames.shape == (80, 160, 160, 3)
    assert np.abs(frames[:8] - expected).mean() < 0.5


@settings(max_examples=15, deadline=None)
@given(
    fps=st.sampled_from([1, 5, 8, 12, 24, Fraction(30000, 1001), 50]),
    rate=st.integers(1, 30),
    count=st.integers(1, 60),
)
def test_number_of_frames_is_rate_times_length(
    tmp_path_factory: pytest.TempPathFactory, fps: Fraction | int, rate: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("rates") / "clip.mkv"
    make_media(path, seconds=count / Fraction(fps), fps=fps, audio=None, size=(16, 16), video="mpeg4")  # type: ignore[arg-type]
    frames = whole(path, frame_rate=rate).frames
    assert abs(len(frames) - count / Fraction(fps) * rate) <= 1
    assert len(frames) >= 1


def test_each_frame_is_the_one_that_is_shown_at_its_time(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=4, fps=40, audio=None)
    for index, grey in enumerate(greys(whole(path).frames)):
        assert abs(grey - (20 + index * 10 / 8)) <= 2.5  # the level rises by 10 a second


def test_variable_rate_holds_a_frame_until_the_next(tmp_path: Path) -> None:
    def picture(seconds: float, width: int, height: int) -> Any:
        return np.full((height, width, 3), 50 if seconds < 0.5 else 150 if seconds < 2 else 250, np.uint8)

    path = make_media(tmp_path / "clip.mkv", times=[0.0, 0.02, 0.5, 0.51, 2.0, 2.9], picture=picture, audio=None)
    frames = np.array(greys(whole(path).frames))
    assert abs(frames[:4] - 50).max() < 5
    assert abs(frames[4:16] - 150).max() < 5
    assert abs(frames[16:] - 250).max() < 5
    assert 23 <= len(frames) <= 26


@pytest.mark.parametrize(
    ("rotation", "seen"), [(0, "rgbw"), (90, "brwg"), (180, "wbgr"), (270, "gwrb"), ("mirrored", "grwb")]
)
def test_frames_are_upright(tmp_path: Path, rotation: int | str, seen: str) -> None:
    path = make_media(tmp_path / "clip.mp4", rotation=rotation, picture=quarters, audio=None)
    (frame, *_) = whole(path).frames
    assert frame.shape == ((64, 48, 3) if rotation in (90, 270) else (48, 64, 3))
    assert corners(frame) == seen


def test_frame_size_is_that_of_the_upright_frame(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", rotation=90, picture=quarters, audio=None)
    (frame, *_) = whole(path, frame_size=(30, 20)).frames
    assert frame.shape == (20, 30, 3)
    assert corners(frame) == "brwg"


@pytest.mark.parametrize(
    ("video", "pixels", "size"),
    [
        ("libx264", "yuv444p", (63, 47)),
        ("libx264", "yuv420p10le", (64, 48)),
        ("ffv1", "bgra", (33, 17)),
        ("mjpeg", "yuvj422p", (64, 48)),
        ("ffv1", "rgb48le", (64, 48)),
    ],
)
def test_pixel_formats_and_odd_sizes(tmp_path: Path, video: str, pixels: str, size: tuple[int, int]) -> None:
    path = make_media(tmp_path / "clip.mkv", video=video, pixels=pixels, size=size, picture=quarters, audio=None)
    (frame, *_) = whole(path).frames
    assert frame.shape == (size[1], size[0], 3)
    assert frame.dtype == np.uint8
    assert corners(frame) == "rgbw"


def test_grey_video_has_three_equal_channels(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mkv", video="ffv1", pixels="gray", audio=None)
    (frame, *_) = whole(path).frames
    assert frame.shape == (48, 64, 3)
    assert np.ptp(frame, axis=2).max() == 0
    assert abs(frame.mean() - 20) < 2


def test_resolution_that_changes_in_the_middle(tmp_path: Path) -> None:
    first = make_media(tmp_path / "1.ts", seconds=1, audio=None, video="mpeg2video", fps=25)
    second = make_media(
        tmp_path / "2.ts", seconds=1, audio=None, video="mpeg2video", fps=25, size=(96, 80), video_start=1.25
    )
    both = join(tmp_path / "both.ts", first, second)
    assert [frame.shape[:2] for frame in whole(both).frames] == [(48, 64)] * 10 + [(80, 96)] * 8
    assert {frame.shape for frame in whole(both, frame_size=(32, 32)).frames} == {(32, 32, 3)}


def test_track_that_starts_later_shows_its_first_frame_until_then(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=2, video_start=1.0, picture=flash(0.5))
    frames = np.array(greys(whole(path).frames))
    assert len(frames) == 24
    assert frames[:12].max() < 20
    assert frames[12:].min() > 235


def test_cover_picture_is_no_video_track(tmp_path: Path) -> None:
    path = make_media(tmp_path / "song.m4a", video=None, cover=True, format="mp4")
    assert not probe(path).has_video
    assert whole(path).frames == []


def test_cover_picture_beside_a_video_track(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", cover=True)
    assert whole(path).frames[0].shape == (48, 64, 3)


def test_of_two_video_tracks_the_default_one_is_taken(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mkv", picture=brightening, second_picture=quarters)
    assert corners(whole(path).frames[0]) == "rgbw"


def test_video_shorter_than_a_frame_has_one_frame(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mkv", seconds=0.04, fps=25, audio=None)
    assert len(whole(path, frame_rate=1).frames) == 1


def test_avi_whose_timestamps_are_out_of_order(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.avi", seconds=3, audio=None)  # H.264 with B-frames, which AVI has no room for
    frames = greys(whole(path).frames)
    assert frames == sorted(frames)
    assert max(np.diff(frames)) <= 3


def test_webm_and_other_containers_decode_alike(tmp_path: Path) -> None:
    for name, video, audio in (
        ("clip.webm", "libvpx-vp9", "libopus"), ("clip.avi", "mpeg4", "mp3"), ("clip.flv", "flv", "mp3"),
        ("clip.ts", "libx264", "aac"), ("clip.mov", "mpeg4", "pcm_s16le"),
    ):  # fmt: skip
        path = make_media(tmp_path / name, video=video, audio=audio, rate=48000 if audio == "libopus" else 44100)
        piece = whole(path)
        assert 15 <= len(piece.frames) <= 18, name
        assert abs(np.array(greys(piece.frames))[:15] - (20 + np.arange(15) * 1.25)).max() < 7, name
        assert 31900 <= piece.samples.shape[1] <= 34000, name
