"""Segment accuracy, against a slow implementation of its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework.metrics.segment_accuracy import segment_accuracy, segment_classes


def slow(probs: torch.Tensor, decided: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    right = total = 0
    for n in range(len(probs)):
        for t in range(probs.shape[1]):
            if not mask[n, t]:
                continue
            predicted, best = "background", -1.0
            for c in range(probs.shape[3]):
                product = float(probs[n, t, 0, c]) * float(probs[n, t, 1, c])
                if decided[n, t, 0, c] and decided[n, t, 1, c] and product > best:
                    predicted, best = str(c), product
            true = [str(c) for c in range(probs.shape[3]) if truth[n, t, 0, c]] or ["background"]
            right, total = right + (predicted == true[0]), total + 1
    return 100 * right / total


@given(st.integers(0, 10_000))
def test_it_is_that_of_the_definition(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    n, t, c = (int(torch.randint(1, 5, (1,), generator=rng)) for _ in range(3))
    probs = (torch.rand(n, t, 2, c, generator=rng) * 4).round() / 4  # with ties
    decided = torch.rand(n, t, 2, c, generator=rng) < 0.7
    which = torch.randint(0, c + 1, (n, t), generator=rng)
    truth = torch.nn.functional.one_hot(which, c + 1)[..., :c].bool()[:, :, None].repeat(1, 1, 2, 1)
    mask = torch.rand(n, t, generator=rng) < 0.8
    mask[0, 0] = True
    assert segment_accuracy(probs, decided, truth, mask) == pytest.approx(slow(probs, decided, truth, mask))


def test_a_class_that_is_not_decided_is_not_predicted_however_probable() -> None:
    probs = torch.tensor([[0.99, 0.6], [0.45, 0.6]]).view(1, 1, 2, 2)  # products 0.45 and 0.36
    assert segment_classes(probs, probs >= 0.5).item() == 1
    assert segment_classes(probs, probs >= 0.7).item() == 2  # background


def test_truth_of_two_classes_in_a_segment_is_refused() -> None:
    truth = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="at most one class a segment"):
        segment_accuracy(truth.float(), truth, truth, torch.ones(1, 1, dtype=torch.bool))
    audible = truth.clone()
    audible[:, :, :, 1], audible[:, :, 1] = False, False
    with pytest.raises(ValueError, match="the same in audio and visual"):
        segment_accuracy(truth.float(), truth, audible, torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="no segments"):
        segment_accuracy(truth.float(), truth, ~truth, torch.zeros(1, 1, dtype=torch.bool))
