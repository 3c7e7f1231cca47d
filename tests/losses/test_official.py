"""The terms of the authors' code against plain loops in float64, and their gradients against differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coleaf_framework.losses import (
    asymmetric_focal_loss,
    confident_cooccurrence_distillation,
    event_weights,
    smoothed_contrast,
)

GRADIENT = {"atol": 1e-6, "rtol": 1e-5}


def slow_smoothed(queries: Tensor, keys: Tensor, weights: Tensor, tau: float, smoothing: float, mask: Tensor) -> float:
    total = 0.0
    for b in range(len(queries)):
        real = [t for t in range(queries.shape[1]) if mask[b, t]]
        for m in range(queries.shape[2]):
            for t in real if len(real) > 1 else []:
                unit = queries[b, t, m] / queries[b, t, m].norm()
                similar = [math.exp(float(unit @ (keys[b, n, m] / keys[b, n, m].norm())) / tau) for n in real]
                shares = [1 - smoothing if n == t else smoothing / (len(real) - 1) for n in real]
                likely = sum(q * s for q, s in zip(shares, similar, strict=True)) / sum(similar)
                total -= float(weights[b, m]) * math.log(likely) / len(real)
    return total / len(queries)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 2), st.floats(0.1, 2), st.floats(0, 0.5), st.integers(0, 2**31)
)
def test_smoothed_contrast(b: int, t: int, m: int, tau: float, smoothing: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries, keys = (torch.randn(b, t, m, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    weights = torch.rand(b, m, dtype=torch.float64, generator=generator)
    mask = torch.arange(t)[None] < torch.randint(1, t + 1, (b, 1), generator=generator)
    fast = smoothed_contrast(queries, keys, weights, temperature=tau, smoothing=smoothing, mask=mask)
    slow = slow_smoothed(queries, keys, weights, tau, smoothing, mask)
    assert fast.item() == pytest.approx(slow, abs=1e-12)


def test_gradients_of_the_smoothed_contrast_pass_no_padding() -> None:
    queries, keys = (torch.randn(3, 4, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weights, mask = torch.rand(3, 2, dtype=torch.float64), torch.arange(4)[None] < torch.tensor([[4], [2], [1]])

    def loss(queries: Tensor, keys: Tensor) -> Tensor:
        return smoothed_contrast(queries, keys, weights, temperature=0.2, mask=mask)

    assert torch.autograd.gradcheck(loss, (queries, keys), **GRADIENT)
    with torch.no_grad():
        keys[1, 2:] = torch.nan
    (gradient,) = torch.autograd.grad(loss(queries, keys), keys)
    assert torch.isfinite(gradient).all()
    assert not gradient[1, 2:].any()


def test_focal_loss() -> None:
    probs = torch.rand(5, 2, 3, dtype=torch.float64)
    probs[0, 0, 0], probs[1, 1, 1] = 0.0, 1.0
    targets = torch.rand(5, 2, 3, dtype=torch.float64).round(decimals=1)
    expected = [0.0, 0.0]
    for b in range(5):
        for m in range(2):
            for c in range(3):
                p, y = float(probs[b, m, c]), float(targets[b, m, c])
                q = min(1 - p + 0.05, 1.0)
                w = 1 - (p * y + q * (1 - y))
                expected[m] -= w * (y * math.log(max(p, 1e-8)) + (1 - y) * math.log(max(q, 1e-8)))
    assert asymmetric_focal_loss(probs, targets).tolist() == pytest.approx(expected)


def test_no_gradient_runs_through_the_focal_weight() -> None:
    probs = torch.tensor([[[0.3], [0.6]]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(asymmetric_focal_loss(probs, targets).sum(), probs)
    q = 1 - 0.6 + 0.05
    assert gradient.flatten().tolist() == pytest.approx([-(1 - 0.3) / 0.3, (1 - q) / q])


def test_confident_cooccurrence() -> None:
    reference = torch.tensor([[0.9, 0.5, 0.05], [0.7, 0.5, 0.3]]).double()[None]
    anchor = torch.tensor([[0.2, 0.4, 0.6], [0.1, 0.3, 0.5]]).double()[None]
    present = torch.tensor([[True, True, True], [True, True, False]])[None]
    # audio: the first and the last are confident; visual: the first; the last would be, but is not present
    teachers = torch.tensor([[0.9, 0.4, 0.05], [0.7, 0.3, 0.5]]).double()
    expected = sum(
        ((torch.outer(r, r) - torch.outer(a, a)) ** 2).sum() for r, a in zip(teachers, anchor[0], strict=True)
    )
    found = confident_cooccurrence_distillation(reference, anchor, present)
    assert found.item() == pytest.approx(float(expected) * 1 / 3 * 1e-4)


def test_confident_cooccurrence_teaches_the_anchor_alone() -> None:
    reference, anchor = (torch.rand(2, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    present = torch.ones(2, 2, 3, dtype=torch.bool)
    term = 1e4 * confident_cooccurrence_distillation(reference, anchor, present)
    assert torch.autograd.grad(term, reference, retain_graph=True, allow_unused=True) == (None,)
    (gradient,) = torch.autograd.grad(term, anchor)
    high, low = torch.tensor([0.8, 0.6])[:, None], torch.tensor([0.1, 0.4])[:, None]
    trusted = (reference >= high) | (reference <= low)
    teacher = torch.where(trusted, reference, anchor).detach()
    expected = torch.zeros_like(anchor)
    for b in range(2):
        for m in range(2):
            t, a = teacher[b, m], anchor[b, m]
            expected[b, m] = -4 * (torch.outer(t, t) - torch.outer(a, a)) @ a * 2 / 3
    torch.testing.assert_close(gradient, expected.detach())


def test_event_weights_may_include_the_threshold() -> None:
    probs = torch.tensor([[[0.5, 0.9], [0.1, 0.9]]])
    assert event_weights(probs, 0.5).tolist() == [[0.0, 0.0]]
    assert event_weights(probs, 0.5, inclusive=True).tolist() == [[0.5, 0.0]]
