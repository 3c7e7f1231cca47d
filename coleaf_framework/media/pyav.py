"""Opening a file with PyAV: a file only, in a known container, with every complaint of FFmpeg as one sentence."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from coleaf_framework.storage import require_file

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf", "mpegts", "mpeg", "ogg", "wav", "flac", "mp3",
    "aac", "aiff", "caf",
)  # fmt: skip
"""FFmpeg's names of the containers that are read; none of them is made of other files, as playlists are."""

LONGEST = 24 * 3600
"""Seconds; a header that says more is taken for damaged."""

MOST_PIXELS = 2**26
"""Of a frame. FFmpeg refuses larger ones before it reserves memory for them."""

HALF_SECOND = Fraction(1, 2)

# These state no length, and FFmpeg's guess from the bit rate can be far off; their packets are counted instead.
_COUNTED = ("aac", "mp3")


@dataclass(frozen=True)
class Track:
    """Where a track lies. Seconds on the file's own clock.

    Args:
        index: Its number among the file's streams.
        start: When it starts.
        end: When it ends by the header; None where the header says nothing of this track.
    """

    index: int
    start: Fraction
    end: Fraction | None


@dataclass(frozen=True)
class Header:
    """A file's tracks of interest; None for one that it has not.

    Args:
        video: The video track.
        audio: The audio track.
        start: Start of the earlier of the two.
        end: End of the longer.
    """

    video: Track | None
    audio: Track | None
    start: Fraction
    end: Fraction


def require_av() -> Any:
    """The module `av`."""
    try:
        return importlib.import_module("av")
    except ImportError as problem:
        raise ImportError("reading videos needs PyAV: pip install 'coleaf-framework[video]'") from problem


class _Bytes:
    """A file without its name, so that FFmpeg judges by what is in it alone, and never takes the name for a URL."""

    def __init__(self, file: Any) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


class _OtherFileError(Exception):
    """A file refers to another one."""


def _refuse(url: str, *_: object) -> None:
    raise _OtherFileError(url)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open container; what FFmpeg complains of inside the block is raised as ValueError with the file's name."""
    require_file(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: an empty file")
    av = require_av()
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file", "err_detect": "crccheck"}
    with path.open("rb") as file:
        try:
            container = av.open(_Bytes(file), container_options=options, metadata_errors="replace", io_open=_refuse)
        except (av.FFmpegError, _OtherFileError) as problem:
            raise ValueError(f"{path}: not readable as audio or video{_reason(problem)}") from problem
        try:
            with container:
                yield container
        except (av.FFmpegError, _OtherFileError) as problem:
            raise ValueError(f"{path}: damaged or cut short{_reason(problem)}") from problem


def _reason(problem: Exception) -> str:
    if isinstance(problem, _OtherFileError):
        return ": it refers to another file, which is not read"
    return f" (FFmpeg: {getattr(problem, 'strerror', problem)})"


def read_header(path: Path, container: Any) -> Header:
    """Find the tracks and their lengths.

    Raises:
        ValueError: There is neither track, or the length is unknown or longer than a day.
    """
    found = {kind: _best(container, kind) for kind in ("video", "audio")}
    if not any(found.values()):
        raise ValueError(f"{path}: neither an audio nor a video track")
    counted = _count(container, found["audio"]) if container.format.name in _COUNTED else None
    tracks = {kind: stream and _track(container.format.name, stream, counted) for kind, stream in found.items()}
    known = [track for track in tracks.values() if track]
    start = min(track.start for track in known)
    end = _end(container, [track.end for track in known], start)
    if end is None:
        raise ValueError(f"{path}: its header says no length; `ffmpeg -i IN -c copy OUT` writes one")
    if not 0 < end - start <= LONGEST:
        raise ValueError(f"{path}: its header says a length of {float(end - start):g} seconds; up to a day is read")
    return Header(tracks["video"], tracks["audio"], start, end)


def _best(container: Any, kind: str) -> Any:
    """The track that FFmpeg picks; of video tracks no cover picture."""
    covers = importlib.import_module("av.stream").Disposition.attached_pic
    choices = [s for s in container.streams if s.type == kind and not s.disposition & covers]
    best = container.streams.best(kind)
    return best if best in choices else next(iter(choices), None)


def _track(container: str, stream: Any, counted: Fraction | None) -> Track:
    start = Fraction(stream.start_time or 0) * stream.time_base
    if counted is not None:
        return Track(stream.index, start, start + counted)
    if stream.duration is not None:
        ticks = max(stream.duration, stream.frames if container == "avi" else 0)  # AVI's first is off if cut short
        return Track(stream.index, start, start + ticks * stream.time_base)
    return Track(stream.index, start, _clock(stream.metadata.get("DURATION", "")))


def _end(container: Any, ends: list[Fraction | None], start: Fraction) -> Fraction | None:
    """When the longer track ends; of unknown ones the file as a whole may say it."""
    known = [end for end in ends if end is not None]
    if len(known) == len(ends):
        return max(known)
    if container.duration is None:
        return None
    # Matroska says when the last frame ends on the file's own clock, the others how long the file lasts.
    own_clock = container.format.name.startswith("matroska")
    return Fraction(container.duration, 1_000_000) + (0 if own_clock else start)


def _clock(text: str) -> Fraction | None:
    """Seconds of Matroska's tag of a track's end, such as 00:00:10.026000000."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except (ValueError, ZeroDivisionError):
        return None


def _count(container: Any, stream: Any) -> Fraction:
    return sum((packet.duration or 0 for packet in container.demux(stream)), 0) * Fraction(stream.time_base)


def decoded(path: Path, container: Any, header: Header, track: Track) -> Iterator[tuple[Any, Fraction | None]]:
    """A track's frames, each with its time in seconds from the file's start; None where it has no timestamp.

    Raises:
        ValueError: The decoder complains, or a frame's time is far beyond the length that the header says.
    """
    stream = container.streams[track.index]
    context = stream.codec_context
    if context is None:
        raise ValueError(f"{path}: no decoder for its {stream.type} track")
    if stream.type == "video" and context.width * context.height > MOST_PIXELS:
        raise ValueError(f"{path}: frames of {context.width} x {context.height} are more than {MOST_PIXELS} pixels")
    context.options = {"err_detect": "crccheck+explode", "max_pixels": str(MOST_PIXELS)}
    for packet in _packets(path, container, stream):
        frames = packet.decode()
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            raise ValueError(f"{path}: damaged or cut short, in its {stream.type} track")
        for frame in frames:
            stamp = frame.pts if frame.pts is not None else frame.dts
            time = None if stamp is None else stamp * frame.time_base - header.start
            if time is not None and time > header.end - header.start + 10:
                raise ValueError(
                    f"{path}: damaged: its {stream.type} track goes on at {float(time):.1f} seconds, though the header "
                    f"says a length of {float(header.end - header.start):.1f}"
                )
            yield frame, time


def _packets(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except IndexError as problem:  # PyAV's answer to a track that no header announced
            raise ValueError(f"{path}: damaged: a track begins in the middle of it") from problem
        if packet is None:
            return
        yield packet


def check_end(path: Path, header: Header, track: Track, kind: str, seconds: Fraction) -> Fraction:
    """When a track ends whose last frame ended at `seconds`: as its header says, if that is no more than padding off.

    Raises:
        ValueError: The header says over half a second more.
    """
    if track.end is None:
        return seconds
    said = track.end - header.start
    if seconds < said - HALF_SECOND:
        raise ValueError(
            f"{path}: damaged or cut short: its {kind} track ends at {float(seconds):.1f} seconds, though the header "
            f"says {float(said):.1f}"
        )
    return said if seconds < said + HALF_SECOND else seconds


def check_length(path: Path, header: Header, seconds: Fraction) -> None:
    """Check that the longer track ended when the header says, for the containers that say no track's length.

    Raises:
        ValueError: The header says over half a second more.
    """
    said = header.end - header.start
    if seconds < said - HALF_SECOND:
        raise ValueError(
            f"{path}: damaged or cut short: it ends at {float(seconds):.1f} seconds, though the header says "
            f"{float(said):.1f}"
        )
