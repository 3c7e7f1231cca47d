"""Where the streams of a data folder lie, and how their rows lie in time: `streams.yaml`.

    segment_seconds: 1.0          # length of a segment; 1 if left out
    streams:
      audio:
        modality: audio
        folder: CLAP/features     # in the data folder
        pattern: "{id}.npy"       # the default
        width: 768                # checked if given
        groups: 2                 # the rows are 2 blocks, each over the whole time; their mean is taken
        resampling: bicubic       # of rows that span the video to its segments; mean, by time, if left out
      visual:
        modality: visual
        folder: feats/res152
        frames: 8                 # rows a segment, or row_seconds: 0.125

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F

from coleaf_framework._config import StrictConfig, validated
from coleaf_framework.data.annotation_files import find_file
from coleaf_framework.protocol import MODALITIES, Modality
from coleaf_framework.storage import read_yaml

STREAMS_FILE = "streams.yaml"
_NAME = re.compile(r"[A-Za-z_]\w*")
_OUTSIDE = 1e-9  # of a row: overlaps below this are rounding errors
_POSITIONS = 1024  # in time, to which bicubic resampling brings rows before it pools them, as VALOR++ does


class StreamFiles(StrictConfig):
    """The files of one stream. Each is an npy array of real numbers, (rows, width)."""

    modality: Modality = Field(description="audio or visual")
    folder: str = Field("", description="folder of the files, in the data folder")
    pattern: str = Field("{id}.npy", description="name of a video's file, with {id} in it")
    width: int | None = Field(None, ge=1, description="values a row; of the first file if left out")
    frames: int | None = Field(None, ge=1, description="rows a segment, which networks see one by one")
    row_seconds: float | None = Field(
        None, gt=0, description="seconds from one row to the next; rows are averaged over each segment, by time"
    )
    groups: int = Field(1, ge=1, description="blocks of rows, each over the whole time, of which the mean is taken")
    resampling: Literal["mean", "bicubic"] = Field(
        "mean",
        description="of rows that span the whole video: their mean over each segment, by time, or VALOR++'s bicubic "
        "interpolation and pooling, whatever their number",
    )

    @field_validator("folder")
    @classmethod
    def _below_the_data_folder(cls, folder: str) -> str:
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts or "\\" in folder:
            raise ValueError(f"expected a folder in the data folder, with / between names, got {folder!r}")
        return folder

    @field_validator("pattern")
    @classmethod
    def _names_the_video(cls, pattern: str) -> str:
        if pattern.count("{id}") != 1 or "/" in pattern or "\\" in pattern or not pattern.endswith(".npy"):
            raise ValueError(f"expected a file name with {{id}} once in it and .npy at its end, got {pattern!r}")
        return pattern

    @model_validator(mode="after")
    def _one_rate(self) -> StreamFiles:
        if self.frames is not None and self.row_seconds is not None:
            raise ValueError("frames and row_seconds both say how rows lie in time: give one of them")
        if self.resampling == "bicubic" and self.has_rate:
            given = "frames" if self.frames is not None else "row_seconds"
            raise ValueError(f"resampling bicubic is for rows that span the whole video: leave out {given}")
        return self

    @property
    def has_rate(self) -> bool:
        """Whether it is said how many rows a segment has."""
        return self.frames is not None or self.row_seconds is not None

    def path(self, root: Path, video: str) -> Path:
        """The file of a video."""
        return root / self.folder / self.pattern.replace("{id}", video)


class Layout(StrictConfig):
    """The streams of a data folder."""

    segment_seconds: float = Field(1.0, gt=0, description="length of a segment")
    streams: dict[str, StreamFiles] = Field(description="name of a stream -> its files")

    @field_validator("streams")
    @classmethod
    def _streams_of_both_modalities(cls, streams: dict[str, StreamFiles]) -> dict[str, StreamFiles]:
        for name in streams:
            if not _NAME.fullmatch(name) or name == "mask":
                raise ValueError(f"{name!r} names no stream: expected letters, digits and _, and not 'mask'")
        for modality in MODALITIES:
            if not any(files.modality == modality for files in streams.values()):
                raise ValueError(f"no {modality} stream in {list(streams)}: at least one of either modality is needed")
        return streams


LLP_LAYOUT = Layout(
    streams={
        "audio": StreamFiles(modality="audio", folder="feats/vggish"),
        "visual": StreamFiles(modality="visual", folder="feats/res152"),
        "visual_st": StreamFiles(modality="visual", folder="feats/r2plus1d_18"),
    }
)
"""LLP's published folders; rows a segment are read off the first video, and must be whole numbers."""


def read_layout(path: Path) -> Layout:
    """Read a `streams.yaml`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is malformed. The message names the file, the stream and the field.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "streams.yaml"
        >>> _ = path.write_text("streams: {sound: {modality: audio}, sight: {modality: visual, frames: 8}}")
        >>> read_layout(path).streams["sight"].frames
        8
    """
    return validated(Layout, read_yaml(path), path)


def find_layout(root: Path, given: Path | str | None) -> Layout | None:
    """The layout that `given` or the data folder's own `streams.yaml` declares; None without either.

    Args:
        root: Folder of the data set.
        given: A file such as `streams.yaml`; None for that of the folder.

    Returns:
        What the file says, or None.

    Raises:
        FileNotFoundError, ValueError: as `read_layout` and `find_file` do.
    """
    path = Path(given) if given is not None else find_file(root, STREAMS_FILE)
    return None if path is None else read_layout(path)


@lru_cache(maxsize=256)
def _shares(rows: int, rows_a_segment: float, segments: int) -> Tensor:
    """The share that each row has of each segment, by time: (segments, rows) float32, each row of it adds up to 1."""
    starts = torch.arange(segments, dtype=torch.float64)[:, None] * rows_a_segment
    at = torch.arange(rows, dtype=torch.float64)
    overlap = torch.minimum(starts + rows_a_segment, at + 1) - torch.maximum(starts, at)
    overlap = torch.where(overlap > _OUTSIDE, overlap, 0.0)
    overlap[overlap.sum(1) == 0, -1] = 1.0  # past the end: the last row
    return (overlap / overlap.sum(1, keepdim=True)).float()


def resample(x: Tensor, rows_a_segment: float, segments: int) -> Tensor:
    """Average rows over segments of time, each row by its share of the segment.

    Args:
        x: (rows, width); row r covers the time from r to r + 1.
        rows_a_segment: Length of a segment, in rows, above 0.
        segments: Number of segments, T. Those past the last row repeat it.

    Returns:
        (T, width) float32.

    Example:
        >>> resample(torch.tensor([[0.0], [3.0], [6.0]]), 1.5, 2)  # segment 0: row 0 and half of row 1
        tensor([[1.],
                [5.]])
    """
    return _shares(len(x), rows_a_segment, segments) @ x.float()


@lru_cache(maxsize=256)
def _bicubic_shares(rows: int, segments: int) -> Tensor:
    """What each of up to 1,024 rows adds to each segment by `resample_bicubic`: (segments, rows) float32."""
    each_row = torch.eye(rows, dtype=torch.float64)[None, :, None]  # one video, a channel for each row, (1, rows)
    finer = F.interpolate(each_row, size=(1, _POSITIONS), mode="bicubic", align_corners=False)[0, :, 0]
    return F.adaptive_avg_pool1d(finer, segments).T.float().contiguous()


def resample_bicubic(x: Tensor, segments: int) -> Tensor:
    """Bring rows that span a video to its segments, as VALOR++ (Lai et al., NeurIPS 2023) does with CLAP's maps.

    Bicubic interpolation (a = -0.75) to 1,024 positions in time, then the mean of positions floor(1024 t / T) to
    ceil(1024 (t + 1) / T) of each segment t, so that neighbours may share one. Both are linear: of a number of rows and
    of segments it is one matrix. More than 1,024 rows are not interpolated (ours).

    Args:
        x: (rows, width), at equal distances in time.
        segments: Number of segments, T.

    Returns:
        (T, width) float32.

    Example:
        >>> resample_bicubic(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), 2)
        tensor([[0.5176],
                [2.4824]])
    """
    if len(x) > _POSITIONS:
        return F.adaptive_avg_pool1d(x.float().T, segments).T.contiguous()
    return _bicubic_shares(len(x), segments) @ x.float()
