"""What is compared: runs, their rows in a table, and pairs of rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from coleaf_framework.metrics import ALL_KEYS, over_seeds
from coleaf_framework.metrics.intervals import Difference, VideoScores, holm, paired_difference
from coleaf_framework.results.predictions import Predictions


@dataclass(frozen=True)
class Member:
    """One run of a row.

    Args:
        run: its name. seed: of its training. predictions: of the scored split.
    """

    run: str
    seed: int
    predictions: Predictions


@dataclass(frozen=True)
class Row:
    """One way to train an Anchor, over its seeds.

    Args:
        name: in the table. runs: names of the S runs. seeds: theirs, ascending.
        scores: of each video. by_seed: (S,36) in percent.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: VideoScores
    by_seed: Tensor

    @classmethod
    def of(cls, name: str, members: Sequence[Member]) -> Row:
        """Of runs, at their own thresholds.

        Raises:
            ValueError: two of them have the same seed, so that one would count twice; names both.
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
        return cls(name, runs, seeds, scores, scores.columns())

    def means(self) -> dict[str, float]:
        """Column -> mean over seeds."""
        return over_seeds(self.by_seed)[0]

    def deviations(self) -> dict[str, float] | None:
        """Column -> standard deviation (n - 1) over the seeds that have a value, NaN with one; None with one seed."""
        return over_seeds(self.by_seed)[1]


@dataclass(frozen=True)
class Pair:
    """The difference of two rows, under a name that says which less which; `treated` names the first."""

    name: str
    treated: str
    difference: Difference

    @classmethod
    def of(cls, treated: Row, control: Row) -> Pair:
        """`treated` less `control`."""
        difference = paired_difference(treated.scores, control.scores)
        return cls(f"{treated.name} less {control.name}", treated.name, difference)


def with_spread(mean: float, deviation: float | None) -> str:
    """A percentage as a text, with its deviation where it has one; "-" where it has no value."""
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" + ("" if deviation is None or math.isnan(deviation) else f" ± {deviation:.1f}")


def shown_difference(difference: Difference) -> dict[str, str]:
    """Column -> value and interval in points as a text.

    One star where the interval leaves out 0; two where the difference stays significant with all columns looked at.
    """
    shown = {}
    for column, survives in zip(ALL_KEYS, holm(difference.p.tolist()), strict=True):
        value, low, high = difference.at(column)
        if math.isnan(value):
            shown[column] = "-"
        elif math.isnan(low):
            shown[column] = f"{value:+.1f}"
        else:
            stars = "**" if survives else "*" if low > 0 or high < 0 else ""
            shown[column] = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{stars}"
    return shown
