"""torchcodec gives what PyAV gives. Skipped where it does not load: it needs FFmpeg's shared libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coleaf_framework.media import decoder_name
from coleaf_framework.media.torchcodec import require_torchcodec
from tests.helpers.media import make_media, noise, quarters, whole

CLIP = Path(__file__).resolve().parents[2] / "examples/clips/tuxva000000.mp4"


@pytest.fixture
def torchcodec(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        require_torchcodec()
    except ImportError as problem:
        pytest.skip(str(problem))
    monkeypatch.setenv("COLEAF_DECODER", "torchcodec")


def both(path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Any, Any]:
    asked = whole(path, **options)
    monkeypatch.setenv("COLEAF_DECODER", "pyav")
    return asked, whole(path, **options)


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {"fps": 30, "seconds": 10.03, "rate": 44100, "layout": "stereo"}),
        ("clip.mp4", {"rotation": 90, "picture": quarters}),
        ("clip.mp4", {"video_start": 1.0}),
        ("clip.mkv", {"audio": "pcm_s16le", "audio_start": 0.75}),
        ("clip.mkv", {"times": [0, 0.1, 0.11, 0.5, 0.7, 1.5, 1.9]}),
        ("clip.wav", {"video": None, "audio": "pcm_s16le", "layout": "5.1", "rate": 96000, "seconds": 23.0}),
        ("clip.mp4", {"audio": None}),
    ],
)
def test_same_frames_and_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    one, other = both(make_media(tmp_path / name, **options), monkeypatch)
    assert one.seconds == other.seconds
    assert len(one.frames) == len(other.frames)
    assert all(np.abs(a.astype(int) - b).mean() < 1 for a, b in zip(one.frames, other.frames, strict=True))
    assert one.samples.shape == other.samples.shape
    assert not one.samples.size or np.abs(one.samples - other.samples).max() < 1e-3


@pytest.mark.usefixtures("torchcodec")
def test_scaled_frames_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = both(CLIP, monkeypatch, frame_size=(112, 112))
    assert all(np.abs(a.astype(int) - b).mean() < 4 for a, b in zip(one.frames, other.frames, strict=True))


@pytest.mark.usefixtures("torchcodec")
def test_file_that_is_cut_short(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=6, picture=noise, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"clip\.mp4: "):
        whole(path)


@pytest.mark.usefixtures("torchcodec")
def test_record_says_which_decoder() -> None:
    assert decoder_name().startswith("torchcodec ")


def test_pyav_is_used_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLEAF_DECODER", raising=False)
    assert decoder_name().startswith("PyAV ")


def test_unknown_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLEAF_DECODER", "opencv")
    with pytest.raises(ValueError, match="COLEAF_DECODER='opencv' is not one of pyav, torchcodec"):
        whole(CLIP)


def test_torchcodec_that_does_not_load_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLEAF_DECODER", "torchcodec")
    monkeypatch.setitem(__import__("sys").modules, "torchcodec.decoders", None)
    with pytest.raises(ImportError, match="torchcodec does not load"):
        whole(CLIP)
