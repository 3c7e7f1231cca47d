"""Wrong labels as MA and JoMoLD find them, against recorded answers of their published code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coleaf_framework.losses import denoise_labels, exchange_removals, noise_ratios, smooth_visual_labels


@pytest.fixture
def recorded(procedures: Any) -> Mapping[str, Tensor]:
    with np.load(procedures) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def pair(recorded: Mapping[str, Tensor], name: str) -> Tensor:
    """Audio and visual of a recorded quantity, with M before the last axis."""
    return torch.stack([recorded[name.format(modality)] for modality in ("audio", "visual")], -2)


def test_ma_removes_the_recorded_labels(recorded: Mapping[str, Tensor]) -> None:
    removed = exchange_removals(
        recorded["ma/labels"],
        pair(recorded, "ma/{}_accuracy"),
        pair(recorded, "ma/swapped_video/{}_probs"),
        pair(recorded, "ma/swapped_audio/{}_probs"),
    )
    assert torch.equal(removed, pair(recorded, "ma/remove_{}"))


def test_a_class_without_errors_is_never_removed() -> None:
    nothing = torch.zeros(3, 2, 2)
    removed = exchange_removals(torch.ones(3, 2), torch.tensor([[1.0, 0.9], [1.0, 1.0]]), nothing, nothing)
    assert removed[:, 0].tolist() == [[False, True]] * 3
    assert not removed[:, 1].any()


def test_the_comparison_is_strict() -> None:
    at = torch.full((1, 2, 1), 0.5)
    assert not exchange_removals(torch.ones(1, 1), torch.full((2, 1), 0.8), at, at).any()


def test_jomold_estimates_the_recorded_ratios(recorded: Mapping[str, Tensor]) -> None:
    probs = pair(recorded, "jomold/{}_probs").flatten(0, 1)
    found = noise_ratios(recorded["jomold/labels"].flatten(0, 1), probs)
    assert torch.equal(found, pair(recorded, "jomold/estimated_{}_ratio"))


def test_jomold_denoises_the_recorded_labels(recorded: Mapping[str, Tensor]) -> None:
    """Its visual losses are against the smoothed label, and a removed label is 0, not smoothed."""
    ratios = pair(recorded, "jomold/{}_ratio").float()
    probs = pair(recorded, "jomold/{}_probs")
    for batch, labels in enumerate(recorded["jomold/labels"]):
        targets = smooth_visual_labels(labels[:, None].repeat(1, 2, 1))
        assert torch.equal(targets, pair(recorded, "jomold/epoch1/{}_targets")[batch])
        kept = denoise_labels(labels, probs[batch], ratios, targets)
        denoised = torch.where((labels[:, None] > 0.5) & (kept == 0), 0.0, targets)
        assert torch.equal(denoised, pair(recorded, "jomold/epoch2/{}_targets")[batch])


def test_a_class_without_labels_has_no_noise() -> None:
    assert noise_ratios(torch.zeros(4, 2), torch.rand(4, 2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_means_are_over_batches() -> None:
    """Of three videos in batches of two, the last counts as much as the first two."""
    probs = torch.tensor([0.32, 0.32, 0.9])[:, None, None].expand(3, 2, 1)
    assert noise_ratios(torch.ones(3, 1), probs, batch=2)[0].item() == pytest.approx(2 / 3)  # 0.32 / 0.61 < 0.6
    assert noise_ratios(torch.ones(3, 1), probs, batch=3)[0].item() == 0  # 0.32 / 0.51 > 0.6
