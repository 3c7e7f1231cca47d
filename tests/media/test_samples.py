"""Samples of audio tracks: how many, and what is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coleaf_framework.media import probe
from tests.helpers.media import click, flash, join, make_media, tone, whole

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "examples/clips/tuxva000000.mp4"


def loudest(samples: Any, rate: int = 16000) -> float:
    """The frequency with the most energy, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def test_recorded_clip_decodes_to_the_recorded_waveform() -> None:
    with np.load(ROOT / "tests/data/video/features.npz") as recorded:
        expected = recorded["tuxva000000/waveform_16k_first_second"]
    samples = whole(CLIP).samples
    assert samples.dtype == np.float32
    assert np.abs(samples[0, :16000] - expected).max() < 1e-4


@settings(max_examples=15, deadline=None)
@given(
    source=st.sampled_from([8000, 11025, 22050, 44100, 48000, 96000, 192000]),
    target=st.sampled_from([8000, 16000, 32000, 48000]),
    seconds=st.floats(0.6, 3.0),
)
def test_any_rate_keeps_length_and_pitch(
    tmp_path_factory: pytest.TempPathFactory, source: int, target: int, seconds: float
) -> None:
    path = tmp_path_factory.mktemp("rates") / "clip.wav"
    make_media(path, seconds=seconds, video=None, audio="pcm_s16le", rate=source, sound=tone(440))
    samples = whole(path, sample_rate=target).samples
    assert samples.shape[0] == 1
    assert abs(samples.shape[1] - round(seconds * source) * target / source) <= 1
    assert abs(loudest(samples[0], target) - 440) < 2
    assert abs(np.abs(samples[0, target // 8 : -target // 8]).max() - 0.5) < 0.02


@pytest.mark.parametrize("audio", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_sample_formats_have_one_scale(tmp_path: Path, audio: str) -> None:
    path = make_media(tmp_path / "clip.wav", video=None, audio=audio, sound=tone(440, 0.25))
    times = np.arange(32000) / 16000
    assert np.abs(whole(path).samples[0] - tone(440, 0.25)(times)).max() < 0.01


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6), ("7.1", 8)])
def test_channels_stay_apart(tmp_path: Path, layout: str, channels: int) -> None:
    def sound(seconds: Any) -> Any:
        return np.stack([tone(300 + 200 * channel)(seconds) for channel in range(channels)])

    path = make_media(tmp_path / "clip.wav", video=None, audio="pcm_s16le", rate=44100, layout=layout, sound=sound)
    samples = whole(path).samples
    assert samples.shape == (channels, 32000)
    assert [round(loudest(channel), -2) for channel in samples] == [300 + 200 * c for c in range(channels)]


def test_layout_that_changes_in_the_middle_repeats_the_mean(tmp_path: Path) -> None:
    def left(seconds: Any) -> Any:
        return np.stack([tone(440, 0.8)(seconds), np.zeros_like(seconds)])

    first = make_media(tmp_path / "1.ts", seconds=1, video=None, audio="mp2", rate=48000)
    second = make_media(
        tmp_path / "2.ts", seconds=1, video=None, audio="mp2", rate=48000, layout="stereo", sound=left, audio_start=1.0
    )
    both = join(tmp_path / "both.ts", first, second)
    samples = whole(both).samples
    assert len(samples) == 1
    assert abs(np.abs(samples[0, 20000:30000]).max() - 0.4) < 0.05


def test_rate_that_changes_in_the_middle(tmp_path: Path) -> None:
    first = make_media(tmp_path / "1.ts", seconds=1, video=None, audio="mp2", rate=48000)
    second = make_media(tmp_path / "2.ts", seconds=1, video=None, audio="mp2", rate=32000, audio_start=1.0)
    both = join(tmp_path / "both.ts", first, second)
    samples = whole(both).samples[0]
    assert abs(len(samples) - 32000) < 1600
    assert abs(loudest(samples[:14000]) - 440) < 5
    assert abs(loudest(samples[18000:]) - 440) < 5


def test_track_that_starts_later_is_silent_until_then(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mkv", audio="pcm_s16le", audio_start=0.75)
    samples = whole(path).samples[0]
    assert not samples[:11900].any()
    assert np.abs(samples[12100:]).max() > 0.4


def test_gap_in_the_middle_is_silent(tmp_path: Path) -> None:
    first = make_media(tmp_path / "1.ts", seconds=1, video=None, audio="mp2", rate=48000)
    second = make_media(tmp_path / "2.ts", seconds=1, video=None, audio="mp2", rate=48000, audio_start=3.0)
    both = join(tmp_path / "both.ts", first, second)
    samples = whole(both).samples[0]
    assert abs(len(samples) - 64000) < 1600
    assert not samples[18000:46000].any()
    assert np.abs(samples[50000:62000]).max() > 0.4


def test_samples_stay_within_one(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.wav", video=None, audio="pcm_f32le", sound=tone(440, 3.0))
    assert np.abs(whole(path).samples).max() == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    path = make_media(tmp_path / "clip.wav", video=None, audio="pcm_f32le", sound=lambda s: np.full_like(s, value))
    with pytest.raises(ValueError, match=r"clip\.wav: .*not finite"):
        whole(path)


def test_no_audio_track(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", audio=None)
    assert not probe(path).has_audio
    assert whole(path).samples.shape == (1, 0)


def test_no_video_track(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", video=None)
    assert not probe(path).has_video
    assert whole(path).frames == []


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "clip.ts"])
@pytest.mark.parametrize("at", [0.5, 2.5, 10.25])
def test_flash_and_click_stay_together(tmp_path: Path, name: str, at: float) -> None:
    path = make_media(
        tmp_path / name, seconds=12, fps=25, size=(16, 16), picture=flash(at), sound=click(at), rate=44100
    )
    piece = whole(path)
    seen = int(np.argmax([frame.mean() > 127 for frame in piece.frames])) / 8
    heard = int(np.argmax(np.abs(piece.samples[0]) > 0.2)) / 16000
    assert abs(seen - heard) <= 1 / 8
    assert abs(heard - at) < 0.07
