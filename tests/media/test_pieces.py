"""Files cut into pieces: their number, lengths and places in time, and how much is held at once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coleaf_framework.media import decode, probe
from coleaf_framework.media.pieces import cut
from tests.helpers.media import make_media

FRAME = np.zeros((1, 1, 3), np.uint8)


def frames(seconds: float, rate: int = 8) -> Generator[Any, None, Fraction]:
    """A track of numbered frames, as FFmpeg's filter `fps` counts them."""
    for index in range(round(seconds * rate)):
        yield np.full_like(FRAME, index % 256)
    return Fraction(seconds)


def samples(seconds: float, rate: int = 100, block: int = 37) -> Generator[Any, None, Fraction]:
    """A track whose samples are their own numbers."""
    numbers = np.arange(round(seconds * rate), dtype=np.float32)
    for first in range(0, len(numbers), block):
        yield numbers[None, first : first + block]
    return Fraction(seconds)


def pieces(video: float | None, audio: float | None, window: int = 10) -> list[Any]:
    return list(
        cut(
            None if video is None else frames(video), None if audio is None else samples(audio),
            window=window, frame_rate=8, sample_rate=100, prepare=lambda frame: int(frame[0, 0, 0]),
        )
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(video=st.none() | st.floats(0.07, 45), audio=st.none() | st.floats(0.02, 45), window=st.integers(1, 12))
def test_pieces_hold_everything_once_and_in_order(video: float | None, audio: float | None, window: int) -> None:
    if video is None and audio is None:
        return
    made = pieces(video, audio, window)
    seen = [frame for piece in made for frame in piece.frames]
    heard = np.concatenate([piece.samples[0] for piece in made])
    assert seen == [i % 256 for i in range(round((video or 0) * 8))]
    assert heard.tolist() == list(range(round((audio or 0) * 100)))
    longest = max(video or 0, audio or 0)
    assert sum(piece.seconds for piece in made) == max(1, int(longest + 0.5))
    assert [piece.start for piece in made] == [float(window * i) for i in range(len(made))]
    assert all(piece.seconds == window for piece in made[:-1])
    for piece in made[:-1]:
        assert len(piece.frames) <= window * 8
        assert piece.samples.shape[1] <= window * 100


@pytest.mark.parametrize(
    ("seconds", "lengths"),
    [(0.1, [1]), (0.6, [1]), (1.4, [1]), (1.5, [2]), (10.03, [10]), (10.49, [10]), (10.5, [10, 1]), (23, [10, 10, 3])],
)
def test_left_over_below_half_a_second_belongs_to_the_piece_before(seconds: float, lengths: list[int]) -> None:
    assert [piece.seconds for piece in pieces(seconds, seconds)] == lengths


def test_clip_of_llps_length_is_one_piece_of_ten_seconds(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=10.03, fps=30, rate=44100, layout="stereo")
    (piece,) = decode(path, window=10, frame_rate=8, sample_rate=16000, prepare=np.shape)
    assert piece.seconds == 10
    assert 80 <= len(piece.frames) <= 82
    assert 160000 <= piece.samples.shape[1] <= 162000


@pytest.mark.parametrize("seconds", [0.3, 9.9, 10.48, 10.6, 21.0])
def test_pieces_are_as_long_as_probe_says(tmp_path: Path, seconds: float) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=seconds, fps=50, size=(16, 16))
    made = list(decode(path, window=10, frame_rate=8, sample_rate=16000, prepare=np.shape))
    assert abs(probe(path).seconds - seconds) < 0.03
    assert sum(piece.seconds for piece in made) == max(1, int(probe(path).seconds + 0.5))


def test_windows_do_not_change_what_is_decoded(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=7, fps=30, size=(32, 32))
    options: dict[str, Any] = {"frame_rate": 8, "sample_rate": 16000, "prepare": np.copy}
    (whole,) = decode(path, window=10, **options)
    parts = list(decode(path, window=2, **options))
    assert [part.start for part in parts] == [0.0, 2.0, 4.0, 6.0]
    assert np.array_equal(np.stack(whole.frames), np.stack([frame for part in parts for frame in part.frames]))
    assert np.array_equal(whole.samples, np.concatenate([part.samples for part in parts], axis=1))


def test_track_that_is_over_first_leaves_the_other(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=2, sound_seconds=25, size=(16, 16))
    made = list(decode(path, window=10, frame_rate=8, sample_rate=16000, prepare=np.shape))
    assert [len(piece.frames) for piece in made] == [16, 0, 0]
    assert [piece.seconds for piece in made] == [10, 10, 5]


def test_time_starts_with_the_earlier_track(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.ts", seconds=2, video_start=5.0, audio_start=6.0)
    (piece,) = decode(path, window=10, frame_rate=8, sample_rate=16000, prepare=np.shape)
    assert piece.start == 0.0
    assert piece.seconds == 3
    assert len(piece.frames) == 16
    assert np.abs(piece.samples[0, :15000]).max() < 0.01
    assert np.abs(piece.samples[0, 17000:]).max() > 0.4


class Prepared:
    """Something that can be counted while it is alive."""


@pytest.mark.parametrize("options", [{}, {"sound_seconds": 1.0}])
def test_long_file_holds_two_windows_at_most(tmp_path: Path, options: Any) -> None:
    path = make_media(tmp_path / "long.mkv", seconds=600, fps=2, video="mpeg4", rate=16000, audio="mp2", **options)
    alive: weakref.WeakSet[Prepared] = weakref.WeakSet()
    most = total = 0

    def prepare(_: Any) -> Prepared:
        nonlocal most, total
        made = Prepared()
        alive.add(made)
        most, total = max(most, len(alive)), total + 1
        return made

    for piece in decode(path, window=10, frame_rate=8, sample_rate=8000, prepare=prepare):
        assert piece.samples.shape[1] <= 10.5 * 8000
        assert piece.samples.base is None or piece.samples.base.size <= 20 * 8000  # no view of something large
    assert total == 4800
    assert most <= 2 * 80 + 8


def test_iteration_that_is_broken_off_closes_the_tracks() -> None:
    closed = []

    def endless(name: str, item: Any) -> Generator[Any, None, Fraction]:
        try:
            while True:
                yield item
        finally:
            closed.append(name)

    running = cut(
        endless("video", FRAME), endless("audio", np.zeros((1, 50), np.float32)),
        window=1, frame_rate=8, sample_rate=100, prepare=np.shape,
    )  # fmt: skip
    next(running)
    running.close()
    gc.collect()
    assert closed == ["video", "audio"]
