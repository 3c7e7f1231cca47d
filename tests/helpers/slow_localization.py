"""mAP by plain loops, as UnAV-100's evaluation is described, with its two faults: slow, and nothing is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Rows = list[tuple[Any, ...]]


def tiou(a: tuple[float, float], b: tuple[float, float]) -> float:
    both = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - both
    return both / union if union else math.nan  # 0 / 0 in the published code


def slow_ap(predictions: Rows, truth: Rows, threshold: float) -> float:
    """AP of one class from rows (video, start, end, score) and (video, start, end)."""
    taken, hits = set(), []
    for video, start, end, _ in sorted(predictions, key=lambda row: -row[3]):
        own = [(tiou((start, end), row[1:]), i) for i, row in enumerate(truth) if row[0] == video]
        own.sort(key=lambda pair: (-pair[0], -pair[1]) if not math.isnan(pair[0]) else (-math.inf, -pair[1]))
        hit = False
        for value, i in own:
            if value < threshold:  # false for NaN, so that NaN is a hit
                break
            if i not in taken:
                taken.add(i)
                hit = True
                break
        hits.append(hit)
    ap, best = 0.0, 0.0
    for k in reversed(range(len(hits))):
        best = max(best, sum(hits[: k + 1]) / (k + 1))
        ap += best / len(truth) if hits[k] else 0.0
    return ap


def slow_localization(
    predictions: Rows, truth: Rows, thresholds: Any, *, collide: bool = False
) -> tuple[np.ndarray, list[int]]:
    """Rows (video, class, start, end, score) and (video, class, start, end) -> AP (K,G) and the G classes.

    `collide` keeps the ids of classes without a true event while the others are numbered anew, as published.
    """
    kept: Rows = []
    for row in truth:
        if not any(row[:2] == x[:2] and abs(row[2] - x[2]) <= 1e-3 and abs(row[3] - x[3]) <= 1e-3 for x in kept):
            kept.append(row)
    classes = sorted({row[1] for row in kept})
    number = {c: i for i, c in enumerate(classes)}
    predicted: dict[int, Rows] = {}
    for video, c, *rest in predictions:
        if collide or c in number:
            predicted.setdefault(number.get(c, c), []).append((video, *rest))
    true: dict[int, Rows] = {}
    for video, c, *rest in kept:
        true.setdefault(number[c], []).append((video, *rest))
    by_class = range(len(classes))
    return np.array([[slow_ap(predicted.get(c, []), true[c], t) for c in by_class] for t in thresholds]), classes
