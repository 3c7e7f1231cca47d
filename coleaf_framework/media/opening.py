"""Opening a file with PyAV: a file only, in a known container, with every complaint of FFmpeg as one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coleaf_framework._extras import require_library
from coleaf_framework.storage import require_file

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf", "mpegts", "mpeg", "ogg", "wav", "flac", "mp3",
    "aac", "aiff", "caf",
)  # fmt: skip
"""FFmpeg's names of the containers that are read; none of them is made of other files, as playlists are."""


def require_av() -> Any:
    """The module `av`."""
    return require_library("av", "reading audio and video", "video")


class _Bytes:
    """A file without its name, so that FFmpeg judges by what is in it alone, and never takes the name for a URL."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int) -> int:
        """Move to a place; damaged files lead beyond any file, which FFmpeg is told by an error number."""
        try:
            return int(self._file.seek(offset, whence))
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL


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
            raise ValueError(f"{path}: not readable as audio or video{complaint(problem)}") from problem
        try:
            with container:
                yield container
        except (av.FFmpegError, _OtherFileError) as problem:
            raise ValueError(f"{path}: damaged or cut short{complaint(problem)}") from problem


def complaint(problem: Exception) -> str:
    """The end of a sentence that says what FFmpeg complains of."""
    if isinstance(problem, _OtherFileError):
        return ": it refers to another file, which is not read"
    return f" (FFmpeg: {getattr(problem, 'strerror', problem)})"
