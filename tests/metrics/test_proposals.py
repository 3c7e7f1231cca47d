"""Proposals: a slow implementation, the mapping of runs to seconds, soft-NMS and its bounds, bad input."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coleaf_framework.metrics.proposals import ProposalConfig, propose, propose_videos, soft_nms
from coleaf_framework.metrics.time_grid import TimeGrid
from tests.helpers.slow_proposals import slow_proposals

TOKENS = TimeGrid(0.32, first=0.48)
HALF = ProposalConfig(thresholds=(0.5,))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 4), st.integers(3, 30), st.integers(2, 20))
def test_equals_the_slow_implementation(seed: int, segments: int, classes: int, before: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.random((segments, classes))
    config = ProposalConfig(thresholds=(0.2, 0.5, 0.8), min_score=0.05, most_before=before, most=most)
    duration = 0.5 * segments - 0.2 * rng.random()
    found = propose("v", torch.from_numpy(probs), TimeGrid(0.5), duration, config)
    slow = slow_proposals(probs, 0.5, duration, config)
    assert len(found) == len(slow)
    rows = np.stack([found.label, found.start, found.end, found.score], 1).reshape(-1, 4)
    np.testing.assert_allclose(rows, np.array(slow).reshape(-1, 4), atol=1e-9)


def test_a_token_stands_for_the_time_around_its_centre() -> None:
    probs = torch.zeros(10, 1)
    probs[3:5] = 0.75  # centres 1.44 and 1.76
    found = propose("v", probs, TOKENS, duration=4.0, config=HALF)
    assert (found.start.item(), found.end.item(), found.score.item()) == (1.28, 1.92, 0.75)


def test_runs_at_the_edges_begin_at_0_and_end_with_the_video() -> None:
    found = propose("v", torch.ones(10, 1), TOKENS, duration=4.1, config=HALF)  # the last window ends at 3.84
    assert (found.start.item(), found.end.item()) == (0.0, 4.1)


def test_a_run_does_not_reach_an_end_of_the_video_that_no_segment_is_near() -> None:
    assert propose("v", torch.ones(10, 1), TOKENS, duration=60.0, config=HALF).end.item() == 3.52


def test_runs_that_begin_after_the_end_are_left_out_and_others_are_clipped() -> None:
    probs = torch.tensor([[1, 1, 1, 0, 1.0]]).T
    found = propose("v", probs, TimeGrid(1.0), duration=2.5, config=HALF)
    assert (found.start.tolist(), found.end.tolist()) == ([0.0], [2.5])


def test_a_run_at_several_thresholds_is_one_proposal() -> None:
    probs = torch.tensor([[0.1, 0.9, 0.9, 0.1]]).T
    assert len(propose("v", probs, TimeGrid(1.0), 4.0, ProposalConfig(thresholds=(0.5, 0.6, 0.7)))) == 1


def test_at_most_100_proposals_best_first_of_any_class() -> None:
    probs = torch.rand(120, 40, generator=torch.Generator().manual_seed(0))
    found = propose("v", probs, TOKENS, duration=39.0)
    assert len(found) == 100
    assert (np.diff(found.score) <= 0).all()
    assert set(found.video.tolist()) == {"v"}


def test_without_a_run_there_is_no_proposal() -> None:
    assert len(propose("v", torch.full((5, 2), 0.01), TOKENS, 3.0)) == 0


def test_soft_nms_lowers_only_overlapping_events_of_the_class() -> None:
    label, start, end = np.array([0, 0, 0, 1]), np.array([0.0, 0.0, 5.0, 0.0]), np.array([2.0, 2.0, 6.0, 2.0])
    scores = soft_nms(label, start, end, np.array([0.9, 0.8, 0.7, 0.6]), sigma=0.4, min_score=0.001)
    np.testing.assert_allclose(scores, [0.9, 0.8 * np.exp(-2.5), 0.7, 0.6])


def test_soft_nms_drops_what_falls_below_the_minimum() -> None:
    scores = soft_nms(np.zeros(2, int), np.zeros(2), np.ones(2), np.array([0.9, 0.5]), sigma=0.4, min_score=0.1)
    assert scores.tolist() == [0.9, 0]


@pytest.mark.parametrize(
    ("probs", "duration", "problem"),
    [
        (torch.rand(4, 2, 3), 1.0, "video 'v': segment_probs has shape (4, 2, 3), where (T,C) was expected"),
        (torch.full((4, 2), 1.5), 1.0, "video 'v': segment_probs has values outside [0,1], or NaN"),
        (torch.full((4, 2), float("nan")), 1.0, "video 'v': segment_probs has values outside [0,1], or NaN"),
        (torch.rand(4, 2), 0.0, "video 'v': duration is 0.0, where seconds above 0 were expected"),
    ],
)
def test_bad_input_is_refused(probs: torch.Tensor, duration: float, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        propose("v", probs, TOKENS, duration)


@pytest.mark.parametrize("thresholds", [(), (0.0, 0.5), (0.5, 0.5), (1.1,)])
def test_thresholds_of_the_sweep_are_in_range_and_each_once(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected thresholds in \(0,1\], each once"):
        ProposalConfig(thresholds=thresholds)


def test_proposals_of_many_videos_are_of_their_real_segments_and_both_modalities() -> None:
    probs = torch.zeros(2, 6, 2, 1)
    probs[0, :, 0], probs[0, :3, 1] = 0.9, 0.6  # heard throughout, seen in the first half
    probs[1] = 0.8  # of which two segments are real
    mask = torch.arange(6) < torch.tensor([6, 2])[:, None]
    found = propose_videos(["a", "b"], probs, mask, [6.0, 2.0], TimeGrid(1.0), HALF)
    assert (found.video.tolist(), found.start.tolist(), found.end.tolist()) == (["a", "b"], [0, 0], [3, 2])


def test_every_video_needs_its_duration() -> None:
    with pytest.raises(ValueError, match="of 2 ids and 1 durations"):
        propose_videos(["a", "b"], torch.rand(2, 6, 2, 1), None, [6.0], TimeGrid(1.0))
