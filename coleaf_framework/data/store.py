"""A packed store: features of many videos in few files, with checksums. Written by `packing.py`.

root/index.json                   streams, dtype, checksums of the annotations, and of each shard: file, videos, their
                                  segments and checksums; digests of the files that they were packed from
root/shards/<split>-00000.safetensors    one tensor a stream, (rows of all its videos, width)
root/statistics.safetensors       mean and deviation of each stream over the training split
root/AVVP_*.csv, classes.txt      the annotations, as in a folder in LLP's layout
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator
from torch import Tensor

from coleaf_framework._config import validated
from coleaf_framework.protocol import Modality, StreamSpec
from coleaf_framework.storage import checksum, read_json, read_tensors, require_file, text_digest

INDEX, SHARDS, STATISTICS = "index.json", "shards", "statistics.safetensors"
FORMAT = "coleaf store 1"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}  # in safetensors headers
_SHOWN, _LONGEST_HEADER = 5, 2**20
Count = Annotated[StrictInt, Field(ge=1)]
_MOST = 2**31  # segments of a video, values of a segment: more is no number that was meant


class StreamEntry(BaseModel):
    """A `StreamSpec` in the index."""

    model_config = ConfigDict(extra="forbid")
    width: Count
    modality: Modality
    frames: Count = 1
    averaged: Count = 1

    @property
    def spec(self) -> StreamSpec:
        """The `StreamSpec`."""
        return StreamSpec(**dict(self))


class ShardEntry(BaseModel):
    """The entry of a shard in the index.

    Args:
        file: Name of the file.
        videos: Ids of its videos.
        segments: T of each video.
        checksums: Stream name -> CRC-32 of each video's features.
    """

    file: str = Field(pattern=r"^[\w-][\w.-]*$")
    videos: list[str] = Field(min_length=1)
    segments: list[Annotated[StrictInt, Field(ge=1, le=_MOST)]]
    checksums: dict[str, list[StrictInt]]

    @model_validator(mode="after")
    def _one_of_each_a_video(self) -> ShardEntry:
        lengths = {"segments": self.segments} | {f"checksums.{name}": x for name, x in self.checksums.items()}
        for name, values in lengths.items():
            if len(values) != len(self.videos):
                raise ValueError(f"{name} has {len(values)} values for {len(self.videos)} videos")
        return self


class _Index(BaseModel):
    dtype: Literal["float16", "bfloat16", "float32"]
    streams: dict[str, StreamEntry] = Field(min_length=1)
    shards: list[ShardEntry] = Field(min_length=1)
    annotations: dict[Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")], StrictInt]
    sources: dict[str, dict[str, str]] = {}  # older stores have none
    segment_seconds: float = Field(1.0, gt=0, allow_inf_nan=False)  # nor this

    @model_validator(mode="after")
    def _agree(self) -> _Index:
        for number, shard in enumerate(self.shards):
            if shard.checksums.keys() != self.streams.keys():
                raise ValueError(f"shards.{number}.checksums has {list(shard.checksums)}, not {list(self.streams)}")
        videos = [f"{shard.file.rpartition('-')[0]}/{video}" for shard in self.shards for video in shard.videos]
        if len(set(videos)) < len(videos):
            raise ValueError("shards: a video is in it twice")
        for name, stream in self.streams.items():
            if stream.width * stream.frames > _MOST:
                raise ValueError(f"streams.{name}: {stream.frames} frames of width {stream.width} are no features")
        return self


class Shard:
    """One file of a store. A read touches only the bytes of one video.

    `safetensors.safe_open` maps the file into memory instead. Opened for each video it reads a store of averaged frames
    at about half the speed, and if it stays open, a file that is cut short ends the process by SIGBUS.

    Args:
        path: The file.
        entry: Its entry in the index.
        streams: Specs of its streams.
        dtype: Dtype of its tensors, a name in `DTYPES`.
    """

    def __init__(self, path: Path, entry: ShardEntry, streams: Mapping[str, StreamSpec], dtype: str) -> None:
        self.path, self.streams, self.dtype = path, streams, DTYPES[dtype]
        self.videos, self.checksums = entry.videos, entry.checksums
        self.starts = [0, *accumulate(entry.segments)]
        self._offsets: dict[str, int] | None = None

    def read(self, i: int, streams: Sequence[str]) -> dict[str, Tensor]:
        """Read the features of a video and verify their checksums.

        Args:
            i: Index of the video within the shard.
            streams: Names of the streams to read.

        Returns:
            Stream name -> (frames * T, width) float32.

        Raises:
            FileNotFoundError: The file is missing.
            ValueError: The file is damaged. The message names it and its videos.
        """
        try:
            require_file(self.path)
            with self.path.open("rb") as file:
                if self._offsets is None:
                    self._offsets = self._read_offsets(file)
                return {name: self._read(file, self._offsets[name], name, i).float() for name in streams}
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path}: no such file; {self._holds()}") from None

    def _read(self, file: BinaryIO, offset: int, stream: str, i: int) -> Tensor:
        # Into memory of its own, not a mapping of the file: the bytes that were verified are those that are used, even
        # if the file changes afterwards.
        spec = self.streams[stream]
        row = spec.width * self.dtype.itemsize * spec.frames
        content = bytearray(row * (self.starts[i + 1] - self.starts[i]))
        file.seek(offset + row * self.starts[i])
        whole = file.readinto(content) == len(content)  # type: ignore[attr-defined]
        x = torch.frombuffer(content, dtype=self.dtype).view(-1, spec.width)
        if not whole or checksum(x) != self.checksums[stream][i]:
            raise ValueError(self._damaged(f"stream {stream!r} of video {self.videos[i]!r} has another checksum"))
        return x

    def _read_offsets(self, file: BinaryIO) -> dict[str, int]:
        """The offset of each stream's tensor, from the safetensors header, which must agree with the index."""
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(size, _LONGEST_HEADER)))
            found = {name: (header[name]["dtype"], tuple(header[name]["shape"])) for name in self.streams}
            offsets = {name: 8 + size + int(header[name]["data_offsets"][0]) for name in self.streams}
        except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError) as problem:
            raise ValueError(self._damaged(f"its header cannot be read ({type(problem).__name__})")) from problem
        for name, spec in self.streams.items():
            expected = (_NAMES[self.dtype], (spec.frames * self.starts[-1], spec.width))
            if found[name] != expected or not 0 <= offsets[name] < 2**62:
                raise ValueError(self._damaged(f"stream {name!r} is {found[name]}, not {expected}"))
        return offsets

    def _damaged(self, how: str) -> str:
        return f"{self.path}: damaged shard: {how}; {self._holds()}; pack it anew"

    def _holds(self) -> str:
        more = f" and {len(self.videos) - _SHOWN} more" if len(self.videos) > _SHOWN else ""
        return f"it holds {len(self.videos)} videos: {', '.join(self.videos[:_SHOWN])}{more}"


class PackedFeatures:
    """The features of a packed store; implements `features.Features`.

    Args:
        root: Folder of the store.

    Raises:
        ValueError: The index or an annotation file is damaged, or the index has another format. The message names it.
    """

    def __init__(self, root: Path) -> None:
        self.root, path = root, root / INDEX
        content = read_json(path)
        if content.get("format") != FORMAT:
            raise ValueError(f"{path}: expected the format {FORMAT!r}, found {content.get('format')!r}")
        index = validated(_Index, content, f"{path}: not the index of a store")
        self._streams = {name: entry.spec for name, entry in index.streams.items()}
        self._sources = index.sources
        self.dtype: str = index.dtype
        self.segment_seconds: float = index.segment_seconds
        self.shards = [Shard(root / SHARDS / entry.file, entry, self._streams, self.dtype) for entry in index.shards]
        for name, expected in index.annotations.items():
            if annotations_checksum(root / name) != expected:
                raise ValueError(f"{root / name}: damaged, or not what was packed; pack the data set anew")
        self._place = {video: (shard, i) for shard in self.shards for i, video in enumerate(shard.videos)}

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """See `Features.missing`."""
        gone = {shard for shard in self.shards if not shard.path.exists()}
        missing = [(v, f"{self.root / INDEX}: has no video {v!r}") for v in videos if v not in self._place]
        return missing + [
            (v, f"{self._place[v][0].path}: no such file, which holds video {v!r}")
            for v in videos
            if v in self._place and self._place[v][0] in gone
        ]

    def streams(self, video: str, seconds: tuple[int, ...]) -> dict[str, StreamSpec]:
        """See `Features.streams`; taken from the index."""
        return dict(self._streams)

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """See `Features.read`. NaN and inf were refused when the store was packed."""
        shard, i = self._place[video]
        return shard.read(i, list(streams))

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """See `Features.segments`."""
        shard, i = self._place[video]
        return int(shard.starts[i + 1] - shard.starts[i])

    def statistics(self) -> dict[str, Tensor] | None:
        """See `Features.statistics`; None if no training split was packed."""
        path = self.root / STATISTICS
        return read_tensors(path) if path.is_file() else None

    def digests(self, videos: Sequence[str], split: str) -> dict[str, str]:
        """See `Features.digests`. Covers the checksums of all these videos."""
        found = {}
        for stream in self._streams:
            own = "store:" + text_digest(json.dumps([self._checksum(v, stream) for v in videos]))
            found[stream] = " ".join([own, *filter(None, [self._sources.get(split, {}).get(stream)])])
        return found

    def _checksum(self, video: str, stream: str) -> Any:
        shard, i = self._place[video]
        return video, shard.checksums[stream][i]


def annotations_checksum(path: Path) -> int:
    """CRC-32 of a file; -1 if there is no such file."""
    return zlib.crc32(path.read_bytes()) if path.is_file() else -1


def stream_entries(streams: Mapping[str, StreamSpec]) -> dict[str, Any]:
    """Stream specs as plain values."""
    return {name: asdict(spec) for name, spec in streams.items()}
