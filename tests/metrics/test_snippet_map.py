"""Snippet mAP, against a slow implementation of interpolated average precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework.metrics.snippet_map import interpolated_ap, snippet_map


def slow_ap(scores: list[float], positive: list[bool]) -> float:
    """For each recall step, the best precision at that recall or a larger one."""
    points = []  # recall, precision at each threshold
    for threshold in sorted(set(scores), reverse=True):
        taken = [p for s, p in zip(scores, positive, strict=True) if s >= threshold]
        points.append((sum(taken) / sum(positive), sum(taken) / len(taken)))
    total, before = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        total += (recall - before) * max(precision for _, precision in points[i:])
        before = recall
    return total


def slow_map(probs: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> dict[str, float]:
    found = {}
    for name in ("A", "V", "AV"):
        each = []
        for c in range(probs.shape[3]):
            scores, positive = [], []
            for n in range(len(probs)):
                for t in range(probs.shape[1]):
                    if mask[n, t]:
                        a, v = probs[n, t, :, c].tolist()
                        heard, seen = truth[n, t, :, c].tolist()
                        scores.append({"A": a, "V": v, "AV": a * v}[name])
                        positive.append({"A": heard, "V": seen, "AV": heard and seen}[name])
            if any(positive):
                each.append(slow_ap(scores, positive))
        found[name] = 100 * sum(each) / len(each) if each else math.nan
    return {**found, "mean": sum(found.values()) / 3}


@given(st.integers(0, 10_000), st.booleans())
def test_it_is_that_of_the_definition(seed: int, ties: bool) -> None:
    rng = torch.Generator().manual_seed(seed)
    n, t, c = (int(torch.randint(1, 5, (1,), generator=rng)) for _ in range(3))
    probs, truth = torch.rand(n, t, 2, c, generator=rng), torch.rand(n, t, 2, c, generator=rng) < 0.5
    probs = (probs * 3).round() / 3 if ties else probs
    mask = torch.rand(n, t, generator=rng) < 0.8
    mask[0, 0] = True
    found, expected = snippet_map(probs, truth, mask), slow_map(probs, truth, mask)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, nan_ok=True)


def test_a_perfect_ranking_has_100_and_a_class_without_a_positive_is_left_out() -> None:
    truth = torch.rand(3, 8, 2, 2) < 0.5
    truth[:, 0] = True
    truth[..., 1] = False
    scores = snippet_map(truth.float(), truth, torch.ones(3, 8, dtype=torch.bool))
    assert scores == {"A": 100, "V": 100, "AV": 100, "mean": 100}


def test_without_any_positive_there_is_no_score() -> None:
    assert math.isnan(interpolated_ap(torch.rand(3), torch.zeros(3, dtype=torch.bool)))
    empty = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    assert all(math.isnan(x) for x in snippet_map(empty.float(), empty, torch.ones(1, 3, dtype=torch.bool)).values())


def test_the_order_of_equal_scores_does_not_matter() -> None:
    positive = torch.tensor([True, False, False, True])
    scores = torch.full((4,), 0.5)
    assert interpolated_ap(scores, positive) == interpolated_ap(scores, positive.flip(0)) == 0.5
