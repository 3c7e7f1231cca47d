"""The training signal of an Anchor: which loss term trains which of its submodules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SubmoduleSignal:
    """What reaches one submodule.

    Args:
        path: of the submodule, as in `named_modules`; "(own)" behind a path, for parameters of no submodule of it.
        parameters: how many numbers it has to train.
        shares: loss term -> the share of these numbers whose tensor gets a non-zero gradient, in [0,1].
    """

    path: str
    parameters: int
    shares: Mapping[str, float]


@dataclass(frozen=True)
class TrainingSignal:
    """Which loss term trains which submodule of an Anchor; `print` it to read a table.

    Args:
        network: class name of the Anchor.
        terms: names of the loss terms, those of labels first.
        submodules: one row each.
    """

    network: str
    terms: tuple[str, ...]
    submodules: tuple[SubmoduleSignal, ...]

    def share(self, path: str, term: str) -> float:
        """The share of a submodule's parameters that a term trains, in [0,1].

        Args:
            path: of the submodule, as in `submodules`.
            term: name of a loss term.

        Returns:
            Share of its numbers, in [0,1].

        Raises:
            KeyError: no such submodule or term.
        """
        return {row.path: row.shares for row in self.submodules}[path][term]

    def __str__(self) -> str:
        title = f"{self.network}: share of a submodule's parameters that get a gradient from each loss term"
        rows = [["submodule", "parameters", *self.terms]]
        for row in self.submodules:
            cells = [_cell(row.shares[term]) for term in self.terms]
            rows.append([row.path, f"{row.parameters:,}", *cells])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row_ in rows:
            first, *others = row_
            cells = [first.ljust(widths[0]), *(x.rjust(width) for x, width in zip(others, widths[1:], strict=True))]
            lines.append("  ".join(cells).rstrip())
        return "\n".join([title, "", *lines])


def _cell(share: float) -> str:
    """A share in percent: 100 only for the whole, a dash for none."""
    if share == 0:
        return "-"
    return "100%" if share == 1 else f"{min(99, max(1, round(100 * share)))}%"
