"""Packing a data folder into a store; see `store.py` for what is written."""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from coleaf_framework._config import shown, validated
from coleaf_framework.data.annotation_files import WEAK_FILES, find_file
from coleaf_framework.data.averaging import AveragedFrames
from coleaf_framework.data.dataset import AVVPDataset, stream_statistics
from coleaf_framework.data.extracted import ExtractedVideos
from coleaf_framework.data.features import Features
from coleaf_framework.data.labels.config import LABELS_FILE
from coleaf_framework.data.opening import is_extracted, open_folder, splits_of
from coleaf_framework.data.precision import require_precision
from coleaf_framework.data.recipe_file import PROJECTION_FILE, RECIPE_FILE
from coleaf_framework.data.store import (
    DTYPES,
    FORMAT,
    INDEX,
    SHARDS,
    STATISTICS,
    Shard,
    ShardEntry,
    annotations_checksum,
    stream_entries,
)
from coleaf_framework.data.video_folder import SYNTHETIC_MARKER, VideoFolder, log_once
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.storage import checksum, read_json, write_atomically, write_json, write_tensors

_UNFINISHED = "packing.json"
_MEGABYTES = 256


@dataclass(frozen=True)
class _Part:
    """The videos that become one shard.

    Args:
        name: Name of the shard's file, without its suffix.
        data: The split, with averaged frames if those are packed.
        features: Where the split's features come from.
        videos: Indices of the videos in the split.
    """

    name: str
    data: AVVPDataset
    features: Features
    videos: range

    def source(self) -> dict[str, str]:
        """Digests of the source files in their present state."""
        return self.features.digests([self.data.ids[i] for i in self.videos], self.data.split)


def pack(
    root: Path | str,
    out: Path | str,
    *,
    average_frames: bool = False,
    streams: Path | str | None = None,
    dtype: str = "float16",
    shard_megabytes: float = _MEGABYTES,
    jobs: int | None = None,
    done: Callable[[int, int], None] = lambda packed, total: None,
) -> dict[str, int]:
    """Pack every split of a folder into a store. Called again after an interrupt, it goes on.

    Each shard is read back after it was written and compared. A shard of an interrupted packing is packed again if its
    source files have changed since.

    Args:
        root: Folder of a data set that `open_folder` opens.
        out: A new or empty folder, or that of an interrupted packing.
        average_frames: Store the mean of each segment's frames. The result of networks that average the frames after a
            linear layer stays the same (HAN, the class-token Reference); CMPAE refuses such data.
        streams: A file such as `streams.yaml`; that of the folder, if it has one, if None. The store holds segments,
            so it needs none.
        dtype: "float16", "bfloat16" or "float32".
        shard_megabytes: Approximate size of a shard.
        jobs: Number of threads, each of which holds a few shards in memory; one per core, at most 8, if None.
        done: Called with the number of videos packed so far and of all videos.

    Returns:
        Split -> number of videos.

    Raises:
        FileExistsError: `out` holds something else, or was begun with other arguments.
        FileNotFoundError: a file of the data set is missing.
        ValueError: an argument or a file of the data set is malformed, a value is beyond the range of `dtype`, or
            rounding to `dtype` loses more than 1 % of a stream's deviation.

    Example:
        From the root of the repository:

        >>> import tempfile
        >>> from coleaf_framework.data import pack
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pack("examples/tuxav_mini", Path(folder) / "packed")
        {'train': 1000, 'val': 200, 'test': 600}
    """
    root, out = Path(root), Path(out)
    _check_arguments(dtype, shard_megabytes, jobs)
    folders = _open_splits(root, streams)
    splits: dict[str, AVVPDataset] = dict(folders)
    if average_frames:
        splits = {split: AveragedFrames(data) for split, data in splits.items()}
    specs = _common_streams(root, splits)
    for data in splits.values():
        require_precision(data, dtype)
    segment_seconds = next(iter(folders.values())).segment_seconds
    entries_of_streams = stream_entries(specs)
    about: dict[str, Any] = {"dtype": dtype, "streams": entries_of_streams, "shard_megabytes": shard_megabytes}
    about["segment_seconds"] = segment_seconds
    about["videos"] = {split: checksum(torch.tensor(list("\n".join(d.ids).encode()))) for split, d in splits.items()}
    _begin(out, about)
    kept = (SYNTHETIC_MARKER, RECIPE_FILE, PROJECTION_FILE)
    annotations = tuple(dict.fromkeys((*kept, *next(iter(folders.values())).annotation_files)))
    _copy_annotations(root, out, annotations)
    if (root / LABELS_FILE).is_file():
        log_once(root, LABELS_FILE, ["it is not packed: pass --labels to train on the store with its pseudo-labels"])
    sources = {split: folder.features for split, folder in folders.items()}
    parts = list(_parts(splits, sources, shard_megabytes, dtype))
    entries = _pack_parts(parts, out, dtype, jobs, done)
    for part, entry in zip(parts, entries, strict=True):
        if entry.pop("source") != part.source():
            raise ValueError(f"{root}: files of {part.data.split!r} changed while they were packed: pack again")
    content: dict[str, Any] = {"format": FORMAT, "dtype": dtype, "streams": entries_of_streams, "shards": entries}
    content["segment_seconds"] = segment_seconds
    content["sources"] = {split: _npy_digests(folder) for split, folder in folders.items()}
    content["annotations"] = {name: annotations_checksum(out / name) for name in annotations if (out / name).exists()}
    _finish(out, content, parts)
    return {split: len(data) for split, data in splits.items()}


def _check_arguments(dtype: str, shard_megabytes: float, jobs: int | None) -> None:
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not one of {list(DTYPES)}")
    if not isinstance(shard_megabytes, int | float) or not 0 < shard_megabytes < math.inf:
        raise ValueError(f"shard_megabytes is {shown(shard_megabytes)}, where a number above 0 was expected")
    if jobs is not None and (not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs is {shown(jobs)}, where a whole number of at least 1 was expected")


def _open_splits(root: Path, streams: Path | str | None) -> dict[str, VideoFolder]:
    """Every split that the folder has annotations of; the videos of one that has none are a test split."""
    if is_extracted(root):
        return {"test": ExtractedVideos(root, (), streams=streams)}
    folders = {split: open_folder(root, split, streams=streams) for split in splits_of(root)}
    if not folders:
        raise FileNotFoundError(f"{root}: no {', '.join(WEAK_FILES.values())} in it or in its folder 'annotations'")
    return folders


def _common_streams(root: Path, splits: Mapping[str, AVVPDataset]) -> Mapping[str, StreamSpec]:
    """The streams of every split, which must be the same."""
    streams = next(iter(splits.values())).streams
    for split, data in splits.items():
        if data.streams != streams:
            raise ValueError(f"{root}: split {split!r} has other streams: {data.streams}, not {streams}")
    return streams


def _pack_parts(
    parts: Sequence[_Part], out: Path, dtype: str, jobs: int | None, done: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Pack every part, several at a time, and return their entries in the index."""
    total, packed = sum(len(part.videos) for part in parts), itertools.accumulate(len(part.videos) for part in parts)
    entries = []
    with ThreadPoolExecutor(jobs or min(8, os.cpu_count() or 1)) as pool:
        try:
            for entry, count in zip(pool.map(lambda part: _pack_part(part, out, dtype), parts), packed, strict=True):
                entries.append(entry)
                done(count, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return entries


def _finish(out: Path, content: dict[str, Any], parts: Sequence[_Part]) -> None:
    """Write the index, which makes a store of the folder, then the statistics, and remove what resuming needed."""
    write_json(out / INDEX, content)
    if any(part.data.split == "train" for part in parts):
        write_tensors(out / STATISTICS, stream_statistics(open_folder(out, "train")))
    for part in parts:
        _entry_path(part, out).unlink()
    (out / _UNFINISHED).unlink()


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


def _copy_annotations(root: Path, out: Path, names: Sequence[str]) -> None:
    for name in names:
        if (source := find_file(root, name)) is not None:
            write_atomically(out / name, lambda file, source=source: shutil.copyfile(source, file))  # type: ignore[misc]


def _npy_digests(folder: VideoFolder) -> dict[str, str]:
    """Stream -> digest of a split's npy or HDF5 files; of a store, those that it was packed from."""
    kinds = {name: digest.split() for name, digest in folder.digests().items()}
    return {name: kind for name, each in kinds.items() for kind in each if kind.startswith(("npy:", "h5:"))}


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
    """Write a shard and return its entry in the index; one of an interrupted packing is kept if it is intact."""
    entry_path, path = _entry_path(part, out), out / SHARDS / f"{part.name}.safetensors"
    source = part.source()  # before the files are read, so that a change meanwhile shows
    if entry_path.exists():
        try:
            entry = read_json(entry_path)
            _verify(path, entry, part.data, dtype)
            if entry.get("source") == source and entry["videos"] == [part.data.ids[i] for i in part.videos]:
                return entry
        except (ValueError, FileNotFoundError):
            pass  # an interrupted machine may leave anything
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


def _verify(path: Path, entry: dict[str, Any], data: AVVPDataset, dtype: str) -> None:
    shard = Shard(path, validated(ShardEntry, entry, path), data.streams, dtype)
    if shard.checksums.keys() != data.streams.keys():
        raise ValueError(f"{path}: has the checksums of {list(shard.checksums)}, not of {list(data.streams)}")
    for i in range(len(shard.videos)):
        shard.read(i, list(data.streams))


def _entry_path(part: _Part, out: Path) -> Path:
    return out / SHARDS / f"{part.name}.json"
