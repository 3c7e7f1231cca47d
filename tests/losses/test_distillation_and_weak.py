"""Distillation (eq. 12-13) and weak losses against plain loops in float64, and who is taught."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from coleaf_framework import losses

probabilities = arrays(float, (2, 2, 2, 3), elements=st.floats(0.01, 0.99))


def bce(p: float, y: float) -> float:
    return -(y * math.log(p) + (1 - y) * math.log(1 - p))


@settings(max_examples=50, deadline=None)
@given(probabilities, st.floats(0, 1))
def test_self_modality_equals_eq_12(values: object, threshold: float) -> None:
    a, r = torch.as_tensor(values)
    slow = sum(
        bce(float(r[b, m, c]), float(a[b, m, c] > threshold)) for b in range(2) for m in range(2) for c in range(3)
    ) / (2 * 3)
    assert losses.self_modality_distillation(a, r, threshold=threshold).item() == pytest.approx(slow)
    assert losses.pseudo_label_cross_entropy(r, a, threshold=threshold).item() == pytest.approx(slow)


@settings(max_examples=50, deadline=None)
@given(probabilities, st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans())
def test_pseudo_labels_in_every_form(values: object, audio: float, visual: float, soft: bool, weak: bool) -> None:
    a, r = torch.as_tensor(values)
    labels = torch.tensor([[1.0, 0.0, 0.95], [0.0, 0.05, 1.0]], dtype=torch.float64)
    slow = 0.0
    for b, m, c in itertools.product(range(2), range(2), range(3)):
        target = float(r[b, m, c]) if soft else float(r[b, m, c] > (audio, visual)[m])
        slow += bce(float(a[b, m, c]), target if labels[b, c] > 0.5 or not weak else 0.0) / (2 * 3)
    fast = losses.pseudo_label_cross_entropy(
        a, r, threshold=(audio, visual), soft=soft, labels=labels if weak else None
    )
    assert fast.item() == pytest.approx(slow)


@settings(max_examples=50, deadline=None)
@given(probabilities)
def test_cooccurrence_equals_eq_13(values: object) -> None:
    r, a = torch.as_tensor(values)
    slow = 0.0
    for b in range(2):
        for m in range(2):
            slow += sum(
                float(r[b, m, i] * r[b, m, j] - a[b, m, i] * a[b, m, j]) ** 2 for i in range(3) for j in range(3)
            ) / (9 * 2)
    assert losses.cooccurrence_distillation(r, a).item() == pytest.approx(slow)


@pytest.mark.parametrize(
    "loss",
    [
        lambda taught, teacher: losses.self_modality_distillation(teacher, taught, threshold=0.5),
        lambda taught, teacher: losses.pseudo_label_cross_entropy(taught, teacher, threshold=0.5),
        lambda taught, teacher: losses.pseudo_label_cross_entropy(taught, teacher, soft=True),
        lambda taught, teacher: losses.cooccurrence_distillation(teacher, taught),
    ],
)
def test_only_the_taught_side_gets_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    taught, teacher = (torch.rand(3, 2, 4, requires_grad=True) for _ in range(2))
    loss(taught, teacher).backward()
    assert taught.grad is not None
    assert taught.grad.any()
    assert teacher.grad is None


def test_cross_entropy_survives_certainty_and_keeps_nan() -> None:
    p = torch.tensor([0.0, 1.0, 1.0 + 1e-6], requires_grad=True)
    loss = losses.binary_cross_entropy(p, torch.tensor([1.0, 0.0, 1.0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert p.grad is not None
    assert torch.isfinite(p.grad).all()
    assert losses.binary_cross_entropy(torch.tensor([math.nan]), torch.ones(1)).isnan()


def test_weak_labels_are_the_same_for_both_modalities() -> None:
    probs, labels = torch.rand(4, 2, 3), (torch.rand(4, 3) < 0.5).float()
    each = sum(losses.binary_cross_entropy(probs[:, m], labels) for m in range(2))
    torch.testing.assert_close(losses.modality_cross_entropy(probs, labels), each)


def test_pooling_ignores_padding_and_stays_a_probability() -> None:
    probs = torch.rand(3, 5, 2, 4)
    mask = torch.arange(5)[None] < torch.tensor([[5], [3], [1]])
    pooled = losses.pool_segments(probs, mask)
    torch.testing.assert_close(pooled[1], losses.pool_segments(probs[1:2, :3])[0])
    torch.testing.assert_close(pooled[2], probs[2, 0])
    assert ((pooled >= 0) & (pooled <= 1)).all()
    assert not losses.pool_segments(torch.zeros(1, 3, 2, 4)).any()
