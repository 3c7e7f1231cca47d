"""How sure a score and a difference of scores are: the bootstrap over videos and seeds (Efron, 1979).

Shape letters: see `protocol.py`; S seeds, N videos, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coleaf_framework.metrics.scores import ALL_KEYS, columns, video_scores

_AT_ONCE = 1000  # resamples held in memory at a time


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
        """Each seed's columns in percent: (S,36), in the order of `ALL_KEYS`."""
        return self.weighted(self.f.new_ones(1, self.f.shape[-1]))[0]

    def weighted(self, counts: Tensor) -> Tensor:
        """The columns of videos that count so many times each: (R,N) -> (R,S,36)."""
        counts, supported = counts.to(self.f), self.supported.to(self.f)
        total, with_support, supports = (
            torch.einsum("rn,skn->rsk", counts, x) for x in (self.f, self.f * supported, supported)
        )
        return columns(total / counts.sum(1)[:, None, None], with_support / supports)


@dataclass(frozen=True)
class Difference:
    """One way to train less another, for each column of `ALL_KEYS`, in points of percent.

    Args:
        value: (36,), the difference of means over seeds.
        low, high: (36,), the ends of its 95 % interval. NaN where a score has no value.
        videos, seeds: how many were resampled.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    videos: int
    seeds: int

    def at(self, column: str) -> tuple[float, float, float]:
        """Value, low and high of a column."""
        i = ALL_KEYS.index(column)
        return self.value[i].item(), self.low[i].item(), self.high[i].item()


def paired_difference(
    treated: VideoScores, control: VideoScores, *, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """`treated` less `control`, with the percentile bootstrap's 95 % interval over videos and seeds.

    Both are scored on the same videos and trained from the same seeds, in the same order. Each resample draws N videos
    and S seeds with replacement, the same for both, and takes the difference of the means over its seeds. With few
    seeds the interval is somewhat too narrow, and with one it says nothing of seeds.

    Args:
        treated, control: of the same N and S.
        resamples: R, at least 1.
        seed: of the draws.

    Raises:
        ValueError: other numbers of videos or seeds.
    """
    if treated.f.shape != control.f.shape:
        raise ValueError(
            f"pairs need the same seeds and videos: {tuple(treated.f.shape[::2])} and {tuple(control.f.shape[::2])}"
        )
    seeds, _, videos = treated.f.shape
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for start in range(0, resamples, _AT_ONCE):
        rounds = min(_AT_ONCE, resamples - start)
        of_videos, of_seeds = (_draw(rounds, n, generator) for n in (videos, seeds))
        means = [_mean_over_seeds(x.weighted(of_videos), of_seeds) for x in (treated, control)]
        drawn.append(means[0] - means[1])
    low, high = torch.cat(drawn).nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    value = treated.columns().nanmean(0) - control.columns().nanmean(0)
    return Difference(value, low, high, videos, seeds)


def _draw(rounds: int, n: int, generator: torch.Generator) -> Tensor:
    """How often each of n is drawn in n draws with replacement: (R,n)."""
    picks = torch.randint(n, (rounds, n), generator=generator)
    return torch.zeros(rounds, n, dtype=torch.float64).scatter_add_(1, picks, torch.ones(rounds, n).double())


def _mean_over_seeds(values: Tensor, counts: Tensor) -> Tensor:
    """(R,S,36) and how often each seed counts (R,S) -> (R,36), over the seeds that have a value."""
    weights = counts[:, :, None] * ~values.isnan()
    return (values.nan_to_num() * weights).sum(1) / weights.sum(1)
