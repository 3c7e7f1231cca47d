"""A leaderboard: all systems in one table, sorted by a column, beside trivial parsers and published scores."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from coleaf_framework.metrics import SUPPORT
from coleaf_framework.results.columns import require_column
from coleaf_framework.results.cost import Cost
from coleaf_framework.results.published import SOURCES, PublishedScores
from coleaf_framework.results.rows import Pair, Row, format_difference
from coleaf_framework.results.tables import SHORT, heads_of, legend_of, plain_table

Interval = tuple[float, float]
Kind = Literal["run", "trivial", "published"]
COST_HEADS = ("parameters", "GFLOPs", "ms")
GAIN = "less alone"


@dataclass(frozen=True)
class Standing:
    """One row of a leaderboard.

    Args:
        name: of the system, and how it was trained.
        kind: "run", "trivial" for a trivial parser, or "published".
        scores: column -> percent, the mean over seeds; unknown ones are absent.
        intervals: column -> 95 % interval over videos and seeds; empty for a trivial parser and published scores.
        seeds: number of seeds; 0 where nothing was trained.
        gain: the paired difference of a system in CoLeaF less the same alone; None where there is no such pair.
        cost: of its inference; None where it was not measured.
    """

    name: str
    kind: Kind
    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    seeds: int = 0
    gain: Pair | None = None
    cost: Cost | None = None

    @classmethod
    def of(cls, row: Row, gain: Pair | None, cost: Cost | None) -> Standing:
        """The standing of a row of runs."""
        return cls(row.name, "run", row.means(), row.intervals(), len(row.seeds), gain, cost)


@dataclass(frozen=True)
class Leaderboard:
    """Systems, trivial parsers and published scores; `board.table()` shows them.

    Args:
        where: data set, split and number of videos.
        column: that the table is sorted by.
        columns: those that exist for the ground truth.
        standings: runs and trivial parsers, the best in `column` first.
        published: the best first.
        comparable: whether the published scores are on the videos that are scored here.
        costs: what the costs were measured on; None where they were not.
        notes: the caveats.
    """

    where: str
    column: str
    columns: tuple[str, ...]
    standings: tuple[Standing, ...]
    published: tuple[Standing, ...]
    comparable: bool
    costs: str | None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Standing, ...]:
        """All rows in the order of the table."""
        return (*self.standings, *self.published)

    @property
    def title(self) -> str:
        """Heading of the table."""
        return f"Systems on {self.where}, by {self.column}, F-scores in percent"

    def heads(self) -> list[str]:
        """Headings of the columns."""
        shown = [SHORT.get(head, head) for head in heads_of(self.columns)]
        return ["", "score", "95 % interval", GAIN, *shown, *(COST_HEADS if self.costs is not None else ())]

    def cells(self, level: str) -> list[tuple[list[str], Kind]]:
        """The rows as text, with their kinds.

        Args:
            level: "segment" or "event", whose published columns are shown.
        """
        columns = [f"{level}/{head}" for head in heads_of(self.columns)]
        return [(self._cells_of(standing, columns), standing.kind) for standing in self.rows]

    def _cells_of(self, x: Standing, columns: Sequence[str]) -> list[str]:
        interval = x.intervals.get(self.column, (math.nan, math.nan))
        known = not math.isnan(interval[0])
        cells = [
            f"{x.name} ({x.seeds} seed{'s' if x.seeds > 1 else ''})" if x.seeds else x.name,
            _percent(x.scores.get(self.column)),
            f"[{interval[0]:.1f}, {interval[1]:.1f}]" if known else "",
            format_difference(x.gain)[self.column] if x.gain is not None else "",
            *(_percent(x.scores.get(column)) for column in columns),
        ]
        if self.costs is None:
            return cells
        return [*cells, *(x.cost.cells() if x.cost is not None else [""] * len(COST_HEADS))]

    @property
    def level(self) -> str:
        """The level of the column that the table is sorted by."""
        return self.column.removeprefix(SUPPORT).partition("/")[0]

    def legend(self) -> list[str]:
        """The sentences that explain the table."""
        sentences = [
            f"The score is {self.column}, the mean over seeds; the columns after it are over all videos. "
            f"{legend_of(self.columns)}",
            "Intervals are over videos and seeds (over videos only, where there is one seed). Two rows whose intervals "
            f'overlap may still differ: "{GAIN}" is the paired difference of the score to that of the same system '
            "alone, in percentage points, with its own interval; * where that excludes 0, ** where the difference is "
            "significant after Holm's correction for all columns of the pair.",
        ]
        if self.costs is not None:
            sentences.append(
                f"Costs are of inference, the same in CoLeaF as alone: GFLOPs and ms a video, {self.costs}."
            )
        if self.published:
            sentences.append(self.about_published())
        return sentences

    def about_published(self) -> str:
        """What the published rows are, and whether they can be compared to the others."""
        sources = "; ".join(
            f"[{key}] {SOURCES[key]}" for key in SOURCES if any(f"[{key}]" in x.name for x in self.published)
        )
        if self.comparable:
            how = "on LLP's test split, as the scores above; features, seeds and decision rules may differ"
        else:
            how = f"on LLP's test split, so NOT COMPARABLE to the scores above, which are on {self.where}"
        return f"PUBLISHED rows are printed numbers {how}. Sources: {sources}."

    @property
    def conclusion(self) -> str:
        """One sentence on the best system and the trivial parsers."""
        runs = [x for x in self.standings if x.kind == "run"]
        best = runs[0]
        low, high = best.intervals.get(self.column, (math.nan, math.nan))
        interval = "" if math.isnan(low) else f" (95 % interval {low:.1f} to {high:.1f})"
        baseline = max(
            (x for x in self.standings if x.kind == "trivial"), key=lambda x: -_descending(x.scores[self.column])
        )
        below = [x.name for x in runs if _descending(x.scores[self.column]) > _descending(baseline.scores[self.column])]
        worse = f"{len(below)} of {len(runs)} systems" if below else "no system"
        score = f"{_percent(best.scores[self.column])}{interval}"
        return (
            f"Highest in {self.column} on {self.where}: {best.name} with {score}; "
            f"{worse} below the {baseline.name}, with {_percent(baseline.scores[self.column])}."
        )

    def table(self, *, markdown: bool = False) -> str:
        """The table with its legend and notes, as text."""
        body = [cells for cells, _ in self.cells(self.level)]
        table = plain_table(self.heads(), body, f"{self.title}; {self.level}-level columns", markdown=markdown)
        return "\n\n".join([table, *self.legend(), *(f"NOTE: {note}" for note in self.notes), self.conclusion])

    def as_csv(self) -> str:
        """CSV with one line per row and all columns.

        The line has kind, system, seeds, parameters, gflops and milliseconds; then COLUMN, "COLUMN low" and
        "COLUMN high" of each; then "gain", "gain low" and "gain high" in the column that the table is sorted by.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = [head for column in self.columns for head in (column, f"{column} low", f"{column} high")]
        gains = [f"gain{end} in {self.column}" for end in ("", " low", " high")]
        writer.writerow(["kind", "system", "seeds", "parameters", "gflops", "milliseconds", *heads, *gains])
        for x in self.rows:
            cost = (
                [f"{x.cost.parameters}", f"{x.cost.gflops:.6f}", f"{x.cost.milliseconds:.4f}"] if x.cost else [""] * 3
            )
            numbers = [
                _number(number)
                for column in self.columns
                for number in (x.scores.get(column), *x.intervals.get(column, (None, None)))
            ]
            gain = [_number(y) for y in x.gain.difference.at(self.column)] if x.gain is not None else [""] * 3
            writer.writerow([x.kind, x.name, x.seeds or "", *cost, *numbers, *gain])
        for note in (*([self.about_published()] if self.published else []), *self.notes):
            writer.writerow(["NOTE", note])
        return text.getvalue()


def make_leaderboard(
    standings: Sequence[Standing],
    published: Sequence[PublishedScores],
    column: str,
    columns: tuple[str, ...],
    where: str,
    *,
    comparable: bool,
    costs: str | None,
    notes: Sequence[str] = (),
) -> Leaderboard:
    """Sort rows into a leaderboard.

    Args:
        standings: runs and trivial parsers, in any order.
        published: sorted by the same column, or by its version over all videos where it is support-only; systems
            without the paper's new metrics come last, by the older one.
        column: to sort by, the highest first; what has no value comes last.
        columns: those that exist for the ground truth.
        where, comparable, costs, notes: as in `Leaderboard`.

    Raises:
        ValueError: no column has this name.
    """
    require_column(column, "--sort")
    over_all = column.removeprefix(SUPPORT)
    older = over_all.removesuffix("o")  # of Ao A, of Type@AVo Type@AV: for systems without the new metrics
    shown = [Standing(x.name, "published", x.scores, {}) for x in published]
    return Leaderboard(
        where,
        column,
        columns,
        tuple(sorted(standings, key=lambda x: _descending(x.scores.get(column)))),
        tuple(sorted(shown, key=lambda x: (_descending(x.scores.get(over_all)), _descending(x.scores.get(older))))),
        comparable,
        costs,
        tuple(notes),
    )


def _descending(score: float | None) -> float:
    return math.inf if score is None or math.isnan(score) else -score


def _percent(score: float | None) -> str:
    return "-" if score is None or math.isnan(score) else f"{score:.1f}"


def _number(score: float | None) -> str:
    return "" if score is None or math.isnan(score) else f"{score:.4f}"
