"""Confidence intervals of score differences, over videos and training seeds.

Scores vary with the videos that are scored and with the seed of the training. Every training is scored on every video,
so seeds and videos are crossed factors, like readers and cases in radiology. The method is that of multi-reader
multi-case studies: jackknife pseudo-values over videos (Dorfman, Berbaum, Metz, Investigative Radiology 1992), a
two-way analysis of variance with random effects of seeds and videos, and Student's t with degrees of freedom after
Hillis (Statistics in Medicine, 2007). `benchmarks/coverage.py` measures the coverage of these intervals.

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
"""Confidence level of the intervals."""
_F_LEVEL = 0.99  # one minus the significance level of the F test for a video effect


@dataclass(frozen=True)
class VideoScores:
    """Scores of each video, for each seed of one training configuration.

    Args:
        f: (S,14,N) float64 in [0,1], F-scores; see `metrics.scores.video_scores`.
        supported: (S,14,N) bool, True where the video has an event of the column's type, or a prediction of one.

    Example:
        >>> truth = torch.zeros(2, 10, 2, 1, dtype=torch.bool)  # two videos, one class
        >>> truth[0, :4, 0] = True  # the first one has an event that is heard only
        >>> scores = VideoScores.of([truth], truth)  # one seed, whose predictions are right
        >>> scores.columns().shape, scores.columns()[0, 0].item()
        (torch.Size([1, 36]), 100.0)
    """

    f: Tensor
    supported: Tensor

    @classmethod
    def of(cls, predictions: Sequence[Tensor], ground_truth: Tensor) -> VideoScores:
        """Score the predictions of each seed.

        Args:
            predictions: one tensor per seed, (N,T,M,C) bool.
            ground_truth: (N,T,M,C) bool.

        Returns:
            Scores of S seeds and N videos, both (S,14,N).
        """
        by_seed = [video_scores(predicted, ground_truth) for predicted in predictions]
        f, supported = (torch.stack(x) for x in zip(*by_seed, strict=True))
        return cls(f, supported)

    def columns(self) -> Tensor:
        """Each seed's columns in percent: (S,K)."""
        supported = self.supported.to(self.f)
        return columns(self.f.mean(-1), (self.f * supported).sum(-1) / supported.sum(-1))

    def without_each(self) -> Tensor:
        """Leave-one-out scores: each seed's columns in percent without each of the videos, (S,N,K); N at least 2."""
        supported = self.supported.to(self.f)
        with_support = self.f * supported

        def sum_of_others(x: Tensor) -> Tensor:
            return (x.sum(-1, keepdim=True) - x).transpose(1, 2)

        means = sum_of_others(self.f) / (self.f.shape[-1] - 1)
        return columns(means, sum_of_others(with_support) / sum_of_others(supported))

    def pseudo_values(self) -> Tensor:
        """Jackknife pseudo-values, N * score - (N - 1) * score without the video: (S,N,K) in percent.

        Their mean over videos estimates the score; for a column that is a mean over videos it equals the score.
        """
        n = self.f.shape[-1]
        return n * self.columns()[:, None] - (n - 1) * self.without_each()


@dataclass(frozen=True)
class Difference:
    """Treated minus control, for each column of `ALL_KEYS`, in percentage points.

    Args:
        value: (K,), mean difference over the seeds in which both have a score.
        low: (K,), lower end of the 95 % interval; NaN where a score is undefined for some seed, or when one of the
            videos is left out.
        high: (K,), upper end of the 95 % interval; NaN likewise.
        p: (K,), two-sided p-value of the hypothesis that the difference is 0.
        videos: N.
        seeds: S. With one seed, interval and p-value account for the variation over videos only.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    p: Tensor
    videos: int
    seeds: int

    def at(self, column: str) -> tuple[float, float, float]:
        """Value, low and high of one column, named as in `ALL_KEYS`."""
        i = ALL_KEYS.index(column)
        return self.value[i].item(), self.low[i].item(), self.high[i].item()


def paired_difference(treated: VideoScores, control: VideoScores) -> Difference:
    """Paired difference, treated minus control, with its 95 % interval over videos and seeds.

    Both must be scored on the same videos and trained from the same seeds, in the same order. With several seeds the
    interval generalises to other videos and other seeds; with one seed, to other videos for the same two networks.

    Args:
        treated: scores of the S trainings under test, on N videos.
        control: scores of the S trainings to compare to, on the same videos.

    Returns:
        Differences, interval ends and p-values, (K,) each, in percentage points but for p. With one video, interval and
        p are NaN.

    Raises:
        ValueError: the numbers of videos or seeds differ.

    Example:
        >>> truth = torch.zeros(4, 10, 2, 1, dtype=torch.bool)  # four videos, one class
        >>> truth[:2, :4, 0] = True  # two of them have an event that is heard only
        >>> right, nothing = VideoScores.of([truth], truth), VideoScores.of([torch.zeros_like(truth)], truth)
        >>> value, low, high = paired_difference(right, nothing).at("segment/Ao")  # 100 minus 50
        >>> f"{value:.1f} [{low:.1f}, {high:.1f}]"
        '50.0 [-41.9, 141.9]'
    """
    if treated.f.shape != control.f.shape:
        raise ValueError(
            f"pairs need the same seeds and videos: {tuple(treated.f.shape[::2])} and {tuple(control.f.shape[::2])}"
        )
    seeds, _, videos = treated.f.shape
    value = (treated.columns() - control.columns()).nanmean(0)
    if videos < 2:
        undefined = torch.full_like(value, torch.nan)
        return Difference(value, undefined, undefined, undefined, videos, seeds)
    error, freedom = standard_error(treated.pseudo_values() - control.pseudo_values())
    margin = error * _student_quantile(freedom)
    return Difference(value, value - margin, value + margin, _two_sided_p(value / error, freedom), videos, seeds)


def score_interval(scores: VideoScores) -> tuple[Tensor, Tensor, Tensor]:
    """Mean score over seeds, with its 95 % interval over videos and seeds, by the method of `paired_difference`.

    The intervals of two rows say nothing of their difference: both were scored on the same videos, which
    `paired_difference` makes use of.

    Args:
        scores: of S trainings on N videos.

    Returns:
        Value, low and high, (K,) each, in percent, in [0,100]; low and high are NaN where a score is undefined for some
        seed, or when one of the videos is left out, and with one video.

    Example:
        >>> truth = torch.zeros(4, 10, 2, 1, dtype=torch.bool)  # four videos, one class
        >>> truth[:2, :4, 0] = True  # two of them have an event that is heard only
        >>> value, low, high = score_interval(VideoScores.of([torch.zeros_like(truth)], truth))  # predicts nothing
        >>> i = ALL_KEYS.index("segment/Ao")
        >>> value[i].item(), low[i].item(), high[i].item()
        (50.0, 0.0, 100.0)
    """
    value = scores.columns().nanmean(0)
    if scores.f.shape[-1] < 2:
        undefined = torch.full_like(value, torch.nan)
        return value, undefined, undefined
    error, freedom = standard_error(scores.pseudo_values())
    margin = error * _student_quantile(freedom)
    return value, (value - margin).clamp(min=0), (value + margin).clamp(max=100)


def standard_error(x: Tensor) -> tuple[Tensor, Tensor]:
    """Standard error of the mean of values with crossed random effects of seeds and videos.

    From the mean squares of a two-way analysis of variance without replication, the variance of the mean times S N is
    MS_seeds + MS_videos - MS_rest. The video effect MS_videos - MS_rest is included where an F test at the 1 % level
    finds it significant. With v, the lower confidence bound of that effect, the degrees of freedom are
    (S - 1) ((MS_seeds + v) / MS_seeds)^2. Hillis (2007) uses max(MS_videos - MS_rest, 0) in both places; with two
    seeds, up to 10 % of its 95 % intervals then exclude a true difference of 0. With one seed, only videos vary: the
    variance is that of a mean over videos, with N - 1 degrees of freedom.

    Args:
        x: (S,N,K), N at least 2.

    Returns:
        Standard error (K,) and degrees of freedom (K,).

    Example:
        >>> error, freedom = standard_error(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1))  # one seed, three videos
        >>> round(error.item(), 4), freedom.item()  # 1 / sqrt(3), N - 1
        (0.5774, 2.0)
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
    """Holm-Bonferroni correction: which of several differences are significant at a family-wise level of 5 % (1979).

    Args:
        p: p-values; NaN is not significant and does not count as a test.

    Returns:
        Whether each one is significant, in the order of `p`.

    Example:
        >>> holm([0.01, 0.04, 0.03])  # 0.01 < 0.05 / 3, but 0.03 > 0.05 / 2
        [True, False, False]
    """
    known = sorted((value, i) for i, value in enumerate(p) if value == value)
    significant = [False] * len(p)
    for rank, (value, i) in enumerate(known):
        if value > (1 - LEVEL) / (len(known) - rank):
            break
        significant[i] = True
    return significant


def _student_quantile(freedom: Tensor) -> Tensor:
    """Half-width of the interval in standard errors."""
    return torch.from_numpy(stdtrit(_finite(freedom).numpy(), (1 + LEVEL) / 2))


def _two_sided_p(t: Tensor, freedom: Tensor) -> Tensor:
    p = 2 * stdtr(_finite(freedom).numpy(), -t.abs().numpy())
    return torch.from_numpy(p).where(~t.isnan(), torch.tensor(torch.nan, dtype=torch.float64))


def _finite(freedom: Tensor) -> Tensor:
    """Degrees of freedom limited to finite values; they are infinite where scores do not vary over seeds."""
    return freedom.nan_to_num(nan=1e9, posinf=1e9).clamp(max=1e9)
