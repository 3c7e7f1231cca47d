"""Frames and samples by torchcodec, where it is asked for; the header is read by PyAV all the same.

torchcodec does not tell of damage that FFmpeg conceals, nor of gaps in an audio track.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coleaf_framework.media.audio import Timeline
from coleaf_framework.media.header import Header, Track, check_end
from coleaf_framework.media.opening import require_av
from coleaf_framework.media.pieces import Samples
from coleaf_framework.media.video import Scaler

_LAYOUTS = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
_BLOCK = 10  # seconds of audio at a time


def require_torchcodec() -> Any:
    """The module `torchcodec.decoders`."""
    try:
        return importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as problem:
        first = str(problem).strip().partition("\n")[0]
        raise ImportError(f"torchcodec does not load; install it with the FFmpeg that it needs ({first})") from problem


@contextmanager
def _decoder(path: Path, kind: str, **options: Any) -> Iterator[Any]:
    with path.open("rb") as file:
        try:
            yield getattr(require_torchcodec(), kind)(file, **options)
        except (RuntimeError, IndexError) as problem:
            first = str(problem).strip().partition("\n")[0]
            raise ValueError(f"{path}: torchcodec cannot decode it to its end ({first})") from problem


def read_frames(
    path: Path, header: Header, track: Track, rate: int, size: tuple[int, int] | None
) -> Generator[NDArray[np.uint8], None, Fraction]:
    """What `video.read_frames` gives, within a small tolerance where frames are scaled."""
    scaler = Scaler(size)
    options = {"stream_index": track.index, "dimension_order": "NHWC", "seek_mode": "exact"}
    with _decoder(path, "VideoDecoder", **options) as decoder:
        first, last = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
        end = Fraction(last) - header.start
        count = max(1, floor(end * rate + Fraction(1, 2)))
        for start in range(0, count, rate):  # the filter `fps` rounds a frame's time to the nearest of the new times
            times = [(n + 0.5) / rate - 1e-6 + float(header.start) for n in range(start, min(count, start + rate))]
            shown = decoder.get_frames_played_at([min(max(time, first), last - 1e-6) for time in times])
            for frame in shown.data:
                yield _scaled(scaler, path, frame.numpy()) if size else frame.numpy()
    return check_end(path, header, track, "video", end)


def _scaled(scaler: Scaler, path: Path, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    made = require_av().VideoFrame.from_ndarray(frame, format="rgb24")
    made.pts, made.time_base = 0, Fraction(1, 1000)
    return scaler.rgb(path, made)


def read_samples(path: Path, header: Header, track: Track, rate: int) -> Generator[Samples, None, Fraction]:
    """What `audio.read_samples` gives."""
    timeline = Timeline(path, rate, "torchcodec")
    with _decoder(path, "AudioDecoder", stream_index=track.index) as decoder:
        own = int(decoder.metadata.sample_rate)
        stop = float(track.end if track.end is not None else header.end)
        first, time = float(track.start), None
        while first < stop:
            last = first + _BLOCK if first + _BLOCK < stop else None
            heard = decoder.get_samples_played_in_range(first, last)
            samples = heard.data.numpy()
            time = Fraction(heard.pts_seconds) - header.start if time is None else time
            yield from timeline.add(_frame(path, samples, own), time)
            time += Fraction(samples.shape[1], own)
            first += _BLOCK
        yield from timeline.flush()
    return check_end(path, header, track, "audio", timeline.end)


def _frame(path: Path, samples: Samples, rate: int) -> Any:
    if len(samples) > len(_LAYOUTS):
        raise ValueError(f"{path}: {len(samples)} channels; with torchcodec up to {len(_LAYOUTS)} are read")
    packed = np.ascontiguousarray(samples.T).reshape(1, -1)
    frame = require_av().AudioFrame.from_ndarray(packed, "flt", _LAYOUTS[len(samples) - 1])
    frame.sample_rate = rate
    return frame
