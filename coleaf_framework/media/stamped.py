"""Decoding a track by PyAV, each frame with its time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from coleaf_framework.media.header import Header, Track
from coleaf_framework.media.opening import complaint, require_av

MOST_PIXELS = 2**26
"""Of a frame. FFmpeg refuses larger ones before it reserves memory for them."""


def decoded(path: Path, container: Any, header: Header, track: Track) -> Iterator[tuple[Any, Fraction | None]]:
    """A track's frames, each with its time in seconds from the file's start; None where it has no timestamp.

    Raises:
        ValueError: The decoder complains, or a frame's time is far before the one before or beyond the length.
    """
    stream = container.streams[track.index]
    context = stream.codec_context
    if context is None:
        raise ValueError(f"{path}: no decoder for its {stream.type} track")
    if stream.type == "video" and context.width * context.height > MOST_PIXELS:
        raise ValueError(f"{path}: frames of {context.width} x {context.height} are more than {MOST_PIXELS} pixels")
    context.options = {"err_detect": "crccheck+explode", "max_pixels": str(MOST_PIXELS)}
    clock, seen, length = _Clock(), Fraction(0), header.end - header.start
    for packet in _packets(path, container, stream):
        try:
            frames = packet.decode()
        except require_av().FFmpegError as problem:
            raise ValueError(_damage(path, stream.type, seen, length) + complaint(problem)) from problem
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            raise ValueError(_damage(path, stream.type, seen, length))
        for frame in frames:
            stamp = clock.read(frame)
            time = None if stamp is None else stamp * frame.time_base - header.start
            if time is not None and not seen - 1 <= time <= length + 10:
                raise ValueError(
                    f"{path}: damaged: its {stream.type} track goes on at {float(time):.1f} seconds after "
                    f"{float(seen):.1f} of {float(length):.1f}"
                )
            seen = seen if time is None else max(seen, time)
            yield frame, time


def _damage(path: Path, kind: str, seen: Fraction, length: Fraction) -> str:
    where = f"after {float(seen):.1f} of {float(length):.1f} seconds"
    return f"{path}: damaged or cut short: its {kind} track is not decodable {where}"


class _Clock:
    """Says when a frame is shown: by its timestamp, or by its packet's where those are more in order, as in AVI."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._faults = {"pts": 0, "dts": 0}

    def read(self, frame: Any) -> int | None:
        for name in self._faults:
            stamp = getattr(frame, name)
            if stamp is not None:
                self._faults[name] += stamp <= self._last.get(name, stamp - 1)
                self._last[name] = stamp
        if self._faults["pts"] > self._faults["dts"] or frame.pts is None:
            return frame.dts  # type: ignore[no-any-return]
        return frame.pts  # type: ignore[no-any-return]


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
