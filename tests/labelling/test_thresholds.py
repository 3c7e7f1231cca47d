"""Chosen thresholds against all thresholds that there are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from coleaf_framework.labelling.thresholds import (
    thresholds_by_false_positives,
    thresholds_by_share,
    thresholds_by_truth,
)


def f_of(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    tp = int((predicted & truth).sum())
    return 2 * tp / max(1, int(predicted.sum()) + int(truth.sum()))


@given(st.integers(1, 14), st.integers(1, 3), st.integers(2, 8), st.integers(0, 2**31))
def test_none_has_a_higher_f(segments: int, classes: int, levels: int, seed: int) -> None:
    """Few levels, so that many logits are equal."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randint(0, levels, (segments, classes), generator=draw).double()
    weak = (torch.rand(segments, classes, generator=draw) < 0.7).float()
    truth = (torch.rand(segments, classes, generator=draw) < 0.5) & (torch.rand(segments, 1, generator=draw) < 0.9)
    assume(bool((truth & (weak > 0)).any()))
    found, common = thresholds_by_truth(logits, weak, truth)
    for c in range(classes):
        if c in common:
            assert not (truth[:, c] & (weak[:, c] > 0)).any()
            continue
        candidates = [x + 0.5 for x in range(-1, levels)]
        best = max(f_of((logits[:, c] > x) & (weak[:, c] > 0), truth[:, c]) for x in candidates)
        assert f_of((logits[:, c] > found[c]) & (weak[:, c] > 0), truth[:, c]) == pytest.approx(best)


def test_a_class_without_truth_takes_the_threshold_of_all() -> None:
    logits, weak = torch.tensor([[1.0, 5.0], [3.0, 6.0]]), torch.ones(2, 2)
    truth = torch.tensor([[False, False], [True, False]])
    found, common = thresholds_by_truth(logits, weak, truth)
    assert common == [1]
    assert found.tolist() == [2.0, 2.0]


def test_truth_outside_every_weak_label_chooses_nothing() -> None:
    with pytest.raises(ValueError, match="no event within the weak labels"):
        thresholds_by_truth(torch.ones(2, 1), torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool))


@given(st.integers(1, 30), st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_the_share_of_segments_exceeds_it(segments: int, share: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randperm(segments, generator=draw)[:, None].double()
    weak = torch.ones(segments, 1)
    exceeding = min(round(share * segments), segments - 1)
    assert int((logits > thresholds_by_share(logits, weak, share)).sum()) == exceeding
    assert int((logits > thresholds_by_false_positives(logits, 1 - weak, share)).sum()) == exceeding


def test_a_class_without_segments_to_count_on_is_named() -> None:
    with pytest.raises(ValueError, match="class number 0, from 0: it is in no weak label"):
        thresholds_by_share(torch.ones(2, 1), torch.zeros(2, 1), 0.5)
    with pytest.raises(ValueError, match="it is in every weak label"):
        thresholds_by_false_positives(torch.ones(2, 1), torch.ones(2, 1), 0.5)
    with pytest.raises(ValueError, match="the positive share is 1, where"):
        thresholds_by_share(torch.ones(2, 1), torch.ones(2, 1), 1)
