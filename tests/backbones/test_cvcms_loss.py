"""CVCMS's cross-video loss: who is drawn for whom, and which labels match."""

from __future__ import annotations

import math

import torch
from coleaf_backbones.cvcms_loss import cross_video_loss, draw_partners


def test_partners_are_all_others_alike_and_follow_the_generator() -> None:
    """3,000 draws of 4 partners: each of the 12 pairs lies within five deviations of 1,000."""
    torch.manual_seed(1)
    counts = torch.zeros(4, 4)
    for _ in range(3000):
        counts[torch.arange(4), draw_partners(4, torch.device("cpu"))] += 1
    assert not counts.diagonal().any()
    others = counts[~torch.eye(4, dtype=torch.bool)]
    assert ((others - 1000).abs() < 5 * math.sqrt(3000 * 2 / 9)).all()
    assert draw_partners(2, torch.device("cpu")).tolist() == [1, 0]
    draws = []
    for _ in range(2):
        torch.manual_seed(7)
        draws.append(draw_partners(50, torch.device("cpu")))
    assert torch.equal(*draws)
    assert len(((draws[0] - torch.arange(50)) % 50).unique()) > 10  # each video draws for itself


def test_smoothed_labels_of_absent_classes_do_not_match() -> None:
    labels, similarities = (torch.rand(6, 2, 4) < 0.4).float(), torch.randn(6, 6)
    assert torch.equal(cross_video_loss(similarities, 0.9 * labels + 0.05), cross_video_loss(similarities, labels))
