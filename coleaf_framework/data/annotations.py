"""The annotations of a data set: weak labels and intervals of every split, with everything odd in them counted.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coleaf_framework.data.annotation_files import (
    DENSE_FILES,
    WEAK_FILES,
    Interval,
    find_file,
    known_faults,
    read_dense,
    read_weak,
)
from coleaf_framework.protocol import MODALITIES

Weak = dict[str, tuple[int, ...]]
"""Video id -> class indices."""


def overlap_lines(shared: Mapping[tuple[str, str], Sequence[str]], split: str | None = None) -> list[str]:
    """One sentence for each pair of splits with videos in common.

    Args:
        shared: Two splits -> ids of the videos that are in both.
        split: Only pairs with it, if it is given.

    Returns:
        Sentences, with the number of videos and an example each; none where no pair has any.
    """
    return [
        f"{len(videos)} videos are in both {a!r} and {b!r}, such as {videos[0]!r}"
        for (a, b), videos in shared.items()
        if videos and split in (None, a, b)
    ]


@dataclass
class AnnotationIssues:
    """Everything odd that was found in a data set's annotations, counted.

    Args:
        empty_intervals: Modality -> number of rows of zero or negative length. They are left out.
        strangers: Modality -> number of rows that name a video of no split. They are left out. A row may be both empty
            and a stranger.
        disagreeing: Split -> number of videos whose intervals and weak labels name different classes. They are kept.
        mended: Modality -> number of rows of a published file whose known faults were corrected, as its authors did.
        shared: Two splits -> videos that are in both. They are kept in both.
    """

    empty_intervals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))
    strangers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))
    disagreeing: dict[str, int] = field(default_factory=dict)
    mended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))
    shared: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One sentence for each kind of issue that occurs."""
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
        """One sentence for each pair of splits with videos in common; only pairs with `split` if it is given."""
        return overlap_lines(self.shared, split)


@dataclass(frozen=True)
class Annotations:
    """The annotations of a data set.

    Args:
        classes: The C class names, in index order.
        weak: Split -> video id -> class indices.
        dense: Video id -> modality -> intervals, for the videos of "val" and "test".
        filenames: Video id -> `filename` as it stands in the files.
        issues: Everything odd that was found.
    """

    classes: tuple[str, ...]
    weak: Mapping[str, Mapping[str, tuple[int, ...]]]
    dense: Mapping[str, Mapping[str, list[Interval]]]
    filenames: Mapping[str, str]
    issues: AnnotationIssues


def read_annotations(root: Path, classes: tuple[str, ...]) -> Annotations:
    """Read every annotation file of a data set. A split without a file is absent.

    Args:
        root: Folder of the data set.
        classes: Class names, in index order.

    Returns:
        Annotations of all splits that have a file, with everything odd that was found.

    Raises:
        FileNotFoundError: there are no annotation files.
        ValueError: a row is malformed. The message says file, line, what was found and what would be right.
    """
    index = {name: i for i, name in enumerate(classes)}
    issues = AnnotationIssues()
    weak, filenames = _read_splits(root, index)
    dense = _read_intervals(root, index, weak, filenames, issues)
    for split in ("val", "test"):
        issues.disagreeing[split] = sum(
            {i.label for m in MODALITIES for i in dense[video][m]} != set(labels)
            for video, labels in weak.get(split, {}).items()
        )
    for a, b in itertools.combinations(weak, 2):
        issues.shared[a, b] = sorted(weak[a].keys() & weak[b].keys())
    return Annotations(classes, weak, dense, filenames, issues)


def _read_splits(root: Path, index: Mapping[str, int]) -> tuple[dict[str, Weak], dict[str, str]]:
    """The weak labels of every split, and the `filename` of every video."""
    weak: dict[str, Weak] = {}
    filenames: dict[str, str] = {}
    for split, name in WEAK_FILES.items():
        if (path := find_file(root, name)) is None:
            continue
        weak[split], names = read_weak(path, index)
        for video, filename in names.items():
            if filenames.setdefault(video, filename) != filename:
                raise ValueError(
                    f"{path}: {filename!r} and {filenames[video]!r} of another split share the id {video!r}, "
                    "so they would share their features"
                )
    if not weak:
        raise FileNotFoundError(f"{root}: no {', '.join(WEAK_FILES.values())} in it or in its folder 'annotations'")
    return weak, filenames


def _read_intervals(
    root: Path,
    index: Mapping[str, int],
    weak: Mapping[str, Weak],
    filenames: Mapping[str, str],
    issues: AnnotationIssues,
) -> dict[str, dict[str, list[Interval]]]:
    """The intervals of every validation and test video; rows that are left out are counted in `issues`."""
    evaluated = {video for split in ("val", "test") for video in weak.get(split, ())}
    dense: dict[str, dict[str, list[Interval]]] = {video: {m: [] for m in MODALITIES} for video in evaluated}
    # By whole filename, not by id: LLP has intervals of another clip of the same video.
    by_filename = {filename: video for video, filename in filenames.items()}
    for modality, name in DENSE_FILES.items():
        path = find_file(root, name)
        if path is None:
            continue
        issues.mended[modality] = len(known_faults(path))
        for filename, interval in read_dense(path, index):
            named = by_filename.get(filename)
            empty = interval.offset <= interval.onset
            issues.empty_intervals[modality] += empty
            issues.strangers[modality] += named is None
            if named in evaluated and not empty:
                dense[named][modality].append(interval)
    return dense


def dense_labels(
    intervals: Mapping[str, list[Interval]], segments: int, num_classes: int, segment_seconds: float = 1.0
) -> NDArray[np.bool_]:
    """Ground truth of one video: the segments that an interval touches, or the last where it begins after all of them.

    Args:
        intervals: Modality -> intervals.
        segments: number of segments, T.
        num_classes: number of classes, C.
        segment_seconds: length of a segment.

    Returns:
        (T,M,C) bool.
    """
    truth = np.zeros((segments, len(MODALITIES), num_classes), dtype=bool)
    for m, modality in enumerate(MODALITIES):
        for interval in intervals[modality]:
            onset, offset = (round(x / segment_seconds, 6) for x in (interval.onset, interval.offset))
            truth[min(math.floor(onset), segments - 1) : math.ceil(offset), m, interval.label] = True
    return truth
