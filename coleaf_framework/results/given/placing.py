"""Events of a file on the segments of a data set: whose video, which class, which segments.

The rule of time: an event marks the segments whose centre lies in it, from onset to offset, and the nearest segment
where it meets no centre (`metrics.time_grid.mark_segments`). Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from coleaf_framework.metrics.events import run_starts
from coleaf_framework.metrics.time_grid import TimeGrid, mark_segments
from coleaf_framework.results.certain import certain_fields
from coleaf_framework.results.given.events import GivenEvent, GivenEvents
from coleaf_framework.results.given.names import class_names_of, videos_of
from coleaf_framework.results.given.truth import SplitTruth
from coleaf_framework.results.predictions import Predictions

_KINDS = ((0,), (1,), (0, 1))
_EXACT = 1e-5  # of a segment; times are written with 6 decimals


@dataclass(frozen=True)
class Placing:
    """What is allowed of a file.

    Args:
        class_map: class name of the file -> class name of the data, or None where its events are left out.
        missing_as_empty: count videos that the file does not name as without events.
        skip_unknown: leave out videos that the split does not have.
    """

    class_map: Mapping[str, str | None] = field(default_factory=dict)
    missing_as_empty: bool = False
    skip_unknown: bool = False


def predictions_of(given: GivenEvents, truth: SplitTruth, placing: Placing | None = None) -> Predictions:
    """A file's events as predictions of a split; everything odd that is no error is among the caveats.

    Args:
        given: what the file says.
        truth: the split.
        placing: what is allowed of it.

    Raises:
        ValueError: the file names a video or class that the data do not have, names a video under two names, or leaves
            a video out; an event lies beyond the end of its video; or the file says that it is of another split.
    """
    placing = placing or Placing()
    if given.split is not None and given.split != truth.split:
        raise ValueError(f"{given.source}: says that it is of split {given.split!r}: take --split {given.split}")
    named, notes = videos_of(given, truth, placing.missing_as_empty, placing.skip_unknown)
    given = replace(given, videos={name: given.videos[name] for name in named.values()})
    classes, of_classes = class_names_of(given, truth, placing.class_map)
    index = {name: i for i, name in enumerate(truth.classes)}
    placer = _Placer(truth, {name: index[known] for name, known in classes.items() if known is not None}, given)
    decided = torch.zeros_like(truth.truth)
    for row, name in named.items():
        decided[row] = placer.place(row, given.videos[name])
    told = [*given.notes, *notes, *of_classes, *placer.notes(), *_of_other_data(given, truth, named)]
    return Predictions(
        given.name, truth.data, truth.split, truth.ids, truth.classes,
        **certain_fields(decided), truth=truth.truth, labels=truth.labels, mask=truth.mask,
        segment_seconds=truth.segment_seconds, truth_kind=truth.truth_kind,
    ).with_caveats((*truth.caveats, *told))  # fmt: skip


def _of_other_data(given: GivenEvents, truth: SplitTruth, named: Mapping[int, str]) -> list[str]:
    """Caveats of a file that was made on data of another name, or that holds another ground truth."""
    told = []
    if given.data not in (None, truth.data):
        told.append(f"its file says that it is of {given.data!r}, and is scored on {truth.data!r}")
    if given.in_segments and truth.grid.first is not None:
        step = f"{truth.segment_seconds:g} s"
        told.append(
            f"the times of JSON files on {truth.data} are read as `coleaf predict` writes them: segment t from t to "
            f"t + 1 times {step}"
        )
    index = {name: i for i, name in enumerate(truth.classes)}
    checker, differ = _Placer(truth, index, given), []
    for row, name in named.items():
        events = given.truth.get(name)
        if events is None:
            continue
        known = all(event.label in index for event in events)
        if not known or not torch.equal(checker.place(row, events), truth.truth[row]):
            differ.append(truth.ids[row])
    if differ:
        told.append(
            f"the ground truth in its file is not that of {truth.where} for {len(differ)} videos, such as {differ[0]!r}"
        )
    return told


class _Placer:
    """Places the events of one file, and counts what it changes.

    Args:
        truth: the split.
        classes: class name of the file -> class index; events of others are left out.
        given: the file.
    """

    def __init__(self, truth: SplitTruth, classes: Mapping[str, int], given: GivenEvents) -> None:
        self.truth, self.classes, self.given = truth, classes, given
        self.grid = TimeGrid(truth.segment_seconds) if given.in_segments else truth.grid
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def place(self, row: int, events: Sequence[GivenEvent]) -> Tensor:
        """The events of a video: (T,M,C) bool, of T as long as the longest video."""
        by_kind: dict[tuple[int, ...], list[GivenEvent]] = {kind: [] for kind in _KINDS}
        seen, exclusive = set(), ""
        for event in events:
            key = (event.label, event.modalities, event.onset, event.offset)
            if key in seen:
                self._count("stand in it twice and count once", event.where)
            elif event.label in self.classes:
                by_kind[event.modalities].append(self._within(row, event))
                exclusive = exclusive or (event.where if event.only else "")
            seen.add(key)
        segments = int(self.truth.mask[row].sum())
        audio, visual, both = (self._marked(by_kind[kind], segments) for kind in _KINDS)
        decided = torch.zeros_like(self.truth.truth[row])
        decided[:segments, 0], decided[:segments, 1] = audio | both, visual | both
        if exclusive and (clashes := int((run_starts((audio & visual & ~both).T)).sum())):
            self._count("are said to be heard alone and seen alone at once, and count as both", exclusive, clashes)
        return decided

    def _within(self, row: int, event: GivenEvent) -> GivenEvent:
        """The event, cut at the end of its video where it ends less than a segment after that."""
        lasts, video = self.truth.seconds[row], self.truth.ids[row]
        segment = self.truth.segment_seconds
        if event.onset >= lasts or event.offset > lasts + segment * (1 + _EXACT):
            raise ValueError(
                f"{event.where}: {event.label!r} from {event.onset:g} to {event.offset:g} s lies beyond the end of "
                f"video {video!r}, which lasts {lasts:g} s"
            )
        if event.offset > lasts + _EXACT * segment:
            self._count("end less than a segment after their video, and are cut there", event.where)
        elif not all(self._on_border(time, lasts) for time in (event.onset, event.offset)):
            self._count(
                "do not lie on the borders of segments: they mark the segments whose centre they cover", event.where
            )
        return event

    def _on_border(self, time: float, lasts: float) -> bool:
        step = self.grid.seconds
        first = 0.0 if self.grid.first is None else self.grid.first - step / 2
        in_segments = (time - first) / step
        close = abs(in_segments - round(in_segments)) <= _EXACT
        return close or time == 0 or abs(time - lasts) <= _EXACT * step

    def _marked(self, events: Sequence[GivenEvent], segments: int) -> Tensor:
        """The segments that events of one kind mark: (T,C) bool."""
        columns = [(event.onset, event.offset, self.classes[event.label]) for event in events]
        starts, ends, labels = zip(*columns, strict=True) if columns else ((), (), ())
        found, lost = mark_segments(starts, ends, labels, self.grid.centres(segments), len(self.truth.classes))
        marked = torch.from_numpy(found)
        if lost:
            self._count("cover no segment's centre, and mark the nearest segment", events[0].where, lost)
        runs = int(run_starts(marked.T).sum())
        if runs < len(events):
            what = "touch or overlap another of their class and modality, and count as one event with it"
            self._count(what, events[0].where, len(events) - runs)
        return marked

    def _count(self, what: str, where: str, n: int = 1) -> None:
        self.counts[what] += n
        self.first.setdefault(what, where)

    def notes(self) -> list[str]:
        """A sentence for each kind of change, with the first place."""
        total = sum(map(len, self.given.videos.values()))
        return [f"{n} of {total} events {what} (first: {self.first[what]})" for what, n in self.counts.items()]
