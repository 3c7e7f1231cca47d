"""BCE against pseudo-labels: VALOR's recorded numbers, a plain loop in float64, and what masks leave out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from coleaf_framework import losses
from tests import conftest

SHAPE = (2, 3, 2, 2)  # B, T, M, C
probabilities = arrays(float, SHAPE, elements=st.floats(0.01, 0.99))
soft = arrays(float, SHAPE, elements=st.floats(0, 1))
masks = arrays(bool, SHAPE)


def bce(p: float, y: float, weight: float = 1.0) -> float:
    return -(weight * y * math.log(p) + (1 - y) * math.log(1 - p))


def test_the_sum_is_valors_recorded_loss() -> None:
    path = conftest.SHARED / "parity" / "zoo" / "VALOR.npz"
    if not path.exists():
        pytest.skip("needs VALOR's recorded answers, which are not part of the package")
    recorded = np.load(path)

    def drawn(stream: int, shape: tuple[int, ...]) -> Tensor:
        labels = np.random.default_rng([0, stream]).random((math.prod(shape) // 25, 25)) < 0.15
        return torch.from_numpy(labels.reshape(shape)).float()

    labels = torch.stack([drawn(15, (4, 10, 25)), drawn(16, (4, 10, 25))], dim=2)
    probs = torch.from_numpy(recorded["segment_probs"])
    for m, name in enumerate(("audio", "visual")):
        only = torch.zeros(probs.shape, dtype=torch.bool)
        only[:, :, m] = True
        found = losses.segment_label_cross_entropy(probs, labels, None, only)
        assert found.item() == pytest.approx(float(recorded[f"loss/{name}_segments"]), abs=1e-6)
    video = losses.binary_cross_entropy(torch.from_numpy(recorded["video_probs"]), drawn(13, (4, 25)))
    whole = video + losses.segment_label_cross_entropy(probs, labels)
    expected = sum(float(recorded[f"loss/{name}"]) for name in ("video", "audio_segments", "visual_segments"))
    assert whole.item() == pytest.approx(expected, abs=2e-6)


@given(probabilities, soft, masks, st.booleans(), st.floats(0, 0.5), st.sampled_from([(3, 3), (3, 1), (2, 3)]))
def test_segments_equal_a_plain_loop(
    p: object, y: object, said: object, hard: bool, smoothing: float, lengths: tuple[int, int]
) -> None:
    probs, labels, label_mask = torch.as_tensor(p), torch.as_tensor(y), torch.as_tensor(said)
    mask = torch.arange(3)[None] < torch.tensor(lengths)[:, None]
    weight = torch.tensor([[1.0, 3.0], [2.0, 1.0]], dtype=torch.float64)
    slow = 0.0
    for b, m in itertools.product(range(2), range(2)):
        each = []
        for t, c in itertools.product(range(lengths[b]), range(2)):
            if label_mask[b, t, m, c]:
                target = float(labels[b, t, m, c])
                target = float(target > 0.5) if hard else target
                target = (1 - smoothing) * target + smoothing / 2
                each.append(bce(float(probs[b, t, m, c]), target, float(weight[m, c])))
        slow += (3, 1)[m] * sum(each) / max(1, len(each)) / 2
    form = {"hard": hard, "smoothing": smoothing}
    fast = losses.segment_label_cross_entropy(
        probs, labels, mask, label_mask, **form, positive_weight=weight, modality_weights=(3.0, 1.0)
    )
    assert fast.item() == pytest.approx(slow)


@given(probabilities, soft, masks, st.booleans())
def test_modalities_equal_a_plain_loop(p: object, y: object, said: object, hard: bool) -> None:
    probs, labels, label_mask = torch.as_tensor(p)[:, 0], torch.as_tensor(y), torch.as_tensor(said)
    slow = 0.0
    for b, m in itertools.product(range(2), range(2)):
        each = []
        for c in range(2):
            known = [float(labels[b, t, m, c]) for t in range(3) if label_mask[b, t, m, c]]
            if known:
                target = float(any(x > 0.5 for x in known)) if hard else max(known)
                each.append(bce(float(probs[b, m, c]), target))
        slow += sum(each) / max(1, len(each)) / 2
    fast = losses.modality_label_cross_entropy(probs, labels, None, label_mask, hard=hard)
    assert fast.item() == pytest.approx(slow)


@given(probabilities, soft, masks)
def test_the_loss_of_videos_is_the_mean_of_theirs(p: object, y: object, said: object) -> None:
    """Why parts of a step add up to the step: nothing is divided by a number of labels of several videos."""
    given_ = [torch.as_tensor(x) for x in (p, y)]
    label_mask = torch.as_tensor(said)
    whole = losses.segment_label_cross_entropy(*given_, None, label_mask)
    each = [
        losses.segment_label_cross_entropy(*(x[b : b + 1] for x in given_), None, label_mask[b : b + 1]) for b in (0, 1)
    ]
    torch.testing.assert_close(torch.stack(each).mean(), whole)


def test_what_the_labels_say_nothing_of_gets_no_gradient() -> None:
    probs = torch.rand(SHAPE, requires_grad=True)
    label_mask = torch.rand(SHAPE) < 0.5
    mask = torch.tensor([[True, True, False], [True, True, True]])
    loss = losses.segment_label_cross_entropy(probs, torch.rand(SHAPE), mask, label_mask)
    (gradient,) = torch.autograd.grad(loss, [probs])
    assert torch.equal(gradient != 0, label_mask & mask[:, :, None, None])


def test_certain_and_wrong_probabilities_give_a_finite_loss() -> None:
    probs = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
    assert losses.segment_label_cross_entropy(probs, 1 - probs).item() == pytest.approx(-2 * math.log(1e-7), rel=1e-2)


def test_nan_stays_nan_so_that_the_trainer_can_name_the_term() -> None:
    probs = torch.full((1, 1, 2, 1), float("nan"))
    assert losses.segment_label_cross_entropy(probs, torch.ones(1, 1, 2, 1)).isnan()


def test_half_precision_is_computed_in_float32() -> None:
    probs, labels = torch.rand(SHAPE).bfloat16(), torch.rand(SHAPE)
    assert losses.segment_label_cross_entropy(probs, labels).dtype == torch.float32
