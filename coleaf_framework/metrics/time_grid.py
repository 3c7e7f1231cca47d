"""Where the segments of a video lie in time, and which of them an event marks. Shape letters: see `protocol.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TimeGrid:
    """The centres of segments: the first at `first`, then one every `seconds`.

    Centres and edges are computed as fractions and rounded once: an event that begins at 37.92 s includes the token
    whose centre is 0.32 * 117 + 0.48, although that sum in floating point is a little less.

    Args:
        seconds: distance of two centres, above 0.
        first: centre of the first segment in seconds, at least 0; None for half a segment, as where the first segment
            begins with the video.

    Raises:
        ValueError: one of them is out of range.

    Example:
        >>> TimeGrid(1.0).centres(3), TimeGrid(0.32, first=0.48).centres(3)
        (array([0.5, 1.5, 2.5]), array([0.48, 0.8 , 1.12]))
    """

    seconds: float = 1.0
    first: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"TimeGrid: seconds must be above 0, got {self.seconds!r}")
        if self.first is not None and not (math.isfinite(self.first) and self.first >= 0):
            raise ValueError(f"TimeGrid: first must be at least 0, got {self.first!r}")

    def centres(self, segments: int) -> Floats:
        """The centres of the first segments in seconds: (T,)."""
        return self._times(segments, Fraction(0))

    def spans(self, begin: ArrayLike, end: ArrayLike, segments: int, duration: float) -> tuple[Floats, Floats]:
        """Onsets and offsets in seconds of runs of segments, of one video.

        A segment stands for the time that is nearer to its centre than to another. A run with the first segment begins
        at 0. One with the last segment ends with the video, where that is at most `first + seconds` later.

        Args:
            begin: (R,) first segment of each run.
            end: (R,) segment after the last one of each run, in [begin + 1, T].
            segments: number of segments of the video, T.
            duration: of the video, in seconds.

        Returns:
            Onsets and offsets, (R,) each, in [0, duration]. A run has no length where its segments' centres lie beyond
            the end of the video.

        Example:
            >>> TimeGrid(0.32, first=0.48).spans([0, 1], [1, 3], segments=4, duration=2.0)
            (array([0.  , 0.64]), array([0.64, 1.28]))
        """
        edges = self._times(segments + 1, Fraction(-1, 2))
        edges[0] = 0.0
        if duration - edges[-1] <= self.seconds + (self.seconds / 2 if self.first is None else self.first):
            edges[-1] = duration
        edges = edges.clip(0.0, duration)
        return edges[np.asarray(begin, dtype=np.int64)], edges[np.asarray(end, dtype=np.int64)]

    def _times(self, n: int, shift: Fraction) -> Floats:
        step = Fraction(str(float(self.seconds)))
        first = (step / 2 if self.first is None else Fraction(str(float(self.first)))) + shift * step
        denominator = math.lcm(step.denominator, first.denominator)
        times: Floats = (np.arange(n) * int(step * denominator) + int(first * denominator)) / denominator
        return times


def mark_segments(
    starts: ArrayLike, ends: ArrayLike, labels: ArrayLike, centres: Floats, num_classes: int
) -> tuple[NDArray[np.bool_], int]:
    """Ground truth of the segments of one video: an event marks the segments whose centre lies in [start, end).

    An event that meets no centre marks the segment with the nearest one, so that no event vanishes.

    Args:
        starts: (E,) onsets in seconds.
        ends: (E,) offsets in seconds.
        labels: (E,) class indices.
        centres: (T,) of the segments in seconds, T at least 1; see `TimeGrid.centres`.
        num_classes: number of classes, C.

    Returns:
        (T,C) bool, and the number of events that met no centre.

    Example:
        >>> truth, nearest = mark_segments([0.5, 2.6], [2.0, 2.9], [0, 0], TimeGrid(1.0).centres(4), num_classes=1)
        >>> truth[:, 0], nearest  # the second event meets no centre; 2.5 is the nearest
        (array([ True,  True,  True, False]), 1)
    """
    start, end = (np.asarray(x, dtype=np.float64)[:, None] for x in (starts, ends))
    met = (centres >= start) & (centres < end)  # (E,T)
    lost = ~met.any(1)
    nearest = np.abs(centres - (start + end) / 2).argmin(1)
    met[lost, nearest[lost]] = True
    truth = np.zeros((len(centres), num_classes), dtype=bool)
    event, segment = met.nonzero()
    truth[segment, np.asarray(labels, dtype=np.int64)[event]] = True
    return truth, int(lost.sum())


def to_whole_seconds(segment_probs: Tensor, grid: TimeGrid, duration: float) -> Tensor:
    """Segment probabilities of one video on a grid of whole seconds.

    A second has the mean of the segments whose centre lies in it, or the nearest segment's value where there is none.

    Args:
        segment_probs: (T,...) in [0,1].
        grid: where the segments lie.
        duration: of the video in seconds, above 0.

    Returns:
        (ceil(duration),...) in [0,1].

    Raises:
        ValueError: there is no segment, or no duration.

    Example:
        >>> probs = torch.tensor([0.2, 0.4, 0.9])  # centres 0.48, 0.8 and 1.12 s
        >>> to_whole_seconds(probs, TimeGrid(0.32, first=0.48), duration=2.5)
        tensor([0.3000, 0.9000, 0.9000])
    """
    if not len(segment_probs) or not (math.isfinite(duration) and duration > 0):
        raise ValueError(f"to_whole_seconds: {len(segment_probs)} segments in {duration!r} s, where some were expected")
    seconds = np.arange(math.ceil(duration))
    centres = grid.centres(len(segment_probs))
    inside = np.floor(centres) == seconds[:, None]  # (S,T)
    none = ~inside.any(1)
    inside[none, np.abs(centres - (seconds[none, None] + 0.5)).argmin(1)] = True
    weights = torch.from_numpy(inside / inside.sum(1, keepdims=True)).to(segment_probs)
    means: Tensor = torch.einsum("st,t...->s...", weights, segment_probs)
    return means
