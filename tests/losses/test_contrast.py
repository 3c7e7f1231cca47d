"""Event-aware contrast against eq. 8-11, computed by plain loops in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coleaf_framework.losses import event_aware_contrast, event_weights, soft_event_weights


def slow_contrast(
    anchor: Tensor, reference: Tensor, weights: Tensor, tau: float, normalize: bool, positive: bool, mask: Tensor
) -> float:
    total = 0.0
    for b in range(len(anchor)):
        real = [t for t in range(anchor.shape[1]) if mask[b, t]]
        for m in range(2):
            for t in real:

                def dot(n: int, t: int = t, b: int = b, m: int = m) -> float:
                    f, x = anchor[b, t, m], reference[b, n, m]
                    if normalize:
                        f, x = f / f.norm(), x / x.norm()
                    return math.exp(float(f @ x) / tau)

                below = sum(dot(n) for n in real if positive or n != t)
                if len(real) > 1:
                    total += -float(weights[b, m]) * math.log(dot(t) / below) / len(real)
    return total / len(anchor)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.booleans(), st.booleans(), st.floats(0.1, 2), st.integers(0, 2**31))
def test_equals_the_equation(b: int, t: int, normalize: bool, positive: bool, tau: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchor, reference = (torch.randn(b, t, 2, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    weights = torch.rand(b, 2, dtype=torch.float64, generator=generator)
    lengths = torch.randint(1, t + 1, (b, 1), generator=generator)
    mask = torch.arange(t)[None] < lengths
    fast = event_aware_contrast(
        anchor,
        reference,
        weights,
        temperature=tau,
        normalize=normalize,
        positive_in_denominator=positive,
        mask=mask,
    )
    assert fast.item() == pytest.approx(slow_contrast(anchor, reference, weights, tau, normalize, positive, mask))


@pytest.mark.parametrize("positive", [True, False])
def test_both_directions_are_the_mean_of_each(positive: bool) -> None:
    anchor, reference = (torch.randn(3, 4, 2, 5, dtype=torch.float64) for _ in range(2))
    weights, mask = torch.rand(3, 2, dtype=torch.float64), torch.arange(4)[None] < torch.tensor([[4], [2], [1]])
    options = (0.3, True, positive, mask)
    expected = (
        slow_contrast(anchor, reference, weights, *options) + slow_contrast(reference, anchor, weights, *options)
    ) / 2
    anchor.requires_grad_()
    loss = event_aware_contrast(
        anchor,
        reference.requires_grad_(),
        weights,
        temperature=0.3,
        positive_in_denominator=positive,
        both_directions=True,
        mask=mask,
    )
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert reference.grad is None
    assert anchor.grad is not None
    assert torch.isfinite(anchor.grad).all()


def test_masked_segments_count_as_absent() -> None:
    anchor, reference, weights = torch.randn(2, 5, 2, 4), torch.randn(2, 5, 2, 4), torch.rand(2, 2)
    mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    padded = event_aware_contrast(anchor, reference, weights, temperature=0.2, mask=mask)
    cut = event_aware_contrast(anchor[:, :3], reference[:, :3], weights, temperature=0.2)
    torch.testing.assert_close(padded, cut)


@pytest.mark.parametrize("lengths", [[1, 1], [1, 4]])
def test_one_real_segment_contributes_nothing_and_has_a_finite_gradient(lengths: list[int]) -> None:
    anchor = torch.randn(2, 4, 2, 3, requires_grad=True)
    mask = torch.arange(4)[None] < torch.tensor(lengths)[:, None]
    event_aware_contrast(anchor, torch.randn(2, 4, 2, 3), torch.ones(2, 2), temperature=0.2, mask=mask).backward()
    assert anchor.grad is not None
    assert torch.isfinite(anchor.grad).all()
    assert not anchor.grad[0].any()


def test_nan_in_padding_reaches_neither_loss_nor_gradient() -> None:
    anchor = torch.randn(1, 4, 2, 3)
    anchor[:, 3] = float("nan")
    anchor.requires_grad_()
    keys = anchor.detach().clone()
    mask = torch.tensor([[True, True, True, False]])
    event_aware_contrast(anchor, keys, torch.ones(1, 2), temperature=0.2, mask=mask).backward()
    assert anchor.grad is not None
    assert torch.isfinite(anchor.grad).all()


def test_t_equal_to_1_is_zero() -> None:
    assert event_aware_contrast(*torch.randn(2, 3, 1, 2, 4), torch.ones(3, 2), temperature=0.2) == 0


def test_weights_of_zero_switch_it_off() -> None:
    assert event_aware_contrast(*torch.randn(2, 3, 4, 2, 4), torch.zeros(3, 2), temperature=0.2) == 0


def test_teaches_the_anchor_only() -> None:
    anchor, reference = (torch.randn(2, 4, 2, 3, requires_grad=True) for _ in range(2))
    event_aware_contrast(anchor, reference, torch.ones(2, 2), temperature=0.2).backward()
    assert anchor.grad is not None
    assert anchor.grad.any()
    assert reference.grad is None


def test_half_precision_tokens_are_computed_in_float32() -> None:
    anchor, reference = torch.randn(2, 2, 4, 2, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = event_aware_contrast(anchor, reference, torch.ones(2, 2), temperature=0.2)
    exact = event_aware_contrast(anchor.float(), reference.float(), torch.ones(2, 2), temperature=0.2)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact)


@pytest.mark.parametrize(
    ("shape", "temperature", "message"), [((2, 4, 2, 5), 0.2, "one shape"), ((2, 4, 2, 3), 0.0, "temperature")]
)
def test_wrong_arguments_are_named(shape: tuple[int, ...], temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        event_aware_contrast(torch.randn(2, 4, 2, 3), torch.randn(shape), torch.ones(2, 2), temperature=temperature)


@pytest.mark.parametrize(
    ("audio", "visual", "expected"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0)),  # nothing predicted
        ((0.9, 0.9, 0.0), (0.9, 0.9, 0.0), (0.0, 0.0)),  # everything aligned
        ((0.9, 0.9, 0.0), (0.0, 0.0, 0.9), (1.0, 1.0)),  # nothing aligned
        ((0.9, 0.9, 0.9), (0.9, 0.0, 0.0), (2 / 3, 0.0)),
        ((0.5, 0.5, 0.5), (0.9, 0.9, 0.0), (0.0, 1.0)),  # the threshold itself is not above it
    ],
)
def test_event_weights(audio: tuple[float, ...], visual: tuple[float, ...], expected: tuple[float, float]) -> None:
    weights = event_weights(torch.tensor([[audio, visual]]), 0.5)
    torch.testing.assert_close(weights, torch.tensor([expected]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_soft_event_weights_are_ratios_of_expected_counts(seed: int) -> None:
    """Every way in which the classes can occur, each weighted by its probability."""
    probs = torch.rand(1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    alone, both = [0.0, 0.0], 0.0
    for events in itertools.product([0, 1], repeat=4):
        occurs = torch.tensor(events).view(2, 2)
        chance = float(torch.where(occurs == 1, probs[0], 1 - probs[0]).prod())
        both += chance * int((occurs[0] & occurs[1]).sum())
        for m in (0, 1):
            alone[m] += chance * int((occurs[m] & (1 - occurs[1 - m])).sum())
    expected = [alone[m] / (alone[m] + both) for m in (0, 1)]
    assert soft_event_weights(probs)[0].tolist() == pytest.approx(expected)


def test_soft_event_weights_of_certain_probabilities_are_those_of_the_paper() -> None:
    certain = (torch.rand(20, 2, 4) < 0.5).float()
    torch.testing.assert_close(soft_event_weights(certain), event_weights(certain, 0.5))
    assert not soft_event_weights(torch.zeros(1, 2, 4)).any()
