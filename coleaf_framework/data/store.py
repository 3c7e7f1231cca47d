"""A packed store: features of many videos in few files, with checksums. Written by `packing.py`.

root/index.json                   streams, dtype, and of each shard: file, videos, their segments and checksums
root/shards/<split>-00000.safetensors    one tensor a stream, (rows of all its videos, width)
root/statistics.safetensors       mean and deviation of each stream over the training split
root/AVVP_*.csv, classes.txt      the annotations, as in a folder in LLP's layout
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from coleaf_framework.protocol import StreamSpec
from coleaf_framework.storage import checksum, read_json, read_tensors

INDEX, SHARDS, STATISTICS = "index.json", "shards", "statistics.safetensors"
FORMAT = "coleaf store 1"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_SHOWN = 5


class Shard:
    """One file of a store, mapped into memory: only what is read is loaded.

    Args:
        path: the file.
        entry: its part of the index: "videos", "segments" and "checksums" (stream -> one a video).
        streams: what it holds.
        dtype: of its tensors.
    """

    def __init__(self, path: Path, entry: Mapping[str, Any], streams: Mapping[str, StreamSpec], dtype: str) -> None:
        self.path, self.streams, self.dtype = path, streams, DTYPES[dtype]
        self.videos, self.checksums = entry["videos"], entry["checksums"]
        self.starts = [0, *accumulate(entry["segments"])]
        self._tensors: dict[str, Tensor] | None = None

    def read(self, i: int, streams: Sequence[str]) -> dict[str, Tensor]:
        """Features of its video number `i`, held to their checksums; stream name -> (frames * T, width) float32.

        Raises:
            FileNotFoundError: the file is not there.
            ValueError: it is damaged; names it and the videos that it holds.
        """
        if self._tensors is None:
            self._tensors = self._open()
        features = {}
        for name in streams:
            frames = self.streams[name].frames
            x = self._tensors[name][frames * self.starts[i] : frames * self.starts[i + 1]]
            if checksum(x) != self.checksums[name][i]:
                raise ValueError(self._damaged(f"stream {name!r} of video {self.videos[i]!r} has another checksum"))
            features[name] = x.float()
        return features

    def _open(self) -> dict[str, Tensor]:
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file; {self._holds()}")
        try:
            with safe_open(self.path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in self.streams}
        except (SafetensorError, ValueError, RuntimeError, OSError) as problem:
            raise ValueError(self._damaged(str(problem))) from problem
        for name, spec in self.streams.items():
            expected = (spec.frames * self.starts[-1], spec.width)
            if tensors[name].shape != expected or tensors[name].dtype != self.dtype:
                raise ValueError(self._damaged(f"stream {name!r} is {tuple(tensors[name].shape)}, not {expected}"))
        return tensors

    def _damaged(self, how: str) -> str:
        return f"{self.path}: damaged shard: {how}; {self._holds()}; pack it anew"

    def _holds(self) -> str:
        more = f" and {len(self.videos) - _SHOWN} more" if len(self.videos) > _SHOWN else ""
        return f"it holds {len(self.videos)} videos: {', '.join(self.videos[:_SHOWN])}{more}"


class PackedFeatures:
    """The features of a store; see `features.Features`.

    Args:
        root: its folder.

    Raises:
        ValueError: the index is damaged, or of another format; names it.
    """

    def __init__(self, root: Path) -> None:
        self.root, path = root, root / INDEX
        index = read_json(path)
        if index.get("format") != FORMAT:
            raise ValueError(f"{path}: expected the format {FORMAT!r}, found {index.get('format')!r}")
        try:
            self._streams = {name: StreamSpec(**spec) for name, spec in index["streams"].items()}
            self.dtype = index["dtype"]
            self.shards = [
                Shard(root / SHARDS / entry["file"], entry, self._streams, self.dtype) for entry in index["shards"]
            ]
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"{path}: not the index of a store: {problem!r}") from problem
        self._place = {video: (shard, i) for shard in self.shards for i, video in enumerate(shard.videos)}

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """As `Features.missing`."""
        gone = {shard for shard in self.shards if not shard.path.is_file()}
        missing = [(v, f"{self.root / INDEX}: has no video {v!r}") for v in videos if v not in self._place]
        return missing + [
            (v, f"{self._place[v][0].path}: no such file, which holds video {v!r}")
            for v in videos
            if v in self._place and self._place[v][0] in gone
        ]

    def streams(self, video: str, seconds: int | None) -> dict[str, StreamSpec]:
        """As packed."""
        return dict(self._streams)

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """As `Features.read`; finite, since packing looked."""
        shard, i = self._place[video]
        return shard.read(i, list(streams))

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """As `Features.segments`."""
        shard, i = self._place[video]
        return int(shard.starts[i + 1] - shard.starts[i])

    def statistics(self) -> dict[str, Tensor] | None:
        """As `Features.statistics`; None where no training split was packed."""
        path = self.root / STATISTICS
        return read_tensors(path) if path.is_file() else None


def described(streams: Mapping[str, StreamSpec]) -> dict[str, Any]:
    """Streams as plain values."""
    return {name: asdict(spec) for name, spec in streams.items()}
