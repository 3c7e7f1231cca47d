"""From probabilities to decisions to events."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from coleaf_framework import AnchorOutput
from coleaf_framework.metrics import DecisionConfig, Event, decide, list_events


def output(segment: float, video: float, modality: tuple[float, float]) -> AnchorOutput:
    return AnchorOutput(
        segment_probs=torch.full((1, 2, 2, 1), segment),
        video_probs=torch.full((1, 1), video),
        tokens=torch.zeros(1, 2, 2, 4),
        modality_probs=torch.tensor([[[modality[0]], [modality[1]]]]),
    )


def test_an_event_needs_its_segment_and_its_gate() -> None:
    config = DecisionConfig()
    assert decide(output(0.5, 0.5, (0, 0)), config).all()
    assert not decide(output(0.5, 0.4, (1, 1)), config).any()
    assert not decide(output(0.4, 0.5, (1, 1)), config).any()


def test_the_gate_may_be_each_modalitys_own() -> None:
    decided = decide(output(0.9, 0.0, (0.9, 0.1)), DecisionConfig(gate="modality"))
    assert decided[0, :, 0].all()
    assert not decided[0, :, 1].any()


def test_thresholds_per_class() -> None:
    out = AnchorOutput(torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 2), torch.zeros(1, 1, 2, 4))
    decided = decide(out, DecisionConfig(segment_threshold=(0.4, 0.6)))
    assert decided[0, 0, 0].tolist() == [True, False]
    with pytest.raises(ValueError, match=r"decision\.segment_threshold has 3 values for 2 classes"):
        decide(out, DecisionConfig(segment_threshold=(0.4, 0.6, 0.5)))


def test_a_threshold_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ValidationError):
        DecisionConfig(gate_threshold=1.5)


def test_nothing_is_predicted_in_padding() -> None:
    mask = torch.tensor([[True, False]])
    decided = decide(output(0.9, 0.9, (0.9, 0.9)), DecisionConfig(), mask)
    assert decided[0, 0].all()
    assert not decided[0, 1].any()


def test_events_are_maximal_runs_of_one_type() -> None:
    segments = torch.zeros(5, 2, 2, dtype=torch.bool)
    segments[0:3, 0, 1] = True  # heard for 3 s
    segments[2:5, 1, 1] = True  # seen from 2 s on
    probs = torch.where(segments, 0.8, 0.1)
    assert list_events(segments, ("Car", "Dog"), probs) == [
        Event("Dog", "audible-only", 0.0, 2.0, 0.8),
        Event("Dog", "audible-visible", 2.0, 3.0, 0.8),
        Event("Dog", "visible-only", 3.0, 5.0, 0.8),
    ]
