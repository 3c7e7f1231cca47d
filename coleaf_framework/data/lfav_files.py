"""LFAV's annotation files, and what is odd in them. `lfav.py` has the data set. Shape letters: see `protocol.py`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coleaf_framework.data.annotation_files import Interval, find_file, plain_name, tsv_rows
from coleaf_framework.data.annotations import overlap_lines
from coleaf_framework.protocol import MODALITIES

LFAV_CLASSES = (
    "accordion", "alarm", "banjo", "bicycle", "car", "car_alarm", "cat", "cello", "chainsaw", "cheering",
    "chicken_rooster", "clapping", "cry", "dance", "dog", "drum", "fixed-wing_aircraft", "frisbee", "guitar",
    "helicopter", "horse", "laughter", "piano", "playing_basketball", "playing_badminton", "playing_baseball",
    "playing_ping-pong", "playing_tennis", "playing_soccer", "playing_volleyball", "rodents", "shofar", "singing",
    "speech", "violin",
)  # fmt: skip
"""LFAV's 35 classes, in the order of its code."""

WEAK = {"train": "train_weakly.csv", "val": "val_weak_av.csv", "test": "test_weak_av.csv"}
MODALITY_WEAK = {
    split: {modality: f"{split}_{modality}_weakly.csv" for modality in MODALITIES} for split in ("train", "val", "test")
}
EVENTS = {split: {modality: f"{split}_{modality}.csv" for modality in MODALITIES} for split in ("val", "test")}
LFAV_FILES = (
    *WEAK.values(),
    *(name for files in (*MODALITY_WEAK.values(), *EVENTS.values()) for name in files.values()),
)
SILENT = "silent"
FAR = 3600
"""Seconds. The longest video lasts some 17 minutes, so that an event that ends later is an error in its row."""

Names = dict[str, frozenset[str]]
"""Video id -> names in its row, stripped, those that are no class among them."""


@dataclass
class LFAVIssues:
    """Everything odd in LFAV's annotations, counted by file, or by split where it is about several files.

    Args:
        unknown: File -> name that is no class -> number of rows. Such names are left out.
        silent: File -> rows that say `silent`, which is no event.
        spaced: File -> rows with a space before or after a name, which is stripped.
        mismatch: Split -> videos whose weak label is not the union of those of both modalities. Each is kept.
        far: File -> event rows that end after an hour; their seconds past the features are cut.
        reversed: File -> event rows whose onset is after their offset. They mark nothing.
        repeated: File -> event rows that repeat another one.
        strangers: File -> event rows of a video that is not in the split. They are left out.
        disagreeing: File -> videos whose events and weak label name different classes. Both are kept.
        shared: Two splits -> videos that are in both. They are kept in both.
    """

    unknown: dict[str, Counter[str]] = field(default_factory=dict)
    silent: Counter[str] = field(default_factory=Counter)
    spaced: Counter[str] = field(default_factory=Counter)
    mismatch: Counter[str] = field(default_factory=Counter)
    far: Counter[str] = field(default_factory=Counter)
    reversed: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    strangers: Counter[str] = field(default_factory=Counter)
    disagreeing: Counter[str] = field(default_factory=Counter)
    shared: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One sentence for each fault of each file."""
        found = [
            f"{file}: {n} rows name {name!r}, which is none of the {len(LFAV_CLASSES)} classes and is left out"
            for file, names in self.unknown.items()
            for name, n in names.items()
        ]
        for counts, what in (
            (self.silent, f"rows say {SILENT!r}, which is no event"),
            (self.spaced, "rows have a space around a name, which is stripped"),
            (self.mismatch, "videos have a weak label that is not the union of both modalities'; kept as they are"),
            (self.far, "events end after an hour, which no video lasts; they are cut at the end of the features"),
            (self.reversed, "events end before they begin and mark nothing"),
            (self.repeated, "rows repeat another one"),
            (self.strangers, "events are of a video that is not in the split and were left out"),
            (self.disagreeing, "videos have events that disagree with their weak label; kept as they are"),
        ):
            found += [f"{file}: {n} {what}" for file, n in counts.items() if n]
        return found + self.overlaps()

    def overlaps(self, split: str | None = None) -> list[str]:
        """One sentence for each pair of splits with videos in common; only pairs with `split` if it is given."""
        return overlap_lines(self.shared, split)


@dataclass(frozen=True)
class LFAVAnnotations:
    """The annotations of LFAV. Class indices are those of `LFAV_CLASSES`.

    Args:
        weak: Split -> video id -> class indices of its weak label, as published.
        modality: Split -> modality -> video id -> class indices of its weak label in that modality.
        events: Split -> video id -> modality -> events. None of training videos.
        issues: Everything odd that was found.
    """

    weak: Mapping[str, Mapping[str, tuple[int, ...]]]
    modality: Mapping[str, Mapping[str, Mapping[str, tuple[int, ...]]]]
    events: Mapping[str, Mapping[str, Mapping[str, list[Interval]]]]
    issues: LFAVIssues


def read_lfav(root: Path) -> LFAVAnnotations:
    """Read every annotation file of LFAV. A split without a file of weak labels is absent.

    Raises:
        FileNotFoundError: There are no annotation files, or a split lacks some of its files.
        ValueError: A row is malformed, or the files of a split differ in their videos. The message names the file.
    """
    issues = LFAVIssues()
    weak: dict[str, dict[str, tuple[int, ...]]] = {}
    modality: dict[str, dict[str, dict[str, tuple[int, ...]]]] = {}
    events: dict[str, dict[str, dict[str, list[Interval]]]] = {}
    for split, name in WEAK.items():
        path = find_file(root, name)
        if path is None:
            continue
        union = _read_weak(path, issues)
        each: dict[str, Names] = {}
        for m, file in MODALITY_WEAK[split].items():
            each[m] = _read_weak(_required(root, file, name), issues)
            if each[m].keys() != union.keys():
                odd = sorted(each[m].keys() ^ union.keys())[0]
                raise ValueError(f"{root / file}: video {odd!r} is in only one of it and {name}")
        issues.mismatch[name] = sum(names != each["audio"][v] | each["visual"][v] for v, names in union.items())
        weak[split] = {video: _indices(names) for video, names in union.items()}
        modality[split] = {m: {v: _indices(names) for v, names in videos.items()} for m, videos in each.items()}
        if split in EVENTS:
            events[split] = _read_events(root, split, each, issues)
    if not weak:
        raise FileNotFoundError(f"{root}: no {', '.join(WEAK.values())} in it or in its folder 'annotations'")
    for a, b in itertools.combinations(weak, 2):
        issues.shared[a, b] = sorted(weak[a].keys() & weak[b].keys())
    return LFAVAnnotations(weak, modality, events, issues)


def _required(root: Path, name: str, beside: str) -> Path:
    path = find_file(root, name)
    if path is None:
        raise FileNotFoundError(f"{root / name}: no such file, which {beside} needs beside it")
    return path


def _indices(names: Iterable[str]) -> tuple[int, ...]:
    return tuple(i for i, name in enumerate(LFAV_CLASSES) if name in names)


def _read_weak(path: Path, issues: LFAVIssues) -> Names:
    """The names in each video's row."""
    videos: Names = {}
    for where, row in tsv_rows(path, ("filename", "event_labels")):
        video = plain_name(where, row["filename"])
        if video in videos:
            raise ValueError(f"{where}: video {video!r} is listed twice in this file")
        cells = row["event_labels"].split(",")
        names = {cell.strip() for cell in cells} - {""}
        issues.spaced[path.name] += any(cell.strip() != cell for cell in cells)
        issues.silent[path.name] += SILENT in names
        videos[video] = frozenset(names - {SILENT})
        _count_unknown(path.name, videos[video], issues)
    return videos


def _count_unknown(file: str, names: Iterable[str], issues: LFAVIssues) -> None:
    if odd := [name for name in names if name not in LFAV_CLASSES]:
        issues.unknown.setdefault(file, Counter()).update(odd)


def _read_events(
    root: Path, split: str, weak: Mapping[str, Names], issues: LFAVIssues
) -> dict[str, dict[str, list[Interval]]]:
    """The events of every video of a split: video id -> modality -> events."""
    index = {name: i for i, name in enumerate(LFAV_CLASSES)}
    events: dict[str, dict[str, list[Interval]]] = {video: {m: [] for m in MODALITIES} for video in weak["audio"]}
    for modality, name in EVENTS[split].items():
        named: dict[str, set[str]] = {video: set() for video in events}
        seen: set[tuple[str, ...]] = set()
        path = _required(root, name, WEAK[split])
        for where, row in tsv_rows(path, ("filename", "onset", "offset", "event_labels")):
            video, label = plain_name(where, row["filename"]), row["event_labels"].strip()
            times = row["onset"].strip(), row["offset"].strip()
            if not all(time.isdecimal() for time in times):
                raise ValueError(
                    f"{where}: bad interval {times[0]!r} to {times[1]!r}: expected whole seconds from the video's start"
                )
            onset, offset = map(int, times)
            issues.repeated[name] += (video, *times, label) in seen
            seen.add((video, *times, label))
            issues.far[name] += offset > FAR
            issues.reversed[name] += onset > offset
            issues.strangers[name] += video not in events
            if video in events:
                named[video].add(label)
            if label not in index:
                _count_unknown(name, [label], issues)
            elif video in events and onset <= offset:
                events[video][modality].append(Interval(onset, offset, index[label], where))
        issues.disagreeing[name] = sum(names != weak[modality][video] for video, names in named.items())
    return events
