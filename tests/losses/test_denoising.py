"""Label denoising against sorted lists, ties included."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coleaf_framework.losses import denoise_labels, refine_labels


def slow_denoise(labels: Tensor, probs: Tensor, ratios: Tensor) -> Tensor:
    refined = labels[:, None].repeat(1, 2, 1)
    for c in range(labels.shape[1]):
        videos = [i for i in range(len(labels)) if labels[i, c] == 1]
        # By loss, which falls with the probability; Python's sort keeps the batch's order among equals.
        by_loss = [sorted(videos, key=lambda i, m=m, c=c: -math.log(probs[i, m, c].clamp(1e-7).item())) for m in (0, 1)]
        for m in (0, 1):
            k = math.floor(float(ratios[m, c]) * len(videos) + 1e-4)
            for i in set(by_loss[1 - m][:k]) & set(by_loss[m][len(videos) - k :]):
                refined[i, m, c] = 0
    return refined


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(2, 6), st.integers(0, 2**31))
def test_equals_sorted_lists_ties_included(videos: int, classes: int, levels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(videos, classes, generator=generator) < 0.7).float()
    # Few levels of probability, so that many are equal; 0 and 1 among them.
    probs = torch.randint(0, levels, (videos, 2, classes), generator=generator) / (levels - 1)
    ratios = torch.randint(0, 11, (2, classes), generator=generator) / 10
    assert torch.equal(denoise_labels(labels, probs, ratios), slow_denoise(labels, probs, ratios))


@pytest.mark.parametrize("n", [10, 29, 100])
def test_a_product_meant_to_be_whole_is(n: int) -> None:
    """0.29 * 100 is 28.999999999999996."""
    probs = torch.stack([torch.linspace(0.9, 0.1, n), torch.linspace(0.1, 0.9, n)], 1)[..., None]
    removed = denoise_labels(torch.ones(n, 1), probs, torch.full((2, 1), 0.29))[:, 1] == 0
    assert removed.sum() == (29 * n) // 100


def test_nothing_and_only_labels_are_removed() -> None:
    labels, probs = (torch.rand(20, 3) < 0.5).float(), torch.rand(20, 2, 3)
    both = labels[:, None].repeat(1, 2, 1)
    assert torch.equal(denoise_labels(labels, probs, torch.zeros(2, 3)), both)
    assert (denoise_labels(labels, probs, torch.ones(2, 3)) <= both).all()


def test_a_part_of_a_batch_is_ranked_by_itself() -> None:
    """What several ranks do: each sees its part alone."""
    labels, probs, ratios = torch.ones(16, 1), torch.rand(16, 2, 1), torch.full((2, 1), 0.5)
    whole = denoise_labels(labels, probs, ratios)
    parts = [denoise_labels(labels[i::2], probs[i::2], ratios) for i in (0, 1)]
    assert torch.equal(parts[0], slow_denoise(labels[::2], probs[::2], ratios))
    assert not torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


def test_no_gradient() -> None:
    probs = torch.rand(4, 2, 3, requires_grad=True)
    assert not denoise_labels(torch.ones(4, 3), probs, torch.full((2, 3), 0.5)).requires_grad


def test_the_reference_takes_a_label_from_the_modality_in_which_it_does_not_find_the_class() -> None:
    audio, visual = [0.9, 0.9, 0.1, 0.1, 0.9], [0.9, 0.1, 0.9, 0.1, 0.1]
    refined = refine_labels(torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]]), torch.tensor([[audio, visual]]), 0.5)
    assert refined.tolist() == [[[1.0, 1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0, 0.0]]]


def test_smoothed_labels_are_denoised_as_hard_ones() -> None:
    labels = (torch.rand(12, 3) < 0.6).float()
    probs, ratios = torch.rand(12, 2, 3), torch.full((2, 3), 0.5)
    assert torch.equal(denoise_labels(0.9 * labels + 0.05, probs, ratios), denoise_labels(labels, probs, ratios))
