"""Decoding a media file into pieces of some seconds, so that a file of any length takes bounded memory.

Needs the extra `video` (PyAV, which brings FFmpeg).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from coleaf_framework.media.audio import read_samples
from coleaf_framework.media.pieces import Piece, cut
from coleaf_framework.media.pyav import check_length, opened, read_header, require_av
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
    """The decoder and its version, for records."""
    av = require_av()
    return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


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
    with opened(path) as container:
        header = read_header(path, container)
    end = yield from cut(
        read_frames(path, header, header.video, frame_rate, frame_size) if header.video else None,
        read_samples(path, header, header.audio, sample_rate) if header.audio else None,
        window=window,
        frame_rate=frame_rate,
        sample_rate=sample_rate,
        prepare=prepare,
    )
    check_length(path, header, end)
