"""Packing a folder in LLP's layout into a store; see `store.py` for what is written."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from coleaf_framework._config import shown, validated
from coleaf_framework.data.annotation_files import CLASSES_FILE, DENSE_FILES, WEAK_FILES, find_file
from coleaf_framework.data.dataset import AveragedFrames, AVVPDataset, stream_statistics
from coleaf_framework.data.features import Features
from coleaf_framework.data.folder import SYNTHETIC_MARKER, AVVPFolder, open_folder
from coleaf_framework.data.store import (
    DTYPES,
    FORMAT,
    INDEX,
    SHARDS,
    STATISTICS,
    Shard,
    ShardEntry,
    annotations_checksum,
    described,
)
from coleaf_framework.storage import checksum, read_json, write_atomically, write_json, write_tensors

_UNFINISHED = "packing.json"
_MEGABYTES = 256
_MOST_LOST = 0.01  # root mean square of the rounding error, against the deviation
_SAMPLED = 100  # videos of a split on which it is measured
_ANNOTATIONS = (CLASSES_FILE, SYNTHETIC_MARKER, *WEAK_FILES.values(), *DENSE_FILES.values())


@dataclass(frozen=True)
class _Part:
    """Videos that become one shard; `features` is where they come from."""

    name: str
    data: AVVPDataset
    features: Features
    videos: range

    def source(self) -> dict[str, str]:
        """Digests of what is packed, as it is now."""
        return self.features.digests([self.data.ids[i] for i in self.videos], self.data.split)


def pack(
    root: Path | str,
    out: Path | str,
    *,
    average_frames: bool = False,
    dtype: str = "float16",
    shard_megabytes: float = _MEGABYTES,
    jobs: int | None = None,
    done: Callable[[int, int], None] = lambda packed, total: None,
) -> dict[str, int]:
    """Pack every split of a folder; called again after an interrupt, it goes on.

    Each shard is written whole, read back and compared. One whose source files have changed since is packed again.

    Args:
        root: folder in LLP's layout.
        out: a new or empty folder, or that of an interrupted packing.
        average_frames: store the mean of each segment's frames. Exact for networks that average after a linear
            layer (HAN, the class-token Reference); others must refuse it (CMPAE does).
        dtype: "float16", "bfloat16" or "float32".
        shard_megabytes: about how large a shard becomes.
        jobs: threads, each of which holds a few shards in memory; one per core, at most 8, where None.
        done: called with videos packed and videos in all.

    Returns: split -> number of videos.

    Raises:
        FileExistsError: `out` holds something else, or was begun with other arguments.
        FileNotFoundError, ValueError: as `AVVPFolder`; or a value that `dtype` cannot hold, or a stream of which it
            loses more than 1 % of the deviation.
    """
    root, out = Path(root), Path(out)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not one of {list(DTYPES)}")
    if not isinstance(shard_megabytes, int | float) or not 0 < shard_megabytes < math.inf:
        raise ValueError(f"shard_megabytes is {shown(shard_megabytes)}, where a number above 0 was expected")
    if jobs is not None and (not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs is {shown(jobs)}, where a whole number of at least 1 was expected")
    folders = {
        split: open_folder(root, split) for split, name in WEAK_FILES.items() if find_file(root, name) is not None
    }
    if not folders:
        raise FileNotFoundError(f"{root}: no {', '.join(WEAK_FILES.values())} in it or in its folder 'annotations'")
    splits: dict[str, AVVPDataset] = dict(folders)
    if average_frames:
        splits = {split: AveragedFrames(data) for split, data in splits.items()}
    streams = next(iter(splits.values())).streams
    for split, data in splits.items():
        if data.streams != streams:
            raise ValueError(f"{root}: split {split!r} has other streams: {data.streams}, not {streams}")
    for data in splits.values():
        _require_precision(data, dtype)
    about = {"dtype": dtype, "streams": described(streams), "shard_megabytes": shard_megabytes}
    about["videos"] = {split: checksum(torch.tensor(list("\n".join(d.ids).encode()))) for split, d in splits.items()}
    _begin(out, about)
    _copy_annotations(root, out)
    sources = {split: folder.features for split, folder in folders.items()}
    parts = list(_parts(splits, sources, shard_megabytes, dtype))
    total, packed = sum(map(len, splits.values())), itertools.accumulate(len(part.videos) for part in parts)
    with ThreadPoolExecutor(jobs or min(8, os.cpu_count() or 1)) as pool:
        entries = []
        try:
            for entry, count in zip(pool.map(lambda part: _pack_part(part, out, dtype), parts), packed, strict=True):
                entries.append(entry)
                done(count, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for part, entry in zip(parts, entries, strict=True):
        if entry.pop("source") != part.source():
            raise ValueError(f"{root}: files of {part.data.split!r} changed while they were packed: pack again")
    content = {"format": FORMAT, "dtype": dtype, "streams": described(streams), "shards": entries}
    content["annotations"] = {name: annotations_checksum(out / name) for name in _ANNOTATIONS if (out / name).exists()}
    content["sources"] = {split: _npy_digests(folder) for split, folder in folders.items()}
    write_json(out / INDEX, content)
    if "train" in splits:
        write_tensors(out / STATISTICS, stream_statistics(open_folder(out, "train")))
    for part in parts:
        _entry_path(part, out).unlink()
    (out / _UNFINISHED).unlink()
    return {split: len(data) for split, data in splits.items()}


def _begin(out: Path, about: dict[str, Any]) -> None:
    unfinished = out / _UNFINISHED
    if unfinished.exists():
        if read_json(unfinished) != about:
            raise FileExistsError(f"{out} was begun with other arguments or other videos: choose another folder")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists already and is not an empty folder: choose another one")
    (out / SHARDS).mkdir(parents=True)
    write_json(unfinished, about)


def _copy_annotations(root: Path, out: Path) -> None:
    for name in _ANNOTATIONS:
        if (source := find_file(root, name)) is not None:
            write_atomically(out / name, lambda file, source=source: shutil.copyfile(source, file))  # type: ignore[misc]


def _npy_digests(folder: AVVPFolder) -> dict[str, str]:
    """Of the files that a split is packed from; of a store, of those that it was packed from."""
    kinds = {name: digest.split() for name, digest in folder.digests().items()}
    return {name: kind for name, each in kinds.items() for kind in each if kind.startswith("npy:")}


def _parts(
    splits: dict[str, AVVPDataset], sources: dict[str, Features], megabytes: float, dtype: str
) -> Iterator[_Part]:
    for split, data in splits.items():
        values = sum(x.numel() for x in data[0].streams.values())
        size = max(1, int(megabytes * 2**20 / (values * DTYPES[dtype].itemsize)))
        for number, start in enumerate(range(0, len(data), size)):
            videos = range(start, min(start + size, len(data)))
            yield _Part(f"{split}-{number:05d}", data, sources[split], videos)


def _pack_part(part: _Part, out: Path, dtype: str) -> dict[str, Any]:
    """Write a shard and its part of the index, unless both are there and agree."""
    entry_path, path = _entry_path(part, out), out / SHARDS / f"{part.name}.safetensors"
    source = part.source()  # before it is read: what changes meanwhile is noticed
    if entry_path.exists():
        try:
            entry = read_json(entry_path)
            _verify(path, entry, part.data, dtype)
            if entry.get("source") == source and entry["videos"] == [part.data.ids[i] for i in part.videos]:
                return entry
        except (ValueError, FileNotFoundError):
            pass  # whatever an interrupted machine left
        entry_path.unlink()
    rows: dict[str, list[Tensor]] = {name: [] for name in part.data.streams}
    segments = []
    for i in part.videos:
        video = part.data[i]
        for name, x in video.streams.items():
            stored = x.to(DTYPES[dtype])
            if not torch.isfinite(stored).all():
                raise ValueError(
                    f"video {video.id!r}, stream {name!r}: {x.abs().max():g} is too large for {dtype}: use bfloat16"
                )
            rows[name].append(stored)
        name, spec = next(iter(part.data.streams.items()))
        segments.append(len(rows[name][-1]) // spec.frames)
    entry = {
        "file": path.name,
        "videos": [part.data.ids[i] for i in part.videos],
        "segments": segments,
        "source": source,
        "checksums": {name: [checksum(x) for x in xs] for name, xs in rows.items()},
    }
    payload = save({name: torch.cat(xs) for name, xs in rows.items()})
    write_atomically(path, lambda file: file.write_bytes(payload))
    _verify(path, entry, part.data, dtype)
    write_json(entry_path, entry)
    return entry


def _require_precision(data: AVVPDataset, dtype: str) -> None:
    """Check on some videos, evenly spaced, that a dtype keeps the values of each stream.

    Videos that cannot be read, and values that the dtype cannot hold, are left to the packing, which names them.

    Raises:
        ValueError: the root mean square of its rounding error is above 1 % of the deviation about each feature's mean;
            names the stream and a dtype that would do.
    """
    videos = []
    for i in range(0, len(data), max(1, -(-len(data) // _SAMPLED))):
        with contextlib.suppress(ValueError, OSError):
            videos.append(data[i])
    for stream in data.streams if videos else ():
        x = torch.cat([video.streams[stream] for video in videos]).double()
        deviation = (x - x.mean(0)).square().mean().sqrt().item()
        lost = {name: (x.to(kind).double() - x).square().mean().sqrt().item() for name, kind in DTYPES.items()}
        if lost[dtype] <= _MOST_LOST * deviation or not deviation or not math.isfinite(lost[dtype]):
            continue
        would_do = next(name for name in DTYPES if lost[name] <= _MOST_LOST * deviation)  # they are read as float32
        raise ValueError(
            f"{data.name} {data.split}, stream {stream!r}: rounding to {dtype} loses "
            f"{100 * lost[dtype] / deviation:.3g} % of its deviation, {deviation:.3g}, of which 1 % is allowed: "
            f"use {would_do}"
        )


def _verify(path: Path, entry: dict[str, Any], data: AVVPDataset, dtype: str) -> None:
    shard = Shard(path, validated(ShardEntry, entry, path), data.streams, dtype)
    if shard.checksums.keys() != data.streams.keys():
        raise ValueError(f"{path}: has the checksums of {list(shard.checksums)}, not of {list(data.streams)}")
    for i in range(len(shard.videos)):
        shard.read(i, list(data.streams))


def _entry_path(part: _Part, out: Path) -> Path:
    return out / SHARDS / f"{part.name}.json"
