"""The samples of a file's audio track at a constant rate, by PyAV."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from coleaf_framework.media.header import Header, Track, check_end
from coleaf_framework.media.opening import opened, require_av
from coleaf_framework.media.pieces import Samples
from coleaf_framework.media.stamped import decoded

RATES = (1_000, 768_000)
"""Samples a second that a track may have."""

MOST_CHANNELS = 64

# Timestamps of containers are rounded to milliseconds or worse; what is off by less is no gap.
_GAP = Fraction(1, 10)

# These have checksums, and no gaps unless FFmpeg passed over a part whose checksum was wrong.
_SEAMLESS = {"flac": Fraction(1, 100), "ogg": _GAP}


def read_samples(path: Path, header: Header, track: Track, rate: int) -> Generator[Samples, None, Fraction]:
    """Decode block by block: (channels, n) float32 in [-1,1].

    Where the track starts later than the file, or leaves a gap of more than 0.1 s, samples are zero. All blocks have as
    many channels as the first; of a later part with another number, the channels' mean is repeated.

    Returns:
        When the track ends, in seconds from the file's start.
    """
    with opened(path) as container:
        timeline = Timeline(path, rate, container.format.name)
        for frame, time in decoded(path, container, header, track):
            yield from timeline.add(frame, timeline.end if time is None else time)
        yield from timeline.flush()
    return check_end(path, header, track, "audio", timeline.end)


class Timeline:
    """The file's timeline, onto which resampled frames are laid."""

    def __init__(self, path: Path, rate: int, container: str) -> None:
        self.end = Fraction(0)  # of what was added, in seconds
        self._path, self._rate = path, rate
        self._gap, self._seamless = _SEAMLESS.get(container, _GAP), container in _SEAMLESS
        self._channels = 0
        self._made = self._skip = 0  # samples given out; samples that were already, and are dropped
        self._kind: tuple[Any, ...] = ()
        self._resampler: Any = None

    def add(self, frame: Any, time: Fraction) -> Iterator[Samples]:
        """Add a frame that is heard from `time` on."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        off = not self._kind or abs(time - self.end) > self._gap
        if off and self._kind and self._seamless:
            raise ValueError(f"{self._path}: damaged: a part of its audio at {float(self.end):.1f} seconds is missing")
        if off or kind != self._kind:
            yield from self.flush()
            yield from self._begin(frame, time if off else self.end)
            self._kind = kind
        frame.pts = None  # from here on samples count
        self.end += Fraction(frame.samples, frame.sample_rate)
        yield from self._blocks(frame)

    def flush(self) -> Iterator[Samples]:
        """What the resampler still holds."""
        if self._resampler is not None:
            yield from self._blocks(None)
            self._resampler = None

    def _begin(self, frame: Any, time: Fraction) -> Iterator[Samples]:
        """Start a resampler for frames like this one, the first of which is heard from `time` on."""
        channels = _check(self._path, frame)
        self._channels = self._channels or channels
        first = round(time * self._rate)
        for start in range(self._made, first, self._rate):
            yield np.zeros((self._channels, min(self._rate, first - start)), np.float32)
        self._skip, self._made = max(0, self._made - first), max(self._made, first)
        self.end = time
        self._resampler = require_av().AudioResampler("flt", frame.layout, self._rate)

    def _blocks(self, frame: Any) -> Iterator[Samples]:
        for part in self._resampler.resample(frame):
            block = _block(self._path, part, self._channels)[:, self._skip :]
            self._skip = max(0, self._skip - part.samples)
            self._made += block.shape[1]
            yield block


def _check(path: Path, frame: Any) -> int:
    """Number of channels of a frame whose rate and channels can be."""
    if not RATES[0] <= frame.sample_rate <= RATES[1]:
        raise ValueError(
            f"{path}: its audio track has {frame.sample_rate} samples a second; {RATES[0]} to {RATES[1]} are read"
        )
    channels = int(frame.layout.nb_channels)
    if not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"{path}: its audio track has {channels} channels; 1 to {MOST_CHANNELS} are read")
    return channels


def _block(path: Path, frame: Any, channels: int) -> Samples:
    packed: Samples = frame.to_ndarray()  # PyAV does not unpack more than eight planes
    block = packed.reshape(-1, frame.layout.nb_channels).T
    if not np.isfinite(block).all():
        raise ValueError(f"{path}: its audio track has samples that are not finite")
    if len(block) != channels:
        block = np.repeat(block.mean(axis=0, keepdims=True), channels, axis=0)
    return np.clip(block, -1, 1, order="C")
