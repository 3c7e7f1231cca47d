"""Type tables, rates, scores of classes and calibration, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework.metrics.analysis import (
    CLASS_COLUMNS,
    SEGMENT_TYPES,
    calibration,
    class_scores,
    type_rates,
    type_table,
)
from tests.helpers.slow_scores import counts, types


def drawn(seed: int, videos: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predictions and truth (N,5,2,3), False where the mask (N,5) is."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(5) < torch.randint(1, 6, (videos, 1), generator=generator)
    both = torch.rand(2, videos, 5, 2, 3, generator=generator) < 0.4
    return both[0] & mask[:, :, None, None], both[1] & mask[:, :, None, None], mask


def name_of(audio: bool, visual: bool) -> str:
    return {(1, 0): "audible-only", (0, 1): "visible-only", (1, 1): "audible-visible", (0, 0): "none"}[audio, visual]


@given(st.integers(0, 200))
def test_the_type_table_counts_every_real_segment_and_class(seed: int) -> None:
    predicted, true, mask = drawn(seed)
    expected = np.zeros((4, 4), dtype=int)
    for n, t, c in np.ndindex(3, 5, 3):
        if mask[n, t]:
            names = [name_of(bool(x[n, t, 0, c]), bool(x[n, t, 1, c])) for x in (true, predicted)]
            expected[SEGMENT_TYPES.index(names[0]), SEGMENT_TYPES.index(names[1])] += 1
    np.testing.assert_array_equal(type_table(predicted, true, mask).numpy(), expected)


def test_rates_are_shares_of_what_is_and_of_what_is_not() -> None:
    table = torch.tensor([[6, 0, 2, 2], [0, 0, 0, 0], [4, 0, 3, 3], [10, 0, 0, 70]])
    rates = type_rates(table)
    assert (rates["audible-only"].tp, rates["audible-only"].fn) == pytest.approx((60, 40))
    assert (rates["audible-only"].fp, rates["audible-only"].tn) == pytest.approx((100 * 14 / 90, 100 * 76 / 90))
    assert math.isnan(rates["visible-only"].tp)
    assert rates["visible-only"].fp == 0


@given(st.integers(0, 200), st.sampled_from(["segment", "event"]))
def test_scores_of_classes_add_up_counts_over_videos(seed: int, level: str) -> None:
    predicted, true, _ = drawn(seed)
    found = class_scores(predicted, true, level)
    for k, column in enumerate(CLASS_COLUMNS):
        for c in range(3):
            each = [
                counts(types(p)[column][:, c], types(t)[column][:, c], level)
                for p, t in zip(predicted.numpy(), true.numpy(), strict=True)
            ]
            tp, fp, fn = map(sum, zip(*each, strict=True))
            expected = 200 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan
            assert found[k, c].item() == pytest.approx(expected, nan_ok=True)


def test_what_is_said_with_a_probability_of_030_and_is_so_in_30_percent_is_calibrated() -> None:
    probs = torch.full((1, 10, 1), 0.3)
    truth = torch.tensor([True] * 3 + [False] * 7).view(1, 10, 1)
    found = calibration(probs, truth, torch.ones(1, 10, dtype=torch.bool))
    assert found.error == pytest.approx(0, abs=1e-5)
    assert found.count.tolist() == [0, 0, 0, 10, 0, 0, 0, 0, 0, 0]
    assert math.isnan(found.said[0].item())


def test_calibration_weighs_gaps_by_how_many_they_are_of_and_leaves_padding_out() -> None:
    probs = torch.tensor([[0.05, 0.05, 0.95, 1.0, 0.5]])[:, :, None]
    truth = torch.tensor([[False, True, True, True, False]])[:, :, None]
    mask = torch.tensor([[True, True, True, True, False]])
    found = calibration(probs, truth, mask)
    assert found.error == pytest.approx(100 * (2 * 0.45 + 2 * 0.025) / 4)
    assert found.count[[0, 9]].tolist() == [2, 2]
