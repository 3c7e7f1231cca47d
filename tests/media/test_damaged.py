"""Files that cannot be decoded, or not to their end: one sentence that names the file, and no crash."""

from __future__ import annotations

import contextlib
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from coleaf_framework.media import decode, probe, stamped
from tests.helpers.media import make_media, noise, tone, whole

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "examples/clips/tuxva000000.mp4"


def complaint(path: Path) -> str:
    """What decoding a file raises: one line with the file's name, and nothing of FFmpeg's own."""
    with pytest.raises((ValueError, OSError)) as caught:
        whole(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert type(caught.value) in (ValueError, FileNotFoundError)
    return message


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4: no such file"):
        probe(tmp_path / "gone.mp4")


def test_folder(tmp_path: Path) -> None:
    assert "not a regular file" in complaint(tmp_path)


def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in complaint(tmp_path / "pipe.mp4")


def test_device() -> None:
    assert "not a regular file" in complaint(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "an empty file"),
        (b"This is no video.\n" * 100, "not readable as audio or video"),
        (bytes(100_000), "not readable as audio or video"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(1000), "not readable as audio or video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "not readable as audio or video"),
    ],
    ids=["empty", "text", "zeros", "header only", "picture"],
)
def test_no_media_file(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert why in complaint(path)


def cut_short(path: Path, share: float) -> Path:
    content = path.read_bytes()
    short = path.with_stem("short")
    short.write_bytes(content[: int(len(content) * share)])
    return short


@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("end.mp4", {}),
        ("start.mp4", {"options": {"movflags": "faststart"}}),
        ("fragments.mp4", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("clip.mkv", {}),
        ("clip.webm", {"video": "libvpx", "audio": "libopus", "rate": 48000}),
        ("clip.avi", {"video": "mpeg4", "audio": "mp3", "rate": 44100}),
        ("clip.flv", {"video": "flv", "audio": "mp3", "rate": 44100}),
        ("clip.wav", {"video": None, "audio": "pcm_s16le"}),
        ("clip.flac", {"video": None, "audio": "flac"}),
        ("clip.m4a", {"video": None, "options": {"movflags": "faststart"}, "format": "mp4"}),
    ],
)
def test_cut_short(tmp_path: Path, name: str, options: Any, share: float) -> None:
    path = make_media(tmp_path / name, seconds=6, fps=10, picture=noise, **options)
    whole(path)
    message = complaint(cut_short(path, share))
    assert "cut short" in message or "not readable" in message or "is missing" in message


def test_cut_short_tells_how_much_there_is(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=6, fps=10, picture=noise, options={"movflags": "faststart"})
    assert re.search(
        r"after 3\.\d of 6\.0 seconds|ends at 3\.\d seconds, .* says 6\.0", complaint(cut_short(path, 0.6))
    )


def test_pieces_before_the_damage_are_given(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=6, fps=10, picture=noise, options={"movflags": "faststart"})
    pieces = decode(cut_short(path, 0.6), window=1, frame_rate=8, sample_rate=16000, prepare=lambda frame: None)
    assert next(pieces).start == 0.0
    with pytest.raises(ValueError, match="cut short"):
        list(pieces)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.5, 0.8])
def test_flipped_bytes_are_noticed(tmp_path: Path, share: float) -> None:
    content = bytearray(CLIP.read_bytes())
    first = int(len(content) * share)
    content[first : first + 2000] = bytes(value ^ 255 for value in content[first : first + 2000])
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert "damaged" in complaint(path)


@pytest.mark.parametrize("name", ["clip.flac", "clip.ogg"])
def test_part_with_a_wrong_checksum_is_not_passed_over(tmp_path: Path, name: str) -> None:
    audio = "flac" if name.endswith("flac") else "libopus"
    path = make_media(tmp_path / name, seconds=6, video=None, audio=audio, rate=48000)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    said = complaint(path)
    assert "is missing" in said or "is not decodable" in said  # by FFmpeg 8.1, by earlier ones


def patched(path: Path, tag: bytes, offset: int, value: bytes) -> Path:
    """Write bytes some places behind the first occurrence of a tag."""
    content = bytearray(path.read_bytes())
    at = content.index(tag) + len(tag) + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def claiming(path: Path, seconds: float) -> Path:
    """A Matroska file of ten seconds whose header says another length, and nothing of its tracks."""
    make_media(path, seconds=10, size=(16, 16), fps=4)
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"_URATION"))
    return patched(path, b"\x44\x89\x88", 0, struct.pack(">d", seconds * 1000))


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 3 * 24 * 3600.0, -5.0, 1e300])
def test_absurd_length(tmp_path: Path, seconds: float) -> None:
    path = claiming(tmp_path / "clip.mkv", seconds)
    assert "length" in complaint(path)
    with pytest.raises(ValueError, match=r"clip\.mkv: its header says"):
        probe(path)


def test_header_of_three_hours_with_ten_seconds(tmp_path: Path) -> None:
    path = claiming(tmp_path / "clip.mkv", 3 * 3600.0)
    assert probe(path).seconds == pytest.approx(3 * 3600, abs=0.1)
    assert re.search(r"it ends at 10\.[01] seconds, though the header says 10800\.[01]", complaint(path))


def test_header_that_says_no_length(tmp_path: Path) -> None:
    path = make_media(tmp_path / "live.webm", video="libvpx", audio=None, options={"live": "1"})
    assert "says no length" in complaint(path)


def test_timestamps_far_beyond_the_length(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mkv", times=[0, 0.5, 90.0], audio=None)
    content = path.read_bytes()
    at = content.index(b"\x44\x89\x88") + 3
    path.write_bytes(content[:at] + struct.pack(">d", 1000.0) + content[at + 8 :].replace(b"00:01:30", b"00:00:01"))
    assert "goes on at 90.0 seconds after 0.5 of 1" in complaint(path)


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_timestamps_that_go_back(tmp_path: Path, kind: str) -> None:
    only: dict[str, Any] = (
        {"audio": None, "video": "mpeg2video"} if kind == "video" else {"video": None, "audio": "mp2"}
    )
    first = make_media(tmp_path / "1.ts", seconds=4, rate=48000, fps=25, **only)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() * 2)
    assert re.search(r"goes on at|not decodable after", complaint(both))


def test_neither_audio_nor_video(tmp_path: Path) -> None:
    path = make_media(tmp_path / "cover.m4a", video=None, audio=None, cover=True, format="mp4")
    assert "neither an audio nor a video track" in complaint(path)


@pytest.mark.parametrize("size", [(64, 48), (48, 64)])
def test_frames_of_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    path = make_media(tmp_path / "clip.mp4", size=size, audio=None)
    monkeypatch.setattr(stamped, "MOST_PIXELS", 3000)
    assert f"frames of {size[0]} x {size[1]} are more than 3000 pixels" in complaint(path)


def test_sample_rate_that_cannot_be(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.wav", video=None, audio="pcm_s16le", rate=10)
    assert "10 samples a second" in complaint(path)


def test_turned_by_an_odd_angle(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4", audio=None)
    half = 46341  # of 65536: cosine of 45 degrees
    patched(path, b"tkhd", 40, struct.pack(">5i", half, half, 0, -half, half))
    assert "no multiple of 90" in complaint(path)


def test_chunk_that_leads_beyond_any_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = make_media(tmp_path / "clip.caf", video=None, audio="pcm_s16le")
    patched(path, b"info", 0, struct.pack(">q", -(2**40)))  # the length of a chunk, past which the next one lies
    capfd.readouterr()
    with contextlib.suppress(ValueError):  # FFmpeg before 8.1 passes over the chunk
        whole(path)
    assert capfd.readouterr() == ("", "")


def test_ffmpeg_does_not_write_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = make_media(tmp_path / "clip.mp4", seconds=3, picture=noise, sound=tone(), options={"movflags": "faststart"})
    capfd.readouterr()
    complaint(cut_short(path, 0.5))
    assert capfd.readouterr() == ("", "")
