"""What `writing.py` needs to know of LLP and LFAV: their videos, events and files. Shape letters: see `protocol.py`."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from coleaf_framework.data.annotation_files import DENSE_FILES, WEAK_FILES, find_file
from coleaf_framework.data.annotations import dense_labels, read_annotations
from coleaf_framework.data.folder import LLP_CLASSES
from coleaf_framework.data.layout import LLP_LAYOUT
from coleaf_framework.data.lfav import LFAV_LAYOUT
from coleaf_framework.data.lfav_files import FAR, LFAV_CLASSES, LFAV_FILES, WEAK, read_lfav
from coleaf_framework.data.statistics import SEGMENTS
from coleaf_framework.data.synthetic import Bools, Difficulty, Sensors, default_sensors, draw_events
from coleaf_framework.protocol import MODALITIES, StreamSpec

if TYPE_CHECKING:
    from numpy.random import Generator

Write = Callable[[str, str, "Generator"], None]
"""Writes the features of a video: (split, video, source of randomness)."""


class SyntheticSet(Protocol):
    """A data set's annotations, for which features are to be written.

    Args:
        root: Folder of the annotation files.
        limit: Maximum number of videos of each split; all if None.
    """

    markers: ClassVar[Sequence[str]]  # any of these files tells the data set

    def __init__(self, root: Path, limit: int | None) -> None: ...

    @property
    def chosen(self) -> Mapping[str, Sequence[str]]:
        """Split -> its videos, at most `limit`."""
        ...

    def writing(self, out: Path) -> AbstractContextManager[Write]:
        """Copy the annotations of the chosen videos into a folder, and write features there meanwhile."""
        ...


class LLPSet:
    """LLP: training videos have no annotated intervals, so theirs are drawn from LLP's statistics."""

    markers: ClassVar[Sequence[str]] = tuple(WEAK_FILES.values())

    def __init__(self, root: Path, limit: int | None) -> None:
        self.root = root
        self.annotations = read_annotations(root, LLP_CLASSES)
        self.chosen = {split: list(videos)[:limit] for split, videos in self.annotations.weak.items()}

    @contextmanager
    def writing(self, out: Path) -> Iterator[Write]:
        """See `SyntheticSet.writing`."""
        for files in LLP_LAYOUT.streams.values():
            (out / files.folder).mkdir(parents=True)
        kept = {self.annotations.filenames[video] for videos in self.chosen.values() for video in videos}
        for name in (*WEAK_FILES.values(), *DENSE_FILES.values()):
            if (source := find_file(self.root, name)) is not None:
                _copy_rows(source, out / name, kept)

        def write(split: str, video: str, rng: Generator) -> None:
            for stream, x in default_sensors().observe(rng, self._truth(split, video, rng)).items():
                np.save(LLP_LAYOUT.streams[stream].path(out, video), x)

        yield write

    def _truth(self, split: str, video: str, rng: Generator) -> Bools:
        drawn = draw_events(rng, self.annotations.weak[split][video])
        if video not in self.annotations.dense:
            return drawn
        for event in (event for events in self.annotations.dense[video].values() for event in events):
            if event.offset > SEGMENTS:
                raise ValueError(
                    f"{event.where}: bad interval {event.onset:g} to {event.offset:g}: "
                    f"synthetic videos last {SEGMENTS} s"
                )
        return dense_labels(self.annotations.dense[video], SEGMENTS, len(LLP_CLASSES))


class LFAVSet:
    """LFAV: a video lasts until its last event; training videos as long as some other, with events at random times."""

    markers: ClassVar[Sequence[str]] = tuple(WEAK.values())
    streams: ClassVar[Mapping[str, StreamSpec]] = {
        "audio": StreamSpec(128, "audio"),
        "visual": StreamSpec(512, "visual"),
        "visual_st": StreamSpec(512, "visual"),
    }
    usual_seconds: ClassVar[int] = 160  # the median of validation, where no split has events

    def __init__(self, root: Path, limit: int | None) -> None:
        self.root, self.annotations = root, read_lfav(root)
        self.chosen = {split: list(videos)[:limit] for split, videos in self.annotations.weak.items()}
        self.sensors = Sensors(Difficulty(), self.streams, len(LFAV_CLASSES))
        self.lengths = {}
        for videos in self.annotations.events.values():
            for video, events in videos.items():
                ends = [int(e.offset) for found in events.values() for e in found if e.offset <= FAR]
                if ends:
                    self.lengths[video] = max(ends) + 1

    @contextmanager
    def writing(self, out: Path) -> Iterator[Write]:
        """See `SyntheticSet.writing`."""
        kept = {video for videos in self.chosen.values() for video in videos}
        for name in LFAV_FILES:
            if (source := find_file(self.root, name)) is not None:
                _copy_rows(source, out / name, kept)
        for files in LFAV_LAYOUT.streams.values():
            (out / files.folder).mkdir(parents=True)
        known = sorted(self.lengths.values()) or [self.usual_seconds]

        def write(split: str, video: str, rng: Generator) -> None:
            length = self.lengths.get(video) or int(rng.choice(known))
            for stream, x in self.sensors.observe(rng, self._truth(split, video, length, rng)).items():
                np.save(LFAV_LAYOUT.streams[stream].path(out, video), x)

        yield write

    def _truth(self, split: str, video: str, length: int, rng: Generator) -> Bools:
        truth = np.zeros((length, len(MODALITIES), len(LFAV_CLASSES)), dtype=bool)
        for m, modality in enumerate(MODALITIES):
            if split in self.annotations.events:
                for event in self.annotations.events[split][video][modality]:
                    truth[int(event.onset) : int(event.offset) + 1, m, event.label] = True
            else:
                for label in self.annotations.modality[split][modality][video]:
                    start = rng.integers(length)
                    truth[start : start + 1 + rng.integers(length), m, label] = True
        return truth


def _copy_rows(source: Path, target: Path, filenames: set[str]) -> None:
    with source.open(encoding="utf-8", newline="") as read, target.open("w", encoding="utf-8", newline="") as write:
        rows = csv.reader(read, delimiter="\t", quoting=csv.QUOTE_NONE)
        writer = csv.writer(write, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        writer.writerow(next(rows))
        writer.writerows(row for row in rows if row and row[0] in filenames)
