"""Mean average precision (mAP) of timed events at thresholds on their temporal IoU (tIoU).

The evaluation of UnAV-100 (Geng et al., CVPR 2023), which is that of ActivityNet: see `localization_scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIOUS: Floats = np.linspace(0.1, 0.9, 9)
"""The published thresholds. The third is 0.30000000000000004, so an IoU of exactly 0.3 misses it."""
_SAME_EVENT = 1e-3  # seconds


class TimedEvents:
    """Events of any number of videos, true or predicted, one column for each of their properties.

    Args:
        video: (E,) ids of the videos, texts or whole numbers.
        label: (E,) class indices.
        start: (E,) seconds.
        end: (E,) seconds, after the start.
        score: (E,) of predictions, any real numbers; None for true events.

    Raises:
        ValueError: the columns differ in length, a value is not finite, or an event does not end after its start. The
            message names the video.

    Example:
        >>> TimedEvents(["a"], [0], start=[4.0], end=[3.5])
        Traceback (most recent call last):
        ...
        ValueError: event 0, of video 'a': it ends at 3.5 s, where a time after its start at 4.0 s was expected
    """

    def __init__(
        self, video: ArrayLike, label: ArrayLike, start: ArrayLike, end: ArrayLike, score: ArrayLike | None = None
    ) -> None:
        self.video: NDArray[Any] = _column("video", video, "Uiu")
        self.label: Ints = _column("label", label, "iu").astype(np.int64)
        self.start: Floats = _column("start", start, "iuf").astype(np.float64)
        self.end: Floats = _column("end", end, "iuf").astype(np.float64)
        self.score: Floats | None = None if score is None else _column("score", score, "iuf").astype(np.float64)
        columns = {name: x for name, x in vars(self).items() if x is not None}
        if len({len(x) for x in columns.values()}) > 1:
            lengths = ", ".join(f"{name} {len(x)}" for name, x in columns.items())
            raise ValueError(f"the columns of events differ in length: {lengths}")
        for name in ("start", "end", "score"):
            if name in columns:
                self._require(np.isfinite(columns[name]), f"its {name} is {{{name}}}")
        self._require(
            self.end > self.start, "it ends at {end} s, where a time after its start at {start} s was expected"
        )

    def _require(self, fine: NDArray[np.bool_], problem: str) -> None:
        wrong = np.flatnonzero(~fine)
        if len(wrong):
            i = int(wrong[0])
            values = {name: x[i] for name, x in vars(self).items() if x is not None}
            more = f", and {len(wrong) - 1} more events" if len(wrong) > 1 else ""
            raise ValueError(f"event {i}, of video {self.video[i].item()!r}: {problem.format(**values)}{more}")

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, which: NDArray[np.bool_] | Ints) -> TimedEvents:
        """The events of a mask or of indices, in the order of the indices."""
        score = None if self.score is None else self.score[which]
        return TimedEvents(self.video[which], self.label[which], self.start[which], self.end[which], score)


def join_events(parts: Sequence[TimedEvents]) -> TimedEvents:
    """Predicted events of several videos as one.

    Args:
        parts: each with scores; at least one.

    Returns:
        The events of all parts, one part after the other.
    """
    columns = zip(*((x.video, x.label, x.start, x.end, x.score) for x in parts), strict=True)
    return TimedEvents(*(np.concatenate(column) for column in columns))


def _column(name: str, values: ArrayLike, kinds: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in kinds):
        expected = {"Uiu": "texts or whole numbers", "iu": "whole numbers", "iuf": "real numbers"}[kinds]
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, where (events,) {expected} were expected")
    return array


@dataclass(frozen=True)
class LocalizationScores:
    """mAP of predictions, as fractions in [0,1].

    Args:
        tious: (K,) thresholds.
        classes: (G,) indices of the classes with true events, ascending.
        ap: (K,G) average precision of each class.
        ignored: number of predictions of classes without a true event, which no AP counts.
    """

    tious: Floats
    classes: Ints
    ap: Floats
    ignored: int

    @property
    def mean_ap(self) -> Floats:
        """(K,) mAP at each threshold, the mean over the classes."""
        means: Floats = self.ap.mean(1)
        return means

    @property
    def average(self) -> float:
        """Mean of `mean_ap` over the thresholds."""
        return float(self.mean_ap.mean())

    def as_dict(self) -> dict[str, float]:
        """In percent: "mAP@0.1" ... and "mAP", their mean."""
        each = {f"mAP@{tiou:.3g}": 100 * float(x) for tiou, x in zip(self.tious, self.mean_ap, strict=True)}
        return each | {"mAP": 100 * self.average}


def localization_scores(predictions: TimedEvents, truth: TimedEvents, tious: ArrayLike = TIOUS) -> LocalizationScores:
    """Score predicted events by mAP at thresholds on tIoU.

    A true event that repeats an earlier one of its video and class within 1 ms at both ends is dropped. A class's
    predictions over all videos are taken by descending score, equal scores in the order of the rows. A prediction takes
    the true event of its video and class with the highest tIoU among those not taken, if that reaches the threshold,
    and is a false positive otherwise; so is one in a video without such an event, or in a video that `truth` does not
    have. AP is the area under the precision that was made non-increasing in recall (VOC 2010 and later); a class
    without predictions has AP 0. mAP is the mean over the classes with a true event. Predictions of other classes have
    no influence and are counted (the published code scores some of them as another class, whose new number is their
    index).

    Args:
        predictions: predicted events with scores; there may be none.
        truth: true events of all videos that are scored, at least one.
        tious: thresholds in (0,1], at least one.

    Returns:
        AP of K thresholds and G classes, (K,G) in [0,1], from which it computes mAP; and the number of predictions that
        no AP counts.

    Raises:
        ValueError: predictions without scores, no true event, a threshold out of range, or ids of another kind in
            `predictions` than in `truth`.

    Example:
        >>> truth = TimedEvents(["a", "b"], [0, 0], start=[0.0, 2.0], end=[10.0, 4.0])
        >>> found = TimedEvents(["a", "a"], [0, 0], start=[0.0, 0.0], end=[5.0, 9.0], score=[0.9, 0.8])
        >>> localization_scores(found, truth, [0.5, 0.75]).ap  # at 0.75 the first prediction is a false positive
        array([[0.5 ],
               [0.25]])
    """
    thresholds = np.asarray(tious, dtype=np.float64)
    if thresholds.ndim != 1 or not thresholds.size or not ((thresholds > 0) & (thresholds <= 1)).all():
        raise ValueError(f"tious is {tious!r}, where thresholds in (0,1] were expected")
    if predictions.score is None:
        raise ValueError("the predictions have no scores, by which they are ranked")
    if not len(truth):
        raise ValueError("there is no true event to score against")
    kinds = ["texts" if x.video.dtype.kind == "U" else "numbers" for x in (predictions, truth)]
    if len(predictions) and kinds[0] != kinds[1]:
        raise ValueError(f"the predictions name videos by {kinds[0]}, the true events by {kinds[1]}")
    truth = without_repeats(truth)
    classes, true_class = np.unique(truth.label, return_inverse=True)
    known = np.isin(predictions.label, classes)
    column = np.searchsorted(classes, predictions.label[known])
    order = np.lexsort((-predictions.score[known], column))
    ranked, column = predictions[np.flatnonzero(known)[order]], column[order]
    true_group, group = _groups(truth, true_class, ranked, column)
    there = np.flatnonzero(group >= 0)  # only these can be true positives
    hits = np.zeros((len(thresholds), len(ranked)), dtype=bool)
    hits[:, there] = _match(ranked[there], group[there], truth, true_group, thresholds)
    totals = np.bincount(true_class)
    ap = np.stack([_average_precision(hit, column, totals) for hit in hits])
    return LocalizationScores(thresholds, classes, ap, ignored=int((~known).sum()))


def without_repeats(events: TimedEvents) -> TimedEvents:
    """The events without those that repeat an earlier one of their video and class within 1 ms at both ends."""
    kept: dict[tuple[object, object], list[tuple[float, float]]] = {}
    fresh = np.zeros(len(events), dtype=bool)
    columns = (x.tolist() for x in (events.video, events.label, events.start, events.end))
    for i, (video, label, start, end) in enumerate(zip(*columns, strict=True)):
        earlier = kept.setdefault((video, label), [])
        fresh[i] = not any(abs(start - s) <= _SAME_EVENT and abs(end - e) <= _SAME_EVENT for s, e in earlier)
        if fresh[i]:
            earlier.append((start, end))
    return events[fresh]


def _groups(truth: TimedEvents, true_class: Ints, predictions: TimedEvents, column: Ints) -> tuple[Ints, Ints]:
    """Number the pairs of a video and a class that have true events.

    Returns:
        The pair of each true event, and of each prediction; -1 where a prediction's pair has no true event.
    """
    videos, true_video = np.unique(truth.video, return_inverse=True)
    num_classes = int(true_class.max()) + 1
    pairs, true_group = np.unique(true_video * num_classes + true_class, return_inverse=True)
    video = np.searchsorted(videos, predictions.video).clip(max=len(videos) - 1)
    pair = video * num_classes + column
    group = np.searchsorted(pairs, pair).clip(max=len(pairs) - 1)
    return true_group, np.where((videos[video] == predictions.video) & (pairs[group] == pair), group, -1)


def _match(
    predictions: TimedEvents, group: Ints, truth: TimedEvents, true_group: Ints, thresholds: Floats
) -> NDArray[np.bool_]:
    """Whether each prediction is a true positive. First the best prediction of every group has its turn, then the next.

    Args:
        predictions: P of them, the better ones of a group before its others.
        group: (P,) of each prediction.
        truth: true events.
        true_group: of each true event.
        thresholds: (K,).

    Returns:
        (K,P).
    """
    starts, ends, there = _by_group(truth, true_group)  # (groups, most true events of a group)
    free = np.repeat(there[None], len(thresholds), axis=0)
    hits = np.zeros((len(thresholds), len(group)), dtype=bool)
    turn = _place(group)
    for now in np.split(np.argsort(turn, kind="stable"), np.cumsum(np.bincount(turn))):
        own = group[now]
        start, end = predictions.start[now, None], predictions.end[now, None]
        both = (np.minimum(end, ends[own]) - np.maximum(start, starts[own])).clip(min=0)
        iou = both / ((end - start) + (ends[own] - starts[own]) - both)
        iou = np.where(free[:, own], iou, -1.0)  # (K, predictions of this turn, true events)
        best = iou.shape[2] - 1 - iou[..., ::-1].argmax(2)  # the last of equals, as published for few true events
        hits[:, now] = np.take_along_axis(iou, best[..., None], 2)[..., 0] >= thresholds[:, None]
        k, i = hits[:, now].nonzero()
        free[k, own[i], best[k, i]] = False
    return hits


def _place(group: Ints) -> Ints:
    """Place of each element among those of its group, from 0, in their order."""
    order = np.argsort(group, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return place


def _by_group(events: TimedEvents, group: Ints) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Starts and ends of each group's events, and where there are any: (groups, most events of a group) each."""
    place = _place(group)
    shape = int(group.max()) + 1, int(place.max()) + 1
    starts, ends, there = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    starts[group, place], ends[group, place], there[group, place] = events.start, events.end, True
    return starts, ends, there


def _average_precision(hit: NDArray[np.bool_], column: Ints, totals: Ints) -> Floats:
    """AP of each class, from its true positives alone, since precision peaks at these.

    Args:
        hit: (P,) whether a prediction is a true positive; ordered by class, then by descending score.
        column: (P,) its class, in [0,G).
        totals: (G,) number of true events of each class.
    """
    ap = np.zeros(len(totals))
    for c, hits in enumerate(np.split(hit, np.searchsorted(column, np.arange(1, len(totals))))):
        rank = np.flatnonzero(hits) + 1
        precision = np.arange(1, len(rank) + 1) / rank
        ap[c] = np.maximum.accumulate(precision[::-1]).sum() / totals[c]
    return ap
