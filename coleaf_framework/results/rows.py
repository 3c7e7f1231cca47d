"""Runs, rows of runs over seeds, and paired differences of rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from coleaf_framework.metrics import ALL_KEYS, over_seeds
from coleaf_framework.metrics.intervals import Difference, VideoScores, holm, paired_difference, score_interval
from coleaf_framework.results.predictions import Predictions


@dataclass(frozen=True)
class Member:
    """One run of a row.

    Args:
        run: name of the run.
        seed: training seed.
        predictions: of the scored split.
    """

    run: str
    seed: int
    predictions: Predictions


@dataclass(frozen=True)
class Row:
    """Scores of one training configuration, over its S seeds.

    Args:
        name: name of the row in the table.
        runs: names of the S runs.
        seeds: their seeds, ascending.
        scores: the scores of each video.
        by_seed: (S,36) in percent, the columns of each run.
        columns: those that exist for the ground truth; the others are never shown.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: VideoScores
    by_seed: Tensor
    columns: tuple[str, ...] = ALL_KEYS

    @classmethod
    def of(cls, name: str, members: Sequence[Member]) -> Row:
        """Score runs with their own thresholds.

        Args:
            name: name of the row.
            members: its runs.

        Raises:
            ValueError: two runs have the same seed, so that it would count twice; names both.
        """
        members = sorted(members, key=lambda member: member.seed)
        for one, other in itertools.pairwise(members):
            if one.seed == other.seed:
                raise ValueError(
                    f"{one.run} and {other.run} are the same training from the same seed {one.seed}: name one of them"
                )
        scores = VideoScores.of(
            [member.predictions.decided() for member in members], members[0].predictions.known_truth
        )
        runs, seeds = zip(*((member.run, member.seed) for member in members), strict=True)
        return cls(name, runs, seeds, scores, scores.columns(), members[0].predictions.columns)

    def means(self) -> dict[str, float]:
        """Column -> mean over seeds."""
        return self._existing(over_seeds(self.by_seed)[0])

    def deviations(self) -> dict[str, float] | None:
        """Column -> standard deviation (n - 1) over the seeds with a value (NaN for one value); None with one seed."""
        deviations = over_seeds(self.by_seed)[1]
        return None if deviations is None else self._existing(deviations)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Column -> 95 % interval of the mean over videos and seeds; see `metrics.intervals.score_interval`."""
        _, low, high = score_interval(self.scores)
        ends = dict(zip(ALL_KEYS, zip(low.tolist(), high.tolist(), strict=True), strict=True))
        return {column: ends[column] for column in self.columns}

    def by_run(self) -> dict[str, dict[str, float]]:
        """Name of a run -> column -> percent."""
        values = (dict(zip(ALL_KEYS, row, strict=True)) for row in self.by_seed.tolist())
        return {run: self._existing(row) for run, row in zip(self.runs, values, strict=True)}

    def _existing(self, values: Mapping[str, float]) -> dict[str, float]:
        return {column: values[column] for column in self.columns}


@dataclass(frozen=True)
class Pair:
    """The paired difference of two rows.

    Args:
        name: "TREATED less CONTROL".
        treated: name of the first row.
        difference: treated minus control.
        columns: those that exist for the ground truth.
    """

    name: str
    treated: str
    difference: Difference
    columns: tuple[str, ...] = ALL_KEYS

    @classmethod
    def of(cls, treated: Row, control: Row) -> Pair:
        """The difference treated minus control."""
        difference = paired_difference(treated.scores, control.scores)
        return cls(f"{treated.name} less {control.name}", treated.name, difference, treated.columns)


def with_deviation(mean: float, deviation: float | None) -> str:
    """Format a percentage with its deviation, if there is one; "-" for NaN."""
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" + ("" if deviation is None or math.isnan(deviation) else f" ± {deviation:.1f}")


def format_difference(pair: Pair) -> dict[str, str]:
    """Column -> difference and interval in percentage points, as text.

    One star marks an interval that excludes 0; two mark a difference that is significant after Holm's correction for
    all columns of the pair.
    """
    texts = {}
    p = dict(zip(ALL_KEYS, pair.difference.p.tolist(), strict=True))
    for column, significant in zip(pair.columns, holm([p[column] for column in pair.columns]), strict=True):
        value, low, high = pair.difference.at(column)
        if math.isnan(value):
            texts[column] = "-"
        elif math.isnan(low):
            texts[column] = f"{value:+.1f}"
        else:
            stars = "**" if significant else "*" if low > 0 or high < 0 else ""
            texts[column] = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{stars}"
    return texts
