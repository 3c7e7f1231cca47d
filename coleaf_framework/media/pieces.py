"""Two tracks that advance together, cut into pieces."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Prepared = TypeVar("Prepared")
Item = TypeVar("Item")
Samples = NDArray[np.float32]
Items = Generator[Item, None, Fraction]
"""Yields a track's frames or blocks of samples; returns when it ends, in seconds from the file's start."""

_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Piece(Generic[Prepared]):
    """Decoded frames and samples of a stretch of a file.

    Args:
        start: Seconds from the file's start.
        seconds: Whole seconds that the piece stands for, at least 1. The last piece of a file is as long as what is
            left, rounded; less than half a second that is left belongs to the piece before.
        frames: What `prepare` made of each frame, in order, at a constant rate; of the last piece some frames more or
            less than rate * seconds. Empty where the file has no video track, fewer where the track is over before the
            audio is.
        samples: (channels, n) float32 in [-1,1], from `start` on, likewise; (1, 0) where it has no audio track.
    """

    start: float
    seconds: int
    frames: list[Prepared]
    samples: NDArray[np.float32]


class _Reader(Generic[Item]):
    """A track, with the time at which it ended once it has; a track that is not there ended at 0."""

    def __init__(self, track: Items[Item] | None) -> None:
        self._track = track
        self.end: Fraction | None = Fraction(0) if track is None else None

    def next(self) -> Item | None:
        """The next item; None after the last, from when on `end` is set."""
        if self._track is None or self.end is not None:
            return None
        try:
            return next(self._track)
        except StopIteration as stop:
            self.end = stop.value
            return None

    def close(self) -> None:
        """Close the track's file."""
        if self._track is not None:
            self._track.close()


def cut(
    video: Items[NDArray[np.uint8]] | None,
    audio: Items[Samples] | None,
    *,
    window: int,
    frame_rate: int,
    sample_rate: int,
    prepare: Callable[[NDArray[np.uint8]], Prepared],
) -> Generator[Piece[Prepared], None, Fraction]:
    """Cut tracks into pieces of `window` seconds, reading a little over half a second ahead to know which is the last.

    The tracks are closed at the end, also of an iteration that is broken off.

    Returns:
        When the longer track ends, in seconds from the file's start.
    """
    pictures, sounds = _Reader(video), _Reader(audio)
    frames: list[Prepared] = []
    samples = np.zeros((1, 0), np.float32)
    start = 0
    try:
        while True:
            _read_frames(pictures, frames, prepare, ceil((window + _HALF) * frame_rate) + 1)
            samples = _read_samples(sounds, samples, ceil((window + _HALF) * sample_rate) + sample_rate // 100)
            if pictures.end is not None and sounds.end is not None:
                left = max(pictures.end, sounds.end) - start
                if left < window + _HALF:
                    yield Piece(float(start), max(1, floor(left + _HALF)), frames, samples)
                    return start + left
            whole, heard = window * frame_rate, window * sample_rate
            piece = Piece(float(start), window, frames[:whole], samples[:, :heard].copy())
            frames, samples, start = frames[whole:], samples[:, heard:], start + window
            yield piece
            del piece  # so that of two pieces' frames no more than one is held here
    finally:
        pictures.close()
        sounds.close()


def _read_frames(
    track: _Reader[NDArray[np.uint8]],
    frames: list[Prepared],
    prepare: Callable[[NDArray[np.uint8]], Prepared],
    count: int,
) -> None:
    while len(frames) < count and (frame := track.next()) is not None:
        frames.append(prepare(frame))


def _read_samples(track: _Reader[Samples], held: Samples, count: int) -> Samples:
    blocks, have = [held], held.shape[1]
    while have < count and (block := track.next()) is not None:
        blocks.append(block)
        have += block.shape[1]
    if len(blocks) > 1 and held.shape[1] == 0:  # what stands for no track has one channel
        blocks = blocks[1:]
    return np.concatenate(blocks, axis=1)
