"""The features of a data folder: the interface, and npy files in LLP's layout, one for each video and stream.

`timed_features.py` has npy files in any layout, `store.py` a packed store. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from coleaf_framework.data.layout import LLP_LAYOUT, Layout
from coleaf_framework.data.npy_files import array_shape, load_array
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.storage import require_file

_SAMPLED = 64  # videos of a split whose content a digest covers; for the rest it covers file sizes and times


class Features(Protocol):
    """The features of every split of a data set.

    Args:
        segment_seconds: Length of a segment.
    """

    segment_seconds: float

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """Videos without features: (video id, a sentence that says what is missing) each."""
        ...

    def streams(self, video: str, seconds: tuple[int, ...]) -> dict[str, StreamSpec]:
        """The specs of the streams, from one video.

        Args:
            video: Id of the video.
            seconds: Lengths in seconds that fit its filename (`video_seconds`).

        Returns:
            Stream name -> spec.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged, or its number of rows is not a multiple of the seconds.
        """
        ...

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """The features of a video.

        Args:
            video: Id of the video.
            streams: Specs of the streams to read.

        Returns:
            Stream name -> (frames * T, width) float32, with the same T for all streams.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged, does not fit `streams`, or contains NaN or inf. The message names it.
        """
        ...

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """T of a video, without reading its features."""
        ...

    def statistics(self) -> dict[str, Tensor] | None:
        """Mean and deviation over the training split, stream name -> (2, width); None if they are not stored."""
        ...

    def digests(self, videos: Sequence[str], split: str) -> dict[str, str]:
        """Digests of the features of some videos.

        Args:
            videos: Ids of the videos.
            split: Their split.

        Returns:
            Stream name -> KIND:DIGEST, several separated by spaces. Kinds: "npy", of npy files; "store", of a store's
            checksums; "written", of times of modification, if "npy" does not cover the whole content of all files. A
            store also gives the "npy" digest of the folder that it was packed from.
        """
        ...


class NpyFiles:
    """What npy features of any layout have in common: one file for each video and stream, of any real dtype.

    Args:
        root: Folder of the data set.
        layout: Where its streams lie.
    """

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root, self.layout = root, layout
        self.segment_seconds = layout.segment_seconds

    def path(self, stream: str, video: str) -> Path:
        """The file of a video's stream."""
        return self.layout.streams[stream].path(self.root, video)

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """See `Features.missing`."""
        found = self.missing_files(videos)
        return [(video, f"{path}: no such file") for files in found.values() for video, path in files]

    def missing_files(self, videos: Sequence[str]) -> dict[str, list[tuple[str, Path]]]:
        """The files that are not there: stream name -> (video id, its path) each."""
        missing = {}
        for stream in self.layout.streams:
            folder = self.path(stream, "x").parent
            present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            paths = ((video, self.path(stream, video)) for video in videos)
            missing[stream] = [(video, path) for video, path in paths if path.name not in present]
        return missing

    def statistics(self) -> None:
        """None: a folder of npy files does not store them."""

    def rule(self, stream: str) -> str:
        """How rows of files become segments, which a digest covers too; "" where the files alone tell it."""
        return ""

    def digests(self, videos: Sequence[str], split: str) -> dict[str, str]:
        """See `Features.digests`. Covers all sizes and the content of up to 64 videos, evenly spaced."""
        found = {}
        step = max(1, -(-len(videos) // _SAMPLED))
        for stream in self.layout.streams:
            content, written = hashlib.sha256(self.rule(stream).encode()), hashlib.sha256()
            for i, video in enumerate(videos):
                path = self.path(stream, video)
                about = path.stat()
                content.update(f"{video} {about.st_size}\n".encode())
                written.update(f"{about.st_mtime_ns}\n".encode())
                if i % step == 0:
                    require_file(path)
                    content.update(path.read_bytes())
            found[stream] = (
                "npy:" + content.hexdigest()[:16] + (f" written:{written.hexdigest()[:16]}" if step > 1 else "")
            )
        return found


class NpyFeatures(NpyFiles):
    """Features in LLP's three folders, each (frames * T, width), with whole numbers of frames a segment.

    Args:
        root: Folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, LLP_LAYOUT)

    def streams(self, video: str, seconds: tuple[int, ...]) -> dict[str, StreamSpec]:
        """See `Features.streams`. Without `seconds`, the shortest stream has one row per segment."""
        shapes = {stream: array_shape(self.path(stream, video)) for stream in self.layout.streams}
        shortest = min(shape[0] for shape in shapes.values())
        whole = (n for n in seconds if all(shape[0] % n == 0 for shape in shapes.values()))
        segments = next(whole, seconds[0] if seconds else shortest)
        of = f"the {segments} s that the annotations say" if seconds else f"the {segments} rows of the shortest stream"
        for stream, (length, _) in shapes.items():
            if length % segments:
                raise ValueError(
                    f"{self.path(stream, video)}: {length} rows, no multiple of {of}: a segment is one second"
                )
        return {
            stream: StreamSpec(width, self.layout.streams[stream].modality, frames=length // segments)
            for stream, (length, width) in shapes.items()
        }

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """See `Features.read`."""
        features = {}
        for name, spec in streams.items():
            path = self.path(name, video)
            features[name] = finite_rows(path, video, name)
            _require_shape(path, tuple(features[name].shape), spec)
        lengths = {name: len(x) // streams[name].frames for name, x in features.items()}
        if len(set(lengths.values())) > 1:
            found = "; ".join(f"{self.path(name, video)} has {n}" for name, n in lengths.items())
            raise ValueError(f"video {video!r}: its streams differ in their number of segments: {found}")
        return features

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """See `Features.segments`; read from the header of the first stream's file."""
        name, spec = next(iter(streams.items()))
        path = self.path(name, video)
        shape = array_shape(path)
        _require_shape(path, shape, spec)
        return shape[0] // spec.frames


def finite_rows(path: Path, video: str, stream: str) -> Tensor:
    """The rows of a video's stream, (rows, width) float32.

    Args:
        path: The npy file.
        video: Its id, for the message.
        stream: Name of the stream, for the message.

    Returns:
        (rows, width) float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or contains NaN or inf. The message names it.
    """
    x = torch.from_numpy(load_array(path).astype(np.float32))
    if not torch.isfinite(x).all():
        raise ValueError(f"{path}: video {video!r}, stream {stream!r} holds NaN or inf")
    return x


def _require_shape(path: Path, shape: tuple[int, ...], spec: StreamSpec) -> None:
    if shape[1] != spec.width or shape[0] % spec.frames:
        raise ValueError(
            f"{path}: found shape {shape}, expected ({spec.frames} * T, {spec.width}) as in the split's first video"
        )
