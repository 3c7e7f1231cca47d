"""Place the events of a file on the segments of a data set.

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
from coleaf_framework.results.given.events import KINDS, GivenEvent, GivenEvents
from coleaf_framework.results.given.names import class_names_of, videos_of
from coleaf_framework.results.given.truth import SplitTruth
from coleaf_framework.results.predictions import Predictions

_KINDS = ((0,), (1,), (0, 1))
_EXACT = 1e-5  # of a segment; times are written with 6 decimals


@dataclass(frozen=True)
class Placing:
    """Options for matching a file to a split.

    Args:
        class_map: class name of the file -> class name of the data, or None where its events are left out.
        missing_as_empty: count videos that the file does not name as without events.
        skip_unknown: leave out videos that the split does not have.
    """

    class_map: Mapping[str, str | None] = field(default_factory=dict)
    missing_as_empty: bool = False
    skip_unknown: bool = False


def predictions_of(given: GivenEvents, truth: SplitTruth, placing: Placing | None = None) -> Predictions:
    """A file's events as predictions of a split; oddities that are no errors become caveats.

    Args:
        given: what the file says.
        truth: the split.
        placing: how names and videos are matched.

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
    half = Counter(given.untold[name] for name in named.values() if name in given.untold)
    notes += [f"{n} videos are in one of its two files alone, and count as without {x} events" for x, n in half.items()]
    told = [*given.notes, *notes, *of_classes, *placer.notes(), *_of_other_data(given, truth, named)]
    if truth.truth_kind == "joint" and decided.any() and not decided.any((0, 1, 3)).all():
        told.append(
            f"all its events are {'audible' if decided[:, :, 0].any() else 'visible'} alone, while events of "
            f"{truth.data} are audible and visible: none counts as found"
        )
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
        only: dict[tuple[int, ...], list[GivenEvent]] = {kind: [] for kind in _KINDS}
        seen = set()
        for event in events:
            key = (event.label, event.modalities, event.onset, event.offset)
            if key in seen:
                self._count("stand in it twice and count once", event.where)
            elif event.label in self.classes:
                by_kind[event.modalities].append(self._within(row, event))
                if event.only:
                    only[event.modalities].append(event)
            seen.add(key)
        segments = int(self.truth.mask[row].sum())
        audio, visual, both = (self._marked(by_kind[kind], segments) for kind in _KINDS)
        decided = torch.zeros_like(self.truth.truth[row])
        decided[:segments, 0], decided[:segments, 1] = audio | both, visual | both
        for modality, kind in enumerate(KINDS):
            alone, other = only[(modality,)], decided[:segments, 1 - modality]
            clash = [event for event in alone if (self._segments([event], segments)[0] & other).any()]
            if clash:
                what = f"are said to be {kind} only where their class is {KINDS[1 - modality]} too, and count as both"
                self._count(what, clash[0].where, len(clash))
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
        if not all(self._on_border(time, lasts) for time in (event.onset, min(event.offset, lasts))):
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

    def _segments(self, events: Sequence[GivenEvent], segments: int) -> tuple[Tensor, int]:
        """The segments that events mark, (T,C) bool, and the number of events that cover no segment's centre."""
        columns = [(event.onset, event.offset, self.classes[event.label]) for event in events]
        starts, ends, labels = zip(*columns, strict=True) if columns else ((), (), ())
        found, lost = mark_segments(starts, ends, labels, self.grid.centres(segments), len(self.truth.classes))
        return torch.from_numpy(found), lost

    def _marked(self, events: Sequence[GivenEvent], segments: int) -> Tensor:
        """The segments that events of one kind mark: (T,C) bool."""
        marked, lost = self._segments(events, segments)
        if lost:
            where = next(event.where for event in events if self._segments([event], segments)[1])
            self._count("cover no segment's centre, and mark the nearest segment", where, lost)
        runs = int(run_starts(marked.T).sum())
        if runs < len(events):
            what = "touch or overlap another of their class and modality, and count as one event with it"
            self._count(what, self._first_touching(events, segments), len(events) - runs)
        return marked

    def _first_touching(self, events: Sequence[GivenEvent], segments: int) -> str:
        """The place of the first event that begins where another of its class still lasts or has just ended."""
        ends: dict[int, int] = {}
        spans = ((self._segments([event], segments)[0].any(1).nonzero(), event) for event in events)
        for first, last, event in sorted(((int(x[0]), int(x[-1]), y) for x, y in spans), key=lambda span: span[:2]):
            label = self.classes[event.label]
            if first <= ends.get(label, -1):
                return event.where
            ends[label] = max(last + 1, ends.get(label, 0))
        raise AssertionError("no two events touch")

    def _count(self, what: str, where: str, n: int = 1) -> None:
        self.counts[what] += n
        self.first.setdefault(what, where)

    def notes(self) -> list[str]:
        """A sentence for each kind of change, with the first place."""
        total = sum(map(len, self.given.videos.values()))
        return [f"{n} of {total} events {what} (first: {self.first[what]})" for what, n in self.counts.items()]
