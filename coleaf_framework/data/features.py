"""Where the features of a folder in LLP's layout come from: npy files, one a video and stream, or a packed store."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coleaf_framework.protocol import Modality, StreamSpec
from coleaf_framework.storage import require_file

FOLDERS: Mapping[str, tuple[str, Modality]] = {
    "audio": ("vggish", "audio"),
    "visual": ("res152", "visual"),
    "visual_st": ("r2plus1d_18", "visual"),
}
_SAMPLED = 64  # videos whose content a digest covers; of the others it covers sizes and times


class Features(Protocol):
    """The features of every split of a data set."""

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """Videos that lack features, with what they lack: (video, sentence) each."""
        ...

    def streams(self, video: str, seconds: tuple[int, ...]) -> dict[str, StreamSpec]:
        """Stream name -> spec, by the video that sets them and its possible lengths by its filename.

        Raises:
            FileNotFoundError, ValueError: as `read` does, or a stream's rows are no multiple of the seconds.
        """
        ...

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """Stream name -> (frames * T, width) float32, all of one T.

        Raises:
            FileNotFoundError: a file is not there any more.
            ValueError: a file is damaged, has another shape than `streams`, or holds NaN or inf; names it.
        """
        ...

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """T of a video, without reading its features."""
        ...

    def statistics(self) -> dict[str, Tensor] | None:
        """Stream name -> (2, width), mean and deviation over the training split, where they are known already."""
        ...

    def digests(self, videos: Sequence[str], split: str) -> dict[str, str]:
        """Stream name -> digests of the features of these videos of a split, KIND:DIGEST each with spaces between.

        Kinds: "npy", of a folder's files; "store", of checksums; "written", of when files were written, where the first
        does not cover every byte of them. A store tells the "npy" of the folder that it was packed from.
        """
        ...


class NpyFeatures:
    """`root/feats/<folder>/<id>.npy`, (frames * T, width) of any real dtype.

    Args:
        root: folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """As `Features.missing`."""
        missing = []
        for stream in FOLDERS:
            folder = self._path(stream, "x").parent
            present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            missing += [(v, f"{self._path(stream, v)}: no such file") for v in videos if f"{v}.npy" not in present]
        return missing

    def streams(self, video: str, seconds: tuple[int, ...]) -> dict[str, StreamSpec]:
        """As `Features.streams`: a segment is a second, or else the shortest stream has one vector a segment."""
        shapes = {stream: _load(self._path(stream, video)).shape for stream in FOLDERS}
        shortest = min(shape[0] for shape in shapes.values())
        whole = (n for n in seconds if all(shape[0] % n == 0 for shape in shapes.values()))
        segments = next(whole, seconds[0] if seconds else shortest)
        of = f"the {segments} s of its filename" if seconds else f"the {segments} rows of the shortest stream"
        for stream, (length, _) in shapes.items():
            if length % segments:
                raise ValueError(
                    f"{self._path(stream, video)}: {length} rows, no multiple of {of}: a segment is one second"
                )
        return {
            stream: StreamSpec(width, FOLDERS[stream][1], frames=length // segments)
            for stream, (length, width) in shapes.items()
        }

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """As `Features.read`."""
        features = {}
        for name, spec in streams.items():
            path = self._path(name, video)
            array = _load(path)
            _require_shape(path, array.shape, spec)
            features[name] = torch.from_numpy(array.astype(np.float32))
            if not torch.isfinite(features[name]).all():
                raise ValueError(f"{path}: video {video!r}, stream {name!r} holds NaN or inf")
        lengths = {name: len(x) // streams[name].frames for name, x in features.items()}
        if len(set(lengths.values())) > 1:
            found = "; ".join(f"{self._path(name, video)} has {n}" for name, n in lengths.items())
            raise ValueError(f"video {video!r}: its streams differ in their number of segments: {found}")
        return features

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """As `Features.segments`, from the smallest stream's header."""
        name, spec = next(iter(streams.items()))
        path = self._path(name, video)
        with _open(path) as file:
            shape = _header(path, file).shape
        _require_shape(path, shape, spec)
        return shape[0] // spec.frames

    def statistics(self) -> None:
        """Unknown before every file was read."""

    def digests(self, videos: Sequence[str], split: str) -> dict[str, str]:
        """As `Features.digests`: of the size of every file and the content of some, evenly spaced; of all, if few."""
        found = {}
        step = max(1, -(-len(videos) // _SAMPLED))
        for stream in FOLDERS:
            content, written = hashlib.sha256(), hashlib.sha256()
            for i, video in enumerate(videos):
                path = self._path(stream, video)
                about = path.stat()
                content.update(f"{video} {about.st_size}\n".encode())
                written.update(f"{about.st_mtime_ns}\n".encode())
                if i % step == 0:
                    with _open(path) as file:
                        content.update(file.read())
            found[stream] = (
                "npy:" + content.hexdigest()[:16] + (f" written:{written.hexdigest()[:16]}" if step > 1 else "")
            )
        return found

    def _path(self, stream: str, video: str) -> Path:
        return self.root / "feats" / FOLDERS[stream][0] / f"{video}.npy"


def _require_shape(path: Path, shape: tuple[int, ...], spec: StreamSpec) -> None:
    if shape[1] != spec.width or shape[0] % spec.frames:
        raise ValueError(
            f"{path}: found shape {shape}, expected ({spec.frames} * T, {spec.width}) as in the split's first video"
        )


# The header of a plain array, by any writer. `numpy.load` reads headers as Python, which executes nothing but fails for
# reasons of its own: nested brackets in a damaged file, and in some versions of the interpreter a garbage collection.
_HEADER = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?[a-zA-Z]\d*)',\s*'fortran_order':\s*(True|False),\s*"
    rb"'shape':\s*\(((?:\s*\d{1,12}\s*,)*(?:\s*\d{1,12})?\s*)\),?\s*\}\s*"
)
_LONGEST_HEADER = 2**16


@dataclass(frozen=True)
class _Header:
    """What an npy file says of its array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    columns_first: bool


def _header(path: Path, file: BinaryIO) -> _Header:
    """The header at the beginning of an npy file; the array follows."""

    def bad(reason: object) -> ValueError:
        return ValueError(f"{path}: not a whole .npy file of numbers: {reason}")

    try:
        major, _ = np.lib.format.read_magic(file)
    except ValueError as problem:
        raise bad(problem) from problem
    size = int.from_bytes(file.read(2 if major == 1 else 4), "little")
    found = file.read(min(size, _LONGEST_HEADER))
    match = _HEADER.fullmatch(found)
    if match is None:
        raise bad(f"its header is {found[:80]!r}")
    try:
        dtype = np.dtype(match[1].decode())
    except TypeError as problem:
        raise bad(problem) from problem
    shape = tuple(int(n) for n in match[3].split(b",") if n.strip())
    if dtype.hasobject:
        raise bad("it holds Python objects")
    if dtype.kind not in "fiu" or len(shape) != 2 or 0 in shape:
        raise ValueError(f"{path}: found {dtype} {shape}, expected real numbers of shape (frames * T, width)")
    there = os.fstat(file.fileno()).st_size - file.tell()
    if there < math.prod(shape) * dtype.itemsize:
        raise bad(f"it ends after {there} of {math.prod(shape) * dtype.itemsize} bytes")
    return _Header(dtype, shape, match[2] == b"True")


def _open(path: Path) -> BinaryIO:
    require_file(path)
    try:
        return path.open("rb")
    except OSError as problem:  # such as one that may not be read
        raise type(problem)(f"{path}: cannot be read: {problem.strerror}") from problem


def _load(path: Path) -> NDArray[Any]:
    """A 2-D array of real numbers from an npy file, never executing anything in it."""
    with _open(path) as file:
        header = _header(path, file)
        values = np.fromfile(file, header.dtype, math.prod(header.shape))
    return values.reshape(header.shape[::-1]).T if header.columns_first else values.reshape(header.shape)
