"""Timed events with scores from segment probabilities: threshold sweep, maximal runs, soft-NMS.

Shape letters: see `protocol.py`; R proposals of one video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field, field_validator
from torch import Tensor

from coleaf_framework._config import StrictConfig
from coleaf_framework.metrics.localization import Floats, Ints, TimedEvents, join_events
from coleaf_framework.metrics.time_grid import TimeGrid

Runs = tuple[Ints, Ints, Ints, Floats]
"""Class, first segment, segment after the last one, and score of each proposal: (R,) each."""


class ProposalConfig(StrictConfig):
    """How segment probabilities become proposals; from `sigma` on, the published test settings of UnAV-100.

    Example:
        >>> ProposalConfig(thresholds=(0.3, 0.5)).sigma
        0.4
    """

    thresholds: tuple[float, ...] = Field(
        tuple(round(0.05 * i, 2) for i in range(1, 20)), description="of the sweep, in (0,1], each once"
    )
    sigma: float = Field(0.4, gt=0, description="of soft-NMS: an overlap multiplies a score by exp(-IoU² / sigma)")
    min_score: float = Field(0.001, ge=0, lt=1, description="proposals below it are dropped, before and in soft-NMS")
    most_before: int = Field(2000, ge=1, description="proposals of a video that soft-NMS gets, the best ones")
    most: int = Field(100, ge=1, description="proposals of a video that are kept, the best ones")

    @field_validator("thresholds")
    @classmethod
    def _require_thresholds(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values or not all(0 < x <= 1 for x in values) or len(set(values)) < len(values):
            raise ValueError(f"expected thresholds in (0,1], each once, got {values}")
        return values


DEFAULT = ProposalConfig()


def propose(
    video: str, segment_probs: Tensor, grid: TimeGrid, duration: float, config: ProposalConfig = DEFAULT
) -> TimedEvents:
    """Proposals of one video, best first.

    A proposal is a maximal run of segments whose probability of a class reaches one of the thresholds; its score is the
    mean probability over the run. The same run at several thresholds is one proposal. Soft-NMS (Bodla et al., ICCV
    2017, Gaussian) then takes the best proposal of a class in turn and lowers the scores of those it overlaps.

    Args:
        video: its id.
        segment_probs: (T,C) in [0,1]. Where events are both audible and visible, pass the smaller of the two
            modalities' probabilities: it reaches a threshold where both do.
        grid: where the segments lie in time; see `TimeGrid.spans` for the seconds of a run.
        duration: of the video in seconds, to which proposals are clipped.
        config: thresholds and soft-NMS.

    Returns:
        At most `config.most` events with times in seconds and scores in [0,1], by descending score over all classes.

    Raises:
        ValueError: probabilities of another shape or outside [0,1], or a duration that is not above 0.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.2], [0.8], [0.9], [0.1]])  # T=4, C=1
        >>> found = propose("v", probs, TimeGrid(1.0), duration=4.0, config=ProposalConfig(thresholds=(0.5,)))
        >>> found.start, found.end, found.score.round(3)
        (array([1.]), array([3.]), array([0.85]))
    """
    if segment_probs.ndim != 2 or not segment_probs.numel():
        raise ValueError(
            f"video {video!r}: segment_probs has shape {tuple(segment_probs.shape)}, where (T,C) was expected"
        )
    if not (math.isfinite(duration) and duration > 0):
        raise ValueError(f"video {video!r}: duration is {duration!r}, where seconds above 0 were expected")
    probs = segment_probs.detach().cpu().double().numpy()
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError(f"video {video!r}: segment_probs has values outside [0,1], or NaN")
    label, begin, end, score = _runs(probs, config)
    onset, offset = grid.spans(begin, end, len(probs), duration)
    there = np.flatnonzero((offset > onset) & (score >= config.min_score))
    best = there[np.argsort(-score[there], kind="stable")[: config.most_before]]
    label, onset, offset = label[best], onset[best], offset[best]
    score = soft_nms(label, onset, offset, score[best], config.sigma, config.min_score)
    kept = np.argsort(-score, kind="stable")[: config.most]
    kept = kept[score[kept] >= config.min_score]
    return TimedEvents(np.full(len(kept), video), label[kept], onset[kept], offset[kept], score[kept])


def propose_videos(
    ids: Sequence[str],
    segment_probs: Tensor,
    mask: Tensor | None,
    durations: Sequence[float],
    grid: TimeGrid,
    config: ProposalConfig = DEFAULT,
) -> TimedEvents:
    """Proposals of many videos whose events are both audible and visible; see `propose`.

    The probability of a class in a segment is the smaller one of the two modalities'. Modality or video probabilities
    have no part in it: multiply by them before, if proposals are to be gated.

    Args:
        ids: N video ids, at least one.
        segment_probs: (N,T,M,C) in [0,1].
        mask: (N,T) bool, True = real segment; None where all are.
        durations: N durations in seconds.
        grid: where the segments lie in time.
        config: thresholds and soft-NMS.

    Returns:
        The proposals of all videos, video after video in the order of `ids`, each video's best first.

    Raises:
        ValueError: as `propose` does, or the numbers of videos differ.

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.9, 0.6]).expand(2, 3, 1, 2).mT  # two videos of 3 segments, heard more than seen
        >>> propose_videos(["a", "b"], probs, None, [3.0, 2.5], TimeGrid(1.0), ProposalConfig(thresholds=(0.5,))).end
        array([3. , 2.5])
    """
    shape = tuple(segment_probs.shape)
    if len(shape) != 4 or not len(ids) == shape[0] == len(durations) > 0:
        raise ValueError(
            f"segment_probs has shape {shape}, of {len(ids)} ids and {len(durations)} durations, where (N,T,M,C) and N "
            "of each were expected, N at least 1"
        )
    joint = segment_probs.amin(2)
    lengths = [joint.shape[1]] * len(joint) if mask is None else mask.sum(1).tolist()
    videos = zip(ids, joint, lengths, durations, strict=True)
    return join_events([propose(video, x[:length], grid, duration, config) for video, x, length, duration in videos])


def _runs(probs: Floats, config: ProposalConfig) -> Runs:
    """The maximal runs of probabilities (T,C) at every threshold, each once, in order of class and time."""
    classes = np.flatnonzero(probs.max(0) >= min(config.thresholds))
    active = probs.T[None, classes] >= np.asarray(config.thresholds)[:, None, None]  # (K,C,T)
    edges = np.diff(np.pad(active.astype(np.int8), ((0, 0), (0, 0), (1, 1))))
    (_, c, begin), (_, _, end) = (edges == 1).nonzero(), (edges == -1).nonzero()
    n = len(probs) + 1
    once, end = np.divmod(np.unique((c * n + begin) * n + end), n)
    c, begin = np.divmod(once, n)
    label = classes[c]
    sums = np.pad(probs.cumsum(0), ((1, 0), (0, 0)))
    return label, begin, end, (sums[end, label] - sums[begin, label]) / (end - begin)


def soft_nms(label: Ints, start: Floats, end: Floats, score: Floats, sigma: float, min_score: float) -> Floats:
    """The scores of one video's events after soft-NMS within each class.

    In each class, the event with the highest score is taken; the others' scores are multiplied by exp(-IoU² / sigma);
    and so on with the remaining ones, until none reaches `min_score`.

    Args:
        label: (R,) class indices.
        start: (R,) seconds.
        end: (R,) seconds, after the start.
        score: (R,) at least 0.
        sigma: above 0.
        min_score: scores below it become 0.

    Returns:
        (R,) scores, not above `score`.

    Example:
        >>> label, start, end = np.array([0, 0, 1]), np.array([0.0, 0.0, 0.0]), np.array([4.0, 2.0, 2.0])
        >>> soft_nms(label, start, end, np.array([0.9, 0.8, 0.7]), sigma=0.4, min_score=0.001).round(3)
        array([0.9  , 0.428, 0.7  ])
    """
    classes, row = np.unique(label, return_inverse=True)
    order = np.argsort(row, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(row)) - np.searchsorted(row[order], row[order])
    shape = len(classes), int(place.max(initial=-1)) + 1
    s, e, left = np.zeros(shape), np.zeros(shape), np.zeros(shape)  # one row a class
    s[row, place], e[row, place], left[row, place] = start, end, score
    left[left < min_score] = 0
    final = np.zeros(shape)
    rows = np.arange(shape[0])
    while left.any():
        best = left.argmax(1)
        final[rows, best] = np.maximum(final[rows, best], left[rows, best])  # 0 in a class that is done
        bs, be = s[rows, best, None], e[rows, best, None]
        both = (np.minimum(be, e) - np.maximum(bs, s)).clip(min=0)
        union = (be - bs) + (e - s) - both
        left *= np.exp(-np.square(both / np.where(union > 0, union, 1)) / sigma)
        left[rows, best] = 0
        left[left < min_score] = 0
    kept: Floats = final[row, place]
    return kept
