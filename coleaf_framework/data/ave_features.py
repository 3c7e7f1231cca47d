"""AVE's features: the published HDF5 files, by row, or npy files by video. Shape letters: see `protocol.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coleaf_framework.data.ave_files import KEY, SECONDS, is_background, row_of
from coleaf_framework.data.h5_files import h5_row, h5_shape
from coleaf_framework.data.timed_features import TimedFeatures
from coleaf_framework.protocol import MODALITIES, StreamSpec

FEATURE_FILES: Mapping[str, str] = {"audio": "audio_feature.h5", "visual": "visual_feature.h5"}
BACKGROUND_FEATURES: Mapping[str, str] = {
    "audio": "audio_feature_noisy.h5",
    "visual": "visual_feature_noisy.h5",
}
_SAMPLED = 64  # videos of a split whose features a digest covers


class AVENpyFeatures(TimedFeatures):
    """npy features in the layout of a `streams.yaml`, one file for each video and stream.

    The rows of a video share its file. A background video's file is named by its sample id.
    """

    def path(self, stream: str, video: str) -> Path:
        """The file of a sample's stream."""
        return super().path(stream, video if is_background(video) else video.rpartition("_")[0])


class AVEFeatures:
    """The published HDF5 files, streams `audio` and `visual`; implements `features.Features`.

    Arrays are (rows, 10, width), or (rows, 10, height, width, channels), of whose maps the mean is taken. A sample is
    read when it is asked for.

    Args:
        root: Folder of `audio_feature.h5` and `visual_feature.h5`, and for background videos of
            `audio_feature_noisy.h5` and `visual_feature_noisy.h5`.
        rows: Number of rows of `Annotations.txt`.
        background: Number of background videos.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: h5py is not installed.
        ValueError: A file has another number of rows or another shape.
    """

    segment_seconds = 1.0

    def __init__(self, root: Path, rows: int, background: int) -> None:
        self.root = root
        self._widths: dict[str, int] = {}
        for stream, name in FEATURE_FILES.items():
            if not (root / name).exists():
                raise FileNotFoundError(
                    f"{root / name}: no such file; AVE's features are {' and '.join(FEATURE_FILES.values())}, or npy "
                    "files that a streams.yaml declares"
                )
            self._widths[stream] = _width(root / name, rows)
        for stream, name in BACKGROUND_FEATURES.items() if background else ():
            if (root / name).exists() and _width(root / name, background) != self._widths[stream]:
                raise ValueError(
                    f"{root / name}: its width is not {self._widths[stream]}, as of {FEATURE_FILES[stream]}"
                )

    def path(self, stream: str, sample: str) -> Path:
        """The file that has a sample's stream."""
        files = BACKGROUND_FEATURES if is_background(sample) else FEATURE_FILES
        return self.root / files[stream]

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """See `Features.missing`; background videos, if their files are not there."""
        gone = [path for name in BACKGROUND_FEATURES.values() if not (path := self.root / name).exists()]
        return [(video, f"{path}: no such file") for path in gone for video in videos if is_background(video)]

    def streams(self, video: str, seconds: tuple[int, ...]) -> dict[str, StreamSpec]:
        """See `Features.streams`."""
        return {modality: StreamSpec(self._widths[modality], modality) for modality in MODALITIES}

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """See `Features.read`."""
        features = {}
        for stream in streams:
            path, row = self.path(stream, video), row_of(video)
            x = torch.from_numpy(h5_row(path, KEY, row).astype(np.float32))
            if not torch.isfinite(x).all():
                raise ValueError(f"{path}: row {row}, video {video!r}: holds NaN or inf")
            features[stream] = x.mean((1, 2)) if x.ndim == 4 else x
        return features

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """See `Features.segments`."""
        return SECONDS

    def statistics(self) -> None:
        """None: the files do not store them."""

    def digests(self, videos: Sequence[str], split: str) -> dict[str, str]:
        """See `Features.digests`. Kind "h5": covers up to 64 videos, evenly spaced, and the size of the file."""
        found: dict[str, str] = {}
        step = max(1, -(-len(videos) // _SAMPLED))
        for stream in FEATURE_FILES:
            content = hashlib.sha256("\n".join(videos).encode())
            about = self.path(stream, videos[0]).stat()
            content.update(f"{about.st_size}".encode())
            for video in videos[::step]:
                content.update(h5_row(self.path(stream, video), KEY, row_of(video)).tobytes())
            written = hashlib.sha256(f"{about.st_mtime_ns}".encode()).hexdigest()[:16]
            found[stream] = f"h5:{content.hexdigest()[:16]}" + (f" written:{written}" if step > 1 else "")
        return found


def _width(path: Path, rows: int) -> int:
    shape = h5_shape(path, KEY)
    if len(shape) not in (3, 5) or shape[1] != SECONDS or 0 in shape:
        raise ValueError(
            f"{path}: {KEY!r} is {shape}, where (rows, {SECONDS}, width) or (rows, {SECONDS}, height, width, channels) "
            "was expected"
        )
    if shape[0] != rows:
        raise ValueError(f"{path}: {KEY!r} has {shape[0]} rows, where the annotations have {rows}")
    return shape[-1]
