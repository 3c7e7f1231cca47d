"""Proposals of one video by plain loops, to hold the fast ones to."""

from __future__ import annotations

import math

import numpy as np

from coleaf_framework.metrics.proposals import ProposalConfig
from tests.helpers.slow_localization import Rows, tiou
from tests.helpers.slow_scores import runs


def slow_soft_nms(rows: Rows, sigma: float, least: float) -> Rows:
    """Rows (start, end, score) of one class -> the same with lower scores, best first, without those below `least`."""
    left, done = [row for row in rows if row[2] >= least], []
    while left:
        best = max(left, key=lambda row: row[2])
        left.remove(best)
        done.append(best)
        lowered = [(s, e, x * math.exp(-(tiou(best[:2], (s, e)) ** 2) / sigma)) for s, e, x in left]
        left = [row for row in lowered if row[2] >= least]
    return done


def slow_proposals(probs: np.ndarray, seconds: float, duration: float, config: ProposalConfig) -> Rows:
    """(T,C) on a grid of whole segments from 0 -> rows (class, start, end, score), best first."""
    found = set()
    for threshold in config.thresholds:
        for c in range(probs.shape[1]):
            for a, b in runs(probs[:, c] >= threshold):
                found.add((c, a, b))
    rows = []
    for c, a, b in sorted(found):
        end = duration if b == len(probs) else min(b * seconds, duration)
        rows.append((c, min(a * seconds, duration), end, float(np.mean(probs[a:b, c]))))
    rows = [row for row in rows if row[2] > row[1] and row[3] >= config.min_score]
    rows = sorted(rows, key=lambda row: -row[3])[: config.most_before]
    kept = []
    for c in range(probs.shape[1]):
        kept += [(c, *row) for row in slow_soft_nms([r[1:] for r in rows if r[0] == c], config.sigma, config.min_score)]
    return sorted(kept, key=lambda row: -row[3])[: config.most]
