"""Decoding a media file into pieces of some seconds, so that a file of any length takes bounded memory.

Needs the extra `video` (PyAV, which brings FFmpeg).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from coleaf_framework.storage import require_file

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class MediaInfo:
    """What a media file says of itself.

    Args:
        path: The file.
        seconds: Length of its longest track.
        has_audio: Whether it has an audio track.
        has_video: Whether it has a video track; cover pictures do not count.
    """

    path: Path
    seconds: float
    has_audio: bool
    has_video: bool


@dataclass(frozen=True)
class Piece(Generic[Prepared]):
    """Decoded frames and samples of a stretch of a file.

    Args:
        start: Seconds from the file's start.
        seconds: Whole seconds that the piece stands for, at least 1. The last piece of a file is as long as what is
            left, rounded; less than half a second that is left belongs to the piece before.
        frames: What `prepare` made of each frame, in order, at a constant rate; of the last piece some frames more or
            less than rate * seconds. Empty where the file has no video track.
        samples: (channels, n) float32 in [-1,1], from `start` on, likewise; (1, 0) where it has no audio track.
    """

    start: float
    seconds: int
    frames: list[Prepared]
    samples: NDArray[np.float32]


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as problem:
        raise ImportError("reading videos needs PyAV: pip install 'coleaf-framework[video]'") from problem


def decoder_name() -> str:
    """The decoder and its version, for records."""
    av = _av()
    return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def probe(path: Path) -> MediaInfo:
    """Read a file's header.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: PyAV is not installed.
        ValueError: It is no media file, has neither track, or no length. The message names it.
    """
    require_file(path)
    av = _av()
    try:
        with av.open(str(path)) as file:
            seconds = (file.duration or 0) / av.time_base
            return MediaInfo(path, seconds, bool(file.streams.audio), bool(file.streams.video))
    except av.FFmpegError as problem:
        raise ValueError(f"{path}: not readable as audio or video: {problem}") from problem


def decode(
    path: Path,
    *,
    window: int,
    frame_rate: int,
    sample_rate: int,
    prepare: Callable[[NDArray[np.uint8]], Prepared],
    frame_size: tuple[int, int] | None = None,
) -> Iterator[Piece[Prepared]]:
    """Decode a file, `window` seconds at a time.

    Frames are taken at a constant rate as FFmpeg's filter `fps` does (and so `ffmpeg -r`), upright.

    Args:
        path: The file.
        window: Seconds of a piece.
        frame_rate: Frames a second.
        sample_rate: Samples a second; FFmpeg's resampler makes them.
        prepare: Called once with each frame, (H,W,3) uint8 RGB, upright; what it returns is kept until the piece is
            done, so it should be small.
        frame_size: (width, height) to which FFmpeg scales each frame first; as it is if None.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: PyAV is not installed.
        ValueError: It is no media file; it is damaged, or ends before the length that its header says. The message
            names it.
    """
    info = probe(path)
    av = _av()
    frames: list[Prepared] = []
    samples = []
    with av.open(str(path)) as file:  # a first version, for one short file
        if info.has_video:
            graph = av.filter.Graph()
            source = graph.add_buffer(template=file.streams.video[0])
            scale = f"scale={frame_size[0]}:{frame_size[1]}" if frame_size else "null"
            chain = [graph.add("fps", f"fps={frame_rate}"), graph.add(*scale.split("=", 1)), graph.add("buffersink")]
            for one, other in zip([source, *chain], chain, strict=False):
                one.link_to(other)
            graph.configure()
            for frame in [*file.decode(video=0), None]:
                graph.push(frame) if frame is not None else source.push(None)
                while True:
                    try:
                        frames.append(prepare(graph.pull().to_ndarray(format="rgb24")))
                    except (av.BlockingIOError, av.EOFError):
                        break
    if info.has_audio:
        with av.open(str(path)) as file:
            resampler = av.AudioResampler("fltp", file.streams.audio[0].layout, sample_rate)
            for frame in [*file.decode(audio=0), None]:
                samples += [part.to_ndarray() for part in resampler.resample(frame)]
    joined = np.concatenate(samples, axis=1).astype(np.float32) if samples else np.zeros((1, 0), np.float32)
    total = max(len(frames) / frame_rate, joined.shape[1] / sample_rate)
    lasts = max(1, round(total))
    for start in range(0, lasts, window):
        seconds = min(window, lasts - start)
        end = None if start + seconds == lasts else start + seconds
        yield Piece(
            float(start), seconds,
            frames[start * frame_rate : None if end is None else end * frame_rate],
            joined[:, start * sample_rate : None if end is None else end * sample_rate],
        )  # fmt: skip
