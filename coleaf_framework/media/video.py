"""The frames of a file's video track at a constant rate, by PyAV."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coleaf_framework.media.header import Header, Track, check_end
from coleaf_framework.media.opening import opened, require_av
from coleaf_framework.media.stamped import decoded

# What turns stored frames upright: the signs of the display matrix's upper left (a, b; c, d), by which a stored point
# (x, y) is shown at (ax + cy, bx + dy), with y downward -> transposed first, then rows and columns reversed.
_UPRIGHT = {
    (1, 0, 0, 1): (False, 1, 1), (-1, 0, 0, -1): (False, -1, -1),
    (-1, 0, 0, 1): (False, 1, -1), (1, 0, 0, -1): (False, -1, 1),
    (0, 1, -1, 0): (True, 1, -1), (0, -1, 1, 0): (True, -1, 1),
    (0, 1, 1, 0): (True, 1, 1), (0, -1, -1, 0): (True, -1, -1),
}  # fmt: skip


def read_frames(
    path: Path, header: Header, track: Track, rate: int, size: tuple[int, int] | None
) -> Generator[NDArray[np.uint8], None, Fraction]:
    """Decode frame by frame: (H,W,3) uint8 RGB, upright.

    Returns:
        When the track ends, in seconds from the file's start.
    """
    scaler = Scaler(size)
    end = Fraction(0)
    shown = 0
    with opened(path) as container:
        last = None
        pace = _Pace(container.streams[track.index], rate)
        for frame, time in decoded(path, container, header, track):
            last, start = frame, end if time is None else time
            end = max(end, pace.push(frame, start))
            for paced in pace.pull():
                yield scaler.rgb(path, paced)
                shown += 1
        for paced in pace.finish():
            yield scaler.rgb(path, paced)
            shown += 1
        if last is not None and not shown:  # so short that no frame of `rate` falls into it
            yield scaler.rgb(path, last)
    return check_end(path, header, track, "video", end)


class _Pace:
    """FFmpeg's filter `fps` from time 0 on: a track that starts later shows its first frame until then."""

    def __init__(self, stream: Any, rate: int) -> None:
        self._av = require_av()
        self._stream, self._rate = stream, rate
        self._graph: Any = None

    def push(self, frame: Any, time: Fraction) -> Fraction:
        """Feed a frame that is shown from `time` on; returns when it ends."""
        base = self._stream.time_base
        if frame.duration <= 0:  # else the filter would drop the last frame
            usual = self._stream.average_rate or self._stream.guessed_rate or self._rate
            frame.duration = max(1, round(1 / (Fraction(usual) * base)))
        frame.pts, frame.time_base = round(time / base), base
        if self._graph is None:
            self._graph = self._av.filter.Graph()
            source = self._graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
            self._graph.link_nodes(
                source,
                self._graph.add("fps", f"fps={self._rate}:start_time=0"),
                self._graph.add("buffersink"),
            )
            self._graph.configure()
        self._graph.vpush(frame)
        return time + Fraction(frame.duration * base)

    def pull(self) -> Iterator[Any]:
        """Frames that are due."""
        while True:
            try:
                yield self._graph.vpull()
            except (self._av.BlockingIOError, self._av.EOFError):
                return

    def finish(self) -> Iterator[Any]:
        """The rest, after the last frame."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self.pull()


class Scaler:
    """FFmpeg's filters `scale` and `format`, made anew where the stored frames change their size or format."""

    def __init__(self, size: tuple[int, int] | None) -> None:
        self._av = require_av()
        self._size = size
        self._kind: tuple[Any, ...] = ()
        self._graph: Any = None

    def rgb(self, path: Path, frame: Any) -> NDArray[np.uint8]:
        """A frame as (H,W,3), upright."""
        transposed, rows, columns = _turn(path, frame)
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, transposed)
        if kind != self._kind:
            self._graph, self._kind = self._make(frame, transposed), kind
        self._graph.vpush(frame)
        made = self._graph.vpull().to_ndarray()
        if transposed:
            made = made.transpose(1, 0, 2)
        return np.ascontiguousarray(made[::rows, ::columns])

    def _make(self, frame: Any, transposed: bool) -> Any:
        width, height = self._size or (0, 0)  # 0 keeps the size
        if transposed:
            width, height = height, width
        graph = self._av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
            graph.add("scale", f"{width}:{height}:flags=bicubic"),
            graph.add("format", "rgb24"),
            graph.add("buffersink"),
        )
        graph.configure()
        return graph


def _turn(path: Path, frame: Any) -> tuple[bool, int, int]:
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            matrix = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2] / 2**16
            signs = tuple(int(value) for value in np.sign(np.round(matrix, 1)).ravel())
            if signs not in _UPRIGHT:
                raise ValueError(f"{path}: its frames are turned by {frame.rotation} degrees, no multiple of 90")
            return _UPRIGHT[signs]
    return False, 1, 1
