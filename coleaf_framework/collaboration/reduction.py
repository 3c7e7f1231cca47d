"""How a loss term is reduced over videos, which decides how the terms of a micro-batch are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class Reduction(Enum):
    """How the losses of single videos are reduced to a term."""

    MEAN = "mean over videos"
    SUM = "sum over videos"
    SUM_TIMES_VIDEOS = "sum over videos times their number"

    def factor(self, fraction: float) -> float:
        """What a micro-batch's term is multiplied by, so that those of all micro-batches add up to the step's.

        Args:
            fraction: the micro-batch's share of its step's videos, in [0,1]; 0 for a placeholder on a rank without
                videos, whose terms count nothing.

        Returns:
            At least 0: `fraction` for a mean, 1 for a sum, and otherwise 1 / `fraction`; 0 for a placeholder.
        """
        if fraction == 0.0 or self is Reduction.MEAN:
            return fraction
        return 1.0 if self is Reduction.SUM else 1.0 / fraction


@dataclass(frozen=True)
class Term:
    """A weighted loss term of a batch.

    Args:
        value: scalar.
        reduction: over the batch's videos.
    """

    value: Tensor
    reduction: Reduction = Reduction.MEAN


def scaled_by_fraction(terms: Mapping[str, Term], fraction: float) -> dict[str, Tensor]:
    """The terms of a micro-batch, scaled so that those of all micro-batches add up to the undivided step's.

    Args:
        terms: by name.
        fraction: see `Batch.fraction`.

    Returns:
        The same names -> scalar.
    """
    if fraction == 1.0:
        return {name: term.value for name, term in terms.items()}
    return {name: term.reduction.factor(fraction) * term.value for name, term in terms.items()}
