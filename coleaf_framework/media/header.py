"""What a file's header says of its tracks, and whether that held."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

LONGEST = 24 * 3600
"""Seconds; a header that says more is taken for damaged."""

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
    ends = [track.end for track in known if track.end is not None]
    unknown = len(ends) < len(known)
    whole = _whole(container, start)
    if unknown and whole is None:
        raise ValueError(f"{path}: its header says no length; `ffmpeg -i IN -c copy OUT` writes one")
    alone = all(s in found.values() or s.disposition & _covers() for s in container.streams)
    if whole is not None and (unknown or alone):  # else it may be the length of subtitles, say
        ends.append(whole)
    end = max(ends)
    if not 0 < end - start <= LONGEST:
        raise ValueError(f"{path}: its header says a length of {float(end - start):g} seconds; up to a day is read")
    return Header(tracks["video"], tracks["audio"], start, end)


def _covers() -> Any:
    return importlib.import_module("av.stream").Disposition.attached_pic


def _best(container: Any, kind: str) -> Any:
    """The track that FFmpeg picks; of video tracks no cover picture."""
    choices = [s for s in container.streams if s.type == kind and not s.disposition & _covers()]
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


def _whole(container: Any, start: Fraction) -> Fraction | None:
    """When the file as a whole ends by its header."""
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
