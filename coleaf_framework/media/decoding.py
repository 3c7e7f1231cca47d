"""Decoding a media file into pieces of some seconds, so that a file of any length takes bounded memory.

Needs the extra `video` (PyAV, which brings FFmpeg).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from coleaf_framework.media.audio import read_samples
from coleaf_framework.media.header import check_length, read_header
from coleaf_framework.media.opening import opened, require_av
from coleaf_framework.media.pieces import Piece, cut
from coleaf_framework.media.torchcodec import read_frames as torchcodec_frames
from coleaf_framework.media.torchcodec import read_samples as torchcodec_samples
from coleaf_framework.media.torchcodec import require_torchcodec
from coleaf_framework.media.video import read_frames

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


def decoder_name() -> str:
    """The decoder and its version, for records.

    Raises:
        ImportError: It is not installed.
        ValueError: `COLEAF_DECODER` names another than pyav and torchcodec.
    """
    av = require_av()
    name = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"
    if _asked_for() == "torchcodec":
        require_torchcodec()
        return f"torchcodec {version('torchcodec')}; header, scaling and resampling: {name}"
    return name


def _asked_for() -> str:
    """What the environment variable `COLEAF_DECODER` names: pyav, also where it is not set, or torchcodec."""
    name = os.environ.get("COLEAF_DECODER") or "pyav"
    if name not in ("pyav", "torchcodec"):
        raise ValueError(f"COLEAF_DECODER={name!r} is not one of pyav, torchcodec")
    return name


def probe(path: Path) -> MediaInfo:
    """Read a file's header.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: PyAV is not installed.
        ValueError: It is no media file, has neither track, or no length. The message names it.
    """
    with opened(path) as container:
        header = read_header(path, container)
    return MediaInfo(path, float(header.end - header.start), header.audio is not None, header.video is not None)


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

    Frames are taken at a constant rate as FFmpeg's filter `fps` does, upright. Time starts with the earlier track:
    until the other starts, its samples are zero, or its first frame is shown. Gaps of over 0.1 s in the audio are zero
    too.
    The environment variable `COLEAF_DECODER` may ask for torchcodec instead of PyAV.

    Args:
        path: The file.
        window: Seconds of a piece.
        frame_rate: Frames a second.
        sample_rate: Samples a second; FFmpeg's resampler makes them.
        prepare: Called once with each frame, (H,W,3) uint8 RGB, upright; what it returns is kept until the piece is
            done, so it should be small.
        frame_size: (width, height) to which FFmpeg scales each frame first; as it is if None.

    Yields:
        Pieces in order of time, `window` whole seconds each; the last is as long as what is left. See `Piece`.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: PyAV is not installed.
        ValueError: it is no media file; it is damaged, or ends before the length that its header says. The message
            names it. Damage is found as far as the file has been read, so pieces before it have been given.
    """
    frames, samples = read_frames, read_samples
    if _asked_for() == "torchcodec":
        require_torchcodec()
        frames, samples = torchcodec_frames, torchcodec_samples
    with opened(path) as container:
        header = read_header(path, container)
    end = yield from cut(
        frames(path, header, header.video, frame_rate, frame_size) if header.video else None,
        samples(path, header, header.audio, sample_rate) if header.audio else None,
        window=window,
        frame_rate=frame_rate,
        sample_rate=sample_rate,
        prepare=prepare,
    )
    check_length(path, header, end)
