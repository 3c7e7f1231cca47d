"""How sure a difference of scores is, over videos and over trainings from other seeds.

Scores vary with the videos that are scored and with the seed of the training. Each training is scored on each video,
so the two are crossed factors, as readers and cases are in radiology; the analysis is theirs: jackknife pseudo-values
over videos (Dorfman, Berbaum, Metz, Investigative Radiology 1992), their variance divided between seeds, videos and the
rest, and Student's t with degrees of freedom after Hillis (Statistics in Medicine, 2007). `benchmarks/coverage.py`
measures how often such an interval leaves out the true difference.

Shape letters: see `protocol.py`; S seeds, N videos, K = 36 columns of `ALL_KEYS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import fdtri, stdtr, stdtrit
from torch import Tensor

from coleaf_framework.metrics.scores import ALL_KEYS, columns, video_scores

LEVEL = 0.95
"""Of the intervals."""
_F_LEVEL = 0.99


@dataclass(frozen=True)
class VideoScores:
    """The scores of each video, for each seed of one way to train.

    Args:
        f: (S,14,N) float64 in [0,1]. supported: (S,14,N) bool; see `metrics.scores.video_scores`.
    """

    f: Tensor
    supported: Tensor

    @classmethod
    def of(cls, predictions: Sequence[Tensor], ground_truth: Tensor) -> VideoScores:
        """Of one prediction per seed, each (N,T,M,C) bool, against (N,T,M,C) bool."""
        each = [video_scores(predicted, ground_truth) for predicted in predictions]
        f, supported = (torch.stack(x) for x in zip(*each, strict=True))
        return cls(f, supported)

    def columns(self) -> Tensor:
        """Each seed's columns in percent: (S,K)."""
        supported = self.supported.to(self.f)
        return columns(self.f.mean(-1), (self.f * supported).sum(-1) / supported.sum(-1))

    def without_each(self) -> Tensor:
        """Each seed's columns in percent without one of the videos, for each video: (S,N,K); N at least 2."""
        supported = self.supported.to(self.f)
        with_support = self.f * supported

        def others(x: Tensor) -> Tensor:
            return (x.sum(-1, keepdim=True) - x).transpose(1, 2)

        return columns(others(self.f) / (self.f.shape[-1] - 1), others(with_support) / others(supported))

    def pseudo_values(self) -> Tensor:
        """The jackknife's pseudo-values, N * score - (N - 1) * score without the video: (S,N,K) in percent.

        Their mean over videos estimates the score, and for scores that are means over videos it equals it.
        """
        n = self.f.shape[-1]
        return n * self.columns()[:, None] - (n - 1) * self.without_each()


@dataclass(frozen=True)
class Difference:
    """One way to train less another, for each column of `ALL_KEYS`, in points of percent.

    Args:
        value: (K,), the mean over seeds of the difference; over those in which both have a value.
        low, high: (K,), the ends of its 95 % interval. NaN where a score has no value in some seed, or without some
            video.
        p: (K,), two-sided p-value of a difference of 0.
        videos, seeds: how many there were. With one seed, all of this is about videos alone.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    p: Tensor
    videos: int
    seeds: int

    def at(self, column: str) -> tuple[float, float, float]:
        """Value, low and high of a column."""
        i = ALL_KEYS.index(column)
        return self.value[i].item(), self.low[i].item(), self.high[i].item()


def paired_difference(treated: VideoScores, control: VideoScores) -> Difference:
    """`treated` less `control`, with its 95 % interval over videos and seeds.

    Both are scored on the same videos and trained from the same seeds, in the same order. With several seeds the
    interval says what other videos and other seeds may give; with one seed, what other videos may give to these very
    networks.

    Args:
        treated, control: of the same S and N.

    Raises:
        ValueError: other numbers of videos or seeds.
    """
    if treated.f.shape != control.f.shape:
        raise ValueError(
            f"pairs need the same seeds and videos: {tuple(treated.f.shape[::2])} and {tuple(control.f.shape[::2])}"
        )
    seeds, _, videos = treated.f.shape
    value = (treated.columns() - control.columns()).nanmean(0)
    if videos < 2:
        nothing = torch.full_like(value, torch.nan)
        return Difference(value, nothing, nothing, nothing, videos, seeds)
    error, freedom = standard_error(treated.pseudo_values() - control.pseudo_values())
    margin = error * _student_quantile(freedom)
    return Difference(value, value - margin, value + margin, _two_sided_p(value / error, freedom), videos, seeds)


def standard_error(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of the mean of values with crossed random effects of seeds and videos.

    By the mean squares of a two-way analysis of variance without replication, S * N * the mean's variance is
    MS_seeds + MS_videos - MS_rest. The videos' part, MS_videos - MS_rest, counts where an F test at 1 % finds it; its
    lower bound by that test, v, gives (S - 1) ((MS_seeds + v) / MS_seeds)^2 degrees of freedom. Hillis (2007) has
    max(MS_videos - MS_rest, 0) in both places, which with two seeds leaves out a true 0 in up to 10 % of draws.
    With one seed only videos vary: the variance of their mean, with N - 1 degrees of freedom.

    Args:
        x: (S,N,K), N at least 2.

    Returns:
        Standard error (K,) and degrees of freedom (K,).
    """
    seeds, videos, _ = x.shape
    if seeds == 1:
        return x[0].std(0) / videos**0.5, torch.full_like(x[0, 0], videos - 1)
    of_seed, of_video, overall = x.mean(1), x.mean(0), x.mean((0, 1))
    ms_seeds = videos * (of_seed - overall).square().sum(0) / (seeds - 1)
    ms_videos = seeds * (of_video - overall).square().sum(0) / (videos - 1)
    rest = x - of_seed[:, None] - of_video[None] + overall
    ms_rest = rest.square().sum((0, 1)) / ((seeds - 1) * (videos - 1))
    bound = ms_rest * float(fdtri(videos - 1, (seeds - 1) * (videos - 1), _F_LEVEL))
    total = torch.where(ms_videos > bound, ms_seeds + ms_videos - ms_rest, ms_seeds)
    freedom = (seeds - 1) * ((ms_seeds + (ms_videos - bound).clamp(min=0)) / ms_seeds).square()
    return (total / (seeds * videos)).sqrt(), freedom


def holm(p: Sequence[float]) -> list[bool]:
    """Which of several differences stay significant at 5 % when all of them are looked at (Holm, 1979).

    Args:
        p: p-values; NaN is not significant and does not count.

    Returns:
        One for each, in order.
    """
    known = sorted((value, i) for i, value in enumerate(p) if value == value)
    significant = [False] * len(p)
    for rank, (value, i) in enumerate(known):
        if value > (1 - LEVEL) / (len(known) - rank):
            break
        significant[i] = True
    return significant


def _student_quantile(freedom: Tensor) -> Tensor:
    """How many standard errors the interval reaches to either side."""
    return torch.from_numpy(stdtrit(_finite(freedom).numpy(), (1 + LEVEL) / 2))


def _two_sided_p(t: Tensor, freedom: Tensor) -> Tensor:
    p = 2 * stdtr(_finite(freedom).numpy(), -t.abs().numpy())
    return torch.from_numpy(p).where(~t.isnan(), torch.tensor(torch.nan, dtype=torch.float64))


def _finite(freedom: Tensor) -> Tensor:
    """Degrees of freedom that the quantile function takes; without any spread over seeds they are without bound."""
    return freedom.nan_to_num(nan=1e9, posinf=1e9).clamp(max=1e9)
