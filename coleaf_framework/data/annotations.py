"""LLP's annotation files: weak labels and intervals, with everything odd in them counted.

TSV files with a header: `filename, event_labels` (weak labels, comma separated) for each split, and
`filename, onset, offset, event_labels` (seconds) for each modality. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coleaf_framework._config import nearest
from coleaf_framework._text import one_line
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.storage import file_digest, require_file

WEAK_FILES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
DENSE_FILES = {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}

CLASSES_FILE = "classes.txt"

# Published files with known faults: digest (`file_digest`) -> line -> the right `filename`. This one, LLP's
# AVVP_eval_audio.csv before commit fde5611 of YapengTian/AVVP-ECCV20 (2024), is the one that other repositories carry.
_MENDED = {
    "249122f65501d8d6": {
        930: "JfZEqeLZqWk_30_40",
        931: "JfZEqeLZqWk_30_40",
        2449: "KvIjsmANkxI_10_20",
    }
}

_TIMES = re.compile(r"_[0-9]+(\.[0-9]+)?_[0-9]+(\.[0-9]+)?$")
_SECONDS = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_LONGEST = 86_400  # seconds of a video; more is no time that was meant
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Interval:
    """One annotated interval: onset and offset in seconds, onset before offset, class index, and FILE:LINE."""

    onset: float
    offset: float
    label: int
    where: str


@dataclass
class AnnotationReport:
    """What is odd in a data set's annotations; counted, never hidden.

    Args:
        empty_intervals: modality -> rows of zero or negative length, left out.
        strangers: modality -> rows that name a video in no split, left out (a row may be both).
        disagreeing: split -> videos whose intervals and weak labels name different classes, kept as they are.
        mended: modality -> rows of a published file with known faults that were set right, as its authors did later.
        shared: (split, another one) -> videos that are in both, kept in both.
    """

    empty_intervals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))
    strangers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))
    disagreeing: dict[str, int] = field(default_factory=dict)
    mended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))
    shared: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One sentence per kind of oddity that occurs."""
        found = []
        for modality in MODALITIES:
            if n := self.mended[modality]:
                found.append(
                    f"{n} rows of {DENSE_FILES[modality]} name no video, a known fault of this published file, and "
                    "were mended as its authors did in 2024"
                )
            if n := self.empty_intervals[modality]:
                found.append(f"{n} {modality} rows have zero or negative length and were left out")
            if n := self.strangers[modality]:
                found.append(f"{n} {modality} rows name a video in no split and were left out")
        for split, n in self.disagreeing.items():
            if n:
                found.append(
                    f"{n} {split} videos have intervals that disagree with their weak labels; kept as they are"
                )
        return found + self.overlaps()

    def overlaps(self, split: str | None = None) -> list[str]:
        """One sentence per pair of splits, or per such pair that `split` is of, that have videos in common."""
        return [
            f"{len(videos)} videos are in both {a!r} and {b!r}, such as {videos[0]!r}"
            for (a, b), videos in self.shared.items()
            if videos and split in (None, a, b)
        ]


@dataclass(frozen=True)
class Annotations:
    """The annotations of a data set.

    Args:
        classes: C names, in index order.
        weak: split -> video id -> class indices.
        dense: video id -> modality -> intervals; for videos of "val" and "test".
        filenames: video id -> `filename` as the files write it.
        report: what was odd.
    """

    classes: tuple[str, ...]
    weak: Mapping[str, Mapping[str, tuple[int, ...]]]
    dense: Mapping[str, Mapping[str, list[Interval]]]
    filenames: Mapping[str, str]
    report: AnnotationReport


def find_file(root: Path, name: str) -> Path | None:
    """`root/name` or `root/annotations/name`; None where there is neither.

    Raises:
        FileNotFoundError: `root` is no folder.
        ValueError: there are both, so that it is unclear which one counts; or it is not a regular file.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    places = (root / name, root / "annotations" / name)
    if folder := next((path for path in places if path.is_dir()), None):
        raise ValueError(f"{folder}: is a folder, where a file was expected")
    found = [path for path in places if path.exists()]
    if len(found) > 1:
        raise ValueError(f"{found[0]} and {found[1]} both exist: remove one of them")
    if not found:
        return None
    require_file(found[0])
    return found[0]


def read_annotations(root: Path, classes: tuple[str, ...]) -> Annotations:
    """Read every annotation file under `root`; splits without a file are absent.

    Raises:
        FileNotFoundError: no annotation files.
        ValueError: a malformed row; names file, line, what was found and what would be right.
    """
    index = {name: i for i, name in enumerate(classes)}
    weak: dict[str, dict[str, tuple[int, ...]]] = {}
    filenames: dict[str, str] = {}
    for split, name in WEAK_FILES.items():
        if (path := find_file(root, name)) is not None:
            weak[split], names = _read_weak(path, index)
            for video, filename in names.items():
                if filenames.setdefault(video, filename) != filename:
                    raise ValueError(
                        f"{path}: {filename!r} and {filenames[video]!r} of another split share the id {video!r}, "
                        "so they would share their features"
                    )
    if not weak:
        raise FileNotFoundError(f"{root}: no {', '.join(WEAK_FILES.values())} in it or in its folder 'annotations'")
    report = AnnotationReport()
    evaluated = {video for split in ("val", "test") for video in weak.get(split, ())}
    dense: dict[str, dict[str, list[Interval]]] = {video: {m: [] for m in MODALITIES} for video in evaluated}
    # By whole filename, not by id: LLP has intervals of another clip of the same video.
    by_filename = {filename: video for video, filename in filenames.items()}
    for modality, name in DENSE_FILES.items():
        dense_path = find_file(root, name)
        if dense_path is None:
            continue
        mended = _MENDED.get(file_digest(dense_path), {})
        report.mended[modality] = len(mended)
        for filename, interval in _read_dense(dense_path, index, mended):
            named = by_filename.get(filename)
            empty = interval.offset <= interval.onset
            report.empty_intervals[modality] += empty
            report.strangers[modality] += named is None
            if named in evaluated and not empty:
                dense[named][modality].append(interval)
    for split in ("val", "test"):
        report.disagreeing[split] = sum(
            {i.label for m in MODALITIES for i in dense[video][m]} != set(labels)
            for video, labels in weak.get(split, {}).items()
        )
    for a, b in itertools.combinations(weak, 2):
        report.shared[a, b] = sorted(weak[a].keys() & weak[b].keys())
    return Annotations(classes, weak, dense, filenames, report)


def read_classes(root: Path) -> tuple[str, ...]:
    """Class names from `classes.txt`, one a line.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is empty, names a class twice, is not UTF-8 or has a control character in a name; names the line.
    """
    path = find_file(root, CLASSES_FILE)
    if path is None:
        raise FileNotFoundError(f"{root / CLASSES_FILE}: no such file; write one class name a line, or pass classes=")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # `splitlines` would take control characters for ends
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: not a UTF-8 text file: {problem}") from problem
    for number, line in enumerate(lines, 1):
        if one_line(line.strip(" \t")) != line.strip(" \t"):
            raise ValueError(f"{path}:{number}: a control character in the class name {line.strip()!r}")
    names = tuple(line.strip() for line in lines if line.strip())
    if odd := next((name for name in names if "," in name or "\t" in name), None):
        raise ValueError(f"{path}: class {odd!r}: no annotation can name it, since commas and tabs divide them there")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path}: expected one class name a line, each once, found {len(names)} names")
    return names


def dense_labels(intervals: Mapping[str, list[Interval]], segments: int, num_classes: int) -> NDArray[np.bool_]:
    """Ground truth of one video, (T,M,C) bool: the one-second segments that an interval touches."""
    truth = np.zeros((segments, len(MODALITIES), num_classes), dtype=bool)
    for m, modality in enumerate(MODALITIES):
        for interval in intervals[modality]:
            truth[math.floor(interval.onset) : math.ceil(interval.offset), m, interval.label] = True
    return truth


def video_seconds(filename: str) -> tuple[int, ...]:
    """The whole seconds that a video may last by `filename`'s trailing `_start_end`, nearest first; () without it."""
    times = _TIMES.search(filename)
    if times is None:
        return ()
    start, end = times.group().split("_")[1:]
    span = float(end) - float(start)
    return tuple(dict.fromkeys(n for n in (round(span), math.floor(span), math.ceil(span)) if n > 0))


def video_id(filename: str) -> str:
    """The id that names a video's feature files: `filename` without its trailing `_start_end` times.

    On LLP these are the first 11 characters.

    Raises:
        ValueError: it could leave the folder of features, or its times are no video's.
    """
    video = _TIMES.sub("", filename)
    if not _SAFE_ID.fullmatch(video):
        raise ValueError(f"filename {filename!r} is not a plain name of letters, digits, '_', '-' and '.'")
    if (times := _TIMES.search(filename)) is not None:
        start, end = map(float, times.group().split("_")[1:])
        if not start <= end <= start + _LONGEST:
            raise ValueError(f"filename {filename!r} ends with the times {start:g} to {end:g}, which no video has")
    return video


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a TSV file with "FILE:LINE" each."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = next(reader, [])
            if tuple(header) != columns:
                raise ValueError(f"{path}:1: expected the header {list(columns)}, tab separated, found {header}")
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise ValueError(f"{where}: expected {len(columns)} tab-separated cells, found {len(cells)}")
                yield where, dict(zip(columns, cells, strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(f"{path}: not a tab-separated UTF-8 text file: {problem}") from problem


def _id_at(where: str, filename: str) -> str:
    try:
        return video_id(filename)
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from None


def _label_at(where: str, name: str, index: Mapping[str, int]) -> int:
    if name not in index:
        raise ValueError(f"{where}: unknown class {name!r}.{nearest(name, index)} There are {len(index)} classes")
    return index[name]


def _read_weak(path: Path, index: Mapping[str, int]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    videos: dict[str, tuple[int, ...]] = {}
    filenames: dict[str, str] = {}
    for where, row in _rows(path, ("filename", "event_labels")):
        video = _id_at(where, row["filename"])
        if video in videos:
            raise ValueError(f"{where}: video {video!r} is listed twice in this split")
        names = [name.strip() for name in row["event_labels"].split(",") if name.strip()]
        videos[video] = tuple(sorted({_label_at(where, name, index) for name in names}))
        filenames[video] = row["filename"]
    return videos, filenames


def _read_dense(path: Path, index: Mapping[str, int], mended: Mapping[int, str]) -> Iterator[tuple[str, Interval]]:
    for where, row in _rows(path, ("filename", "onset", "offset", "event_labels")):
        row["filename"] = mended.get(int(where.rpartition(":")[2]), row["filename"])
        _id_at(where, row["filename"])
        label = _label_at(where, row["event_labels"].strip(), index)
        onset, offset = (float(x) if _SECONDS.fullmatch(x) else math.nan for x in (row["onset"], row["offset"]))
        if not (math.isfinite(onset) and math.isfinite(offset) and onset >= 0 and offset >= 0):
            raise ValueError(
                f"{where}: bad interval {row['onset']!r} to {row['offset']!r}: expected seconds from the video's start"
            )
        yield row["filename"], Interval(onset, offset, label, where)
