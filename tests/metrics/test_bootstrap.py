"""The bootstrap: against all resamples of a small case, against plain loops, and where nothing differs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework.metrics import ALL_KEYS, SUPPORT
from coleaf_framework.metrics.bootstrap import VideoScores, paired_difference
from tests.helpers.slow_scores import slow_scores


def random_parsers(
    seeds: int, videos: int, seed: int = 0, share: float = 0.4
) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(seeds + 1, videos, 4, 2, 3, generator=generator) < share
    return list(draw[:-1]), draw[-1]


def by_loops(predictions: list[torch.Tensor], truth: torch.Tensor, videos: list[int], seeds: list[int]) -> np.ndarray:
    """Scores of the named videos by plain loops, for each seed; then the mean over the named seeds: (36,)."""
    rows = []
    for seed in seeds:
        published, support = slow_scores(predictions[seed][videos].numpy(), truth[videos].numpy())
        scores = published | {SUPPORT + key: value for key, value in support.items()}
        rows.append([scores[key] for key in ALL_KEYS])
    return np.array(rows).mean(0)


@given(st.integers(0, 100), st.lists(st.integers(0, 4), min_size=5, max_size=5))
def test_weighting_videos_is_repeating_them(seed: int, videos: list[int]) -> None:
    predictions, truth = random_parsers(2, 5, seed, share=0.15)
    counts = torch.tensor([[videos.count(n) for n in range(5)]])
    weighted = VideoScores.of(predictions, truth).weighted(counts)[0]
    for s in range(2):
        np.testing.assert_allclose(weighted[s].numpy(), by_loops(predictions, truth, videos, [s]), atol=1e-9)


def test_the_interval_is_that_of_all_resamples() -> None:
    """Three videos and two seeds have 27 x 4 resamples, which can all be written down."""
    predictions, truth = random_parsers(4, 3, seed=1)
    treated, control = predictions[:2], predictions[2:]
    every = np.array(
        [
            by_loops(treated, truth, list(videos), list(seeds)) - by_loops(control, truth, list(videos), list(seeds))
            for videos in itertools.product(range(3), repeat=3)
            for seeds in itertools.product(range(2), repeat=2)
        ]
    )
    found = paired_difference(VideoScores.of(treated, truth), VideoScores.of(control, truth), resamples=40_000)
    for i, column in enumerate(ALL_KEYS):
        if np.isnan(every[:, i]).any():
            continue
        ordered = np.sort(every[:, i])
        value, low, high = found.at(column)
        assert value == pytest.approx(
            by_loops(treated, truth, [0, 1, 2], [0, 1])[i] - by_loops(control, truth, [0, 1, 2], [0, 1])[i]
        )
        # A drawn quantile may fall on a neighbour among so few values: between the exact 1.5 % and 3.5 %.
        assert (
            np.quantile(ordered, 0.015, method="lower") - 1e-9
            <= low
            <= np.quantile(ordered, 0.035, method="higher") + 1e-9
        )
        assert (
            np.quantile(ordered, 0.965, method="lower") - 1e-9
            <= high
            <= np.quantile(ordered, 0.985, method="higher") + 1e-9
        )


def test_a_parser_does_not_differ_from_itself() -> None:
    predictions, truth = random_parsers(3, 20)
    scores = VideoScores.of(predictions, truth)
    found = paired_difference(scores, scores, resamples=200)
    assert torch.equal(torch.stack([found.value, found.low, found.high]), torch.zeros(3, 36).double())


def test_the_interval_covers_0_where_there_is_no_difference() -> None:
    """Parsers that guess alike: of 60 intervals of 95 % about 57 should cover 0, and a coin would have it in 30."""
    covered = 0
    for seed in range(60):
        predictions, truth = random_parsers(2, 40, seed)
        one, other = (VideoScores.of([p], truth) for p in predictions)
        _, low, high = paired_difference(one, other, resamples=400, seed=seed).at("segment/Type@AV")
        covered += low <= 0 <= high
    assert covered >= 52


def test_a_real_difference_leaves_0_out() -> None:
    predictions, truth = random_parsers(2, 40)
    better = [predicted & truth for predicted in predictions]
    found = paired_difference(VideoScores.of(better, truth), VideoScores.of(predictions, truth), resamples=400)
    value, low, high = found.at("segment/A")
    assert 0 < low < value < high
    assert (found.videos, found.seeds) == (40, 2)


def test_intervals_repeat() -> None:
    predictions, truth = random_parsers(4, 10)
    pair = VideoScores.of(predictions[:2], truth), VideoScores.of(predictions[2:], truth)
    assert torch.equal(paired_difference(*pair, resamples=50).low, paired_difference(*pair, resamples=50).low)


def test_pairs_need_the_same_seeds_and_videos() -> None:
    predictions, truth = random_parsers(3, 6)
    with pytest.raises(ValueError, match=r"the same seeds and videos: \(2, 6\) and \(3, 6\)"):
        paired_difference(VideoScores.of(predictions[:2], truth), VideoScores.of(predictions, truth))


def test_a_column_without_a_value_has_no_interval() -> None:
    """No video has a visible-only event and no parser predicts one."""
    truth = torch.zeros(6, 4, 2, 3, dtype=torch.bool)
    truth[:, 0, 0, 0] = True
    scores = VideoScores.of([truth, truth], truth)
    found = paired_difference(scores, scores, resamples=100)
    assert all(np.isnan(x) for x in found.at("support/segment/Vo"))
    assert found.at("support/segment/Ao") == (0, 0, 0)
