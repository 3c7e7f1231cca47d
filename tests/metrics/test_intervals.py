"""Intervals: against plain loops and textbook formulas, and how often they miss where the truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from coleaf_framework.metrics import ALL_KEYS, SUPPORT
from coleaf_framework.metrics.intervals import VideoScores, holm, paired_difference, standard_error
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


@given(st.integers(0, 100))
def test_leaving_a_video_out_is_scoring_without_it(seed: int) -> None:
    predictions, truth = random_parsers(2, 5, seed, share=0.15)
    scores = VideoScores.of(predictions, truth)
    everything, without = scores.columns(), scores.without_each()
    for s in range(2):
        np.testing.assert_allclose(everything[s].numpy(), by_loops(predictions, truth, list(range(5)), [s]), atol=1e-9)
        for n in range(5):
            others = [video for video in range(5) if video != n]
            np.testing.assert_allclose(without[s, n].numpy(), by_loops(predictions, truth, others, [s]), atol=1e-9)


def slow_interval(x: np.ndarray) -> tuple[float, float]:
    """Standard error and degrees of freedom of the mean of (S,N) by sums over cells."""
    seeds, videos = x.shape
    mean = x.sum() / x.size
    ms_seeds = sum(videos * (x[s].mean() - mean) ** 2 for s in range(seeds)) / (seeds - 1)
    ms_videos = sum(seeds * (x[:, n].mean() - mean) ** 2 for n in range(videos)) / (videos - 1)
    rest = 0.0
    for s, n in itertools.product(range(seeds), range(videos)):
        rest += (x[s, n] - x[s].mean() - x[:, n].mean() + mean) ** 2
    ms_rest = rest / ((seeds - 1) * (videos - 1))
    bound = ms_rest * stats.f.ppf(0.99, videos - 1, (seeds - 1) * (videos - 1))
    total = ms_seeds + (ms_videos - ms_rest if ms_videos > bound else 0)
    return math.sqrt(total / x.size), (seeds - 1) * ((ms_seeds + max(ms_videos - bound, 0)) / ms_seeds) ** 2


@given(st.integers(2, 4), st.integers(2, 9), st.floats(0, 3), st.floats(0, 3), st.integers(0, 2**31))
def test_the_standard_error_is_that_of_the_analysis_of_variance(
    seeds: int, videos: int, of_seed: float, of_video: float, draw: int
) -> None:
    rng = np.random.default_rng(draw)
    x = of_seed * rng.standard_normal((seeds, 1)) + of_video * rng.standard_normal((1, videos))
    x = x + rng.standard_normal((seeds, videos))
    error, freedom = standard_error(torch.from_numpy(x)[:, :, None])
    assert (error.item(), freedom.item()) == pytest.approx(slow_interval(x))


def test_one_seed_has_the_textbook_interval_of_its_videos() -> None:
    predictions, truth = random_parsers(2, 30, share=0.15)
    treated, control = (VideoScores.of([p], truth) for p in predictions)
    found = paired_difference(treated, control)
    i = ALL_KEYS.index("segment/A")  # a mean over videos, so that the jackknife's values are the videos' own
    own = 100 * (treated.f - control.f)[0, 0].numpy()
    low, high = stats.t.interval(0.95, 29, own.mean(), stats.sem(own))
    assert found.at("segment/A") == pytest.approx((own.mean(), low, high))
    assert found.p[i].item() == pytest.approx(stats.ttest_1samp(own, 0).pvalue)


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_parser_does_not_differ_from_itself(seeds: int) -> None:
    predictions, truth = random_parsers(seeds, 20)
    scores = VideoScores.of(predictions, truth)
    found = paired_difference(scores, scores)
    assert torch.equal(torch.stack([found.value, found.low, found.high]), torch.zeros(3, 36).double())
    assert not any(holm(found.p.tolist()))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(("of_seed", "of_video"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.7), (0.02, 1.0)])
def test_95_percent_of_intervals_cover_the_truth(seeds: int, of_seed: float, of_video: float) -> None:
    """Known effects, 4,000 draws: between 3 and 7 in 100 intervals leave the truth out."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, 4000, generator=g, dtype=torch.float64)

    x = of_seed * normal(seeds, 1) + of_video * normal(1, 200) + normal(seeds, 200)
    error, freedom = standard_error(x)
    missed = x.mean((0, 1)).abs() > error * torch.from_numpy(stats.t.ppf(0.975, freedom.numpy()))
    assert 0.03 < missed.double().mean().item() < 0.07


def test_a_real_difference_leaves_0_out() -> None:
    predictions, truth = random_parsers(2, 40)
    better = [predicted & truth for predicted in predictions]
    found = paired_difference(VideoScores.of(better, truth), VideoScores.of(predictions, truth))
    value, low, high = found.at("segment/A")
    assert 0 < low < value < high
    assert (found.videos, found.seeds) == (40, 2)


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12))
def test_holm_is_the_smallest_adjusted_p_value(p: list[float]) -> None:
    known = sorted(x for x in p if x == x)
    adjusted = {}
    for rank, x in enumerate(known):
        adjusted[x] = max((len(known) - i) * y for i, y in enumerate(known[: rank + 1]))
    assert holm(p) == [x == x and adjusted[x] <= 0.05 + 1e-15 for x in p]


def test_pairs_need_the_same_seeds_and_videos() -> None:
    predictions, truth = random_parsers(3, 6)
    with pytest.raises(ValueError, match=r"the same seeds and videos: \(2, 6\) and \(3, 6\)"):
        paired_difference(VideoScores.of(predictions[:2], truth), VideoScores.of(predictions, truth))


def test_a_column_without_a_value_has_no_interval() -> None:
    """No video has a visible-only event and no parser predicts one."""
    truth = torch.zeros(6, 4, 2, 3, dtype=torch.bool)
    truth[:, 0, 0, 0] = True
    scores = VideoScores.of([truth, truth], truth)
    found = paired_difference(scores, scores)
    assert all(np.isnan(x) for x in found.at("support/segment/Vo"))
    assert found.at("support/segment/Ao") == (0, 0, 0)
