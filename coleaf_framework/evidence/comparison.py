"""What a grid's runs say: means and deviations over seeds, paired differences, and what can be concluded."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from coleaf_framework._config import nearest
from coleaf_framework.evidence.grid import Cell, Grid, Variant
from coleaf_framework.evidence.paper import PAPER_COLUMNS
from coleaf_framework.metrics import ALL_KEYS, SUPPORT, all_scores
from coleaf_framework.metrics.bootstrap import Difference, VideoScores, paired_difference
from coleaf_framework.report.tables import LEGEND, plain_table, score_table
from coleaf_framework.storage import to_json
from coleaf_framework.training.outputs import RunOutputs, require_same_videos

PRIMARY = f"{SUPPORT}segment/Type@AVo"
"""The column of the conclusion: the mean of Ao, Vo and AV over videos that have such events or a prediction of them."""
_FEW_SEEDS = 3


@dataclass(frozen=True)
class Row:
    """One way to train an Anchor, over its seeds.

    Args:
        name: in the table. anchor, variant: which.
        scores: of each video. by_seed: (S,36) in percent.
        runs: names of its cells.
    """

    name: str
    anchor: str
    variant: Variant
    scores: VideoScores
    by_seed: Tensor
    runs: tuple[str, ...]

    def means(self) -> dict[str, float]:
        """Column -> mean over seeds."""
        return dict(zip(ALL_KEYS, self.by_seed.nanmean(0).tolist(), strict=True))

    def deviations(self) -> dict[str, float] | None:
        """Column -> standard deviation over seeds (n - 1); None with one seed."""
        if len(self.by_seed) < 2:
            return None
        return dict(zip(ALL_KEYS, self.by_seed.std(0).tolist(), strict=True))


@dataclass(frozen=True)
class Pair:
    """Two rows of one Anchor, and the first less the second."""

    treated: Row
    control: Row
    difference: Difference

    @property
    def name(self) -> str:
        """Its row in the table."""
        return f"{self.treated.name} less {self.control.variant.label}"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        grid: the runs.
        title: what was scored.
        rows, pairs: see there.
        trivial: name -> column -> percent, of the trivial parsers.
        conclusion: one sentence.
    """

    grid: Grid
    title: str
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    trivial: Mapping[str, Mapping[str, float]]
    conclusion: str

    def table(self, *, markdown: bool = False) -> str:
        """Scores, differences, the paper's numbers and the conclusion."""
        rows: dict[str, Mapping[str, float | str]] = {row.name: row.means() for row in self.rows}
        rows |= self.trivial
        rows |= {pair.name: _shown(pair.difference) for pair in self.pairs}
        deviations = {row.name: spread for row in self.rows if (spread := row.deviations()) is not None}
        parts = [score_table(rows, self.title, deviations, markdown=markdown, legend=False), LEGEND + " " + _LESS]
        if self.grid.study.paper is not None:
            parts.append(self._beside_the_paper(markdown))
        return "\n\n".join([*parts, *(f"NOTE: {note}" for note in self.grid.notes), self.conclusion])

    def _beside_the_paper(self, markdown: bool) -> str:
        table = self.grid.study.paper
        assert table is not None
        body = [[row.name, *(f"{row.means()[column]:.1f}" for column in PAPER_COLUMNS)] for row in self.rows]
        labels = {variant.name: variant.label for variant in self.grid.study.variants}
        body += [
            [f"PAPER, LLP test: {anchor} {labels[variant]}", *(f"{value:.1f}" for value in values)]
            for (anchor, variant), values in table.rows.items()
        ]
        title = f"Beside Table {table.number} of the paper, whose numbers are on LLP's test split"
        return plain_table(["published columns", *PAPER_COLUMNS], body, title, markdown=markdown)

    def as_json(self) -> str:
        """Everything, for programs."""
        content: dict[str, Any] = {
            "study": self.grid.study.name,
            "title": self.title,
            "split": self.grid.split,
            "rows": {
                row.name: {"mean": row.means(), "deviation": row.deviations(), "runs": list(row.runs)}
                for row in self.rows
            },
            "by_run": {
                run: dict(zip(ALL_KEYS, values, strict=True))
                for row in self.rows
                for run, values in zip(row.runs, row.by_seed.tolist(), strict=True)
            },
            "trivial": self.trivial,
            "differences": {
                pair.name: {
                    c: dict(zip(("value", "low", "high"), pair.difference.at(c), strict=True)) for c in ALL_KEYS
                }
                for pair in self.pairs
            },
            "notes": list(self.grid.notes),
            "conclusion": self.conclusion,
        }
        return to_json(content, indent=1)

    def as_csv(self) -> str:
        """One line per row and column: row, column, value, deviation, low, high, seeds."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "column", "value", "deviation", "low", "high", "seeds"])
        for row in self.rows:
            spread = row.deviations() or {}
            for column, value in row.means().items():
                writer.writerow([row.name, column, *_plain(value, spread.get(column), None, None), len(row.by_seed)])
        for name, scores in self.trivial.items():
            for column, value in scores.items():
                writer.writerow([name, column, *_plain(value, None, None, None), ""])
        for pair in self.pairs:
            for column in ALL_KEYS:
                value, low, high = pair.difference.at(column)
                writer.writerow([pair.name, column, *_plain(value, None, low, high), pair.difference.seeds])
        return text.getvalue()


_LESS = (
    "Rows with 'less' are paired differences in points, with the 95 % bootstrap interval over videos and seeds in "
    "brackets; one that leaves out 0 is marked *, unadjusted for how many are looked at."
)


def _plain(*values: float | None) -> list[str]:
    return ["" if x is None or math.isnan(x) else f"{x:.4f}" for x in values]


def _shown(difference: Difference) -> dict[str, str]:
    shown = {}
    for column in ALL_KEYS:
        value, low, high = difference.at(column)
        text = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{'*' if low > 0 or high < 0 else ''}"
        shown[column] = "-" if math.isnan(value) else text
    return shown


def row_name(outputs: RunOutputs, variant: Variant) -> str:
    """What tables call an Anchor trained in some way."""
    return f"{outputs.parser.removesuffix(' in CoLeaF')} {variant.label}"


def gather(grid: Grid) -> list[tuple[str, Variant, list[tuple[Cell, RunOutputs]]]]:
    """A grid's finished cells: Anchor, variant, and a cell with its answers per seed.

    Raises:
        FileNotFoundError: a cell is not done.
        ValueError: the cells' videos differ.
    """
    rows = []
    every = []
    for anchor in grid.anchors:
        for variant in grid.study.variants:
            members = [(c, grid.outputs(c)) for c in grid.cells if c.anchor == anchor and c.variant == variant]
            if members:
                rows.append((anchor, variant, members))
                every += [(cell.name, outputs) for cell, outputs in members]
    require_same_videos(every)
    return rows


def compare(grid: Grid, column: str = PRIMARY) -> Comparison:
    """Score a finished grid.

    Args:
        grid: all of whose cells are done.
        column: of the concluding sentence.

    Raises:
        ValueError: no such column; or as `gather` does.
    """
    if column not in ALL_KEYS:
        raise ValueError(f"--column {column!r}: no such column.{nearest(column, ALL_KEYS)}")
    rows = []
    for anchor, variant, members in gather(grid):
        outputs = members[0][1]
        scores = VideoScores.of([each.decided() for _, each in members], outputs.truth)
        rows.append(
            Row(
                row_name(outputs, variant),
                anchor,
                variant,
                scores,
                scores.columns(),
                tuple(cell.name for cell, _ in members),
            )
        )
    found = {(row.anchor, row.variant.name): row for row in rows}
    pairs = []
    for anchor in grid.anchors:
        for treated, control in grid.study.pairs:
            if (anchor, treated) in found and (anchor, control) in found:
                one, other = found[anchor, treated], found[anchor, control]
                pairs.append(Pair(one, other, paired_difference(one.scores, other.scores)))
    trivial = {name: all_scores(decided, outputs.truth) for name, decided in outputs.trivial().items()}
    where = f"{outputs.data} {outputs.split}, {len(outputs.ids)} videos"
    title = f"{grid.study.question}: {where}, F-scores in percent"
    if grid.seeds > 1:
        title += f", mean ± standard deviation over {grid.seeds} seeds"
    return Comparison(grid, title, tuple(rows), tuple(pairs), trivial, _conclude(pairs, column, where, trivial, rows))


def _conclude(
    pairs: Sequence[Pair],
    column: str,
    where: str,
    trivial: Mapping[str, Mapping[str, float]],
    rows: Sequence[Row],
) -> str:
    found = []
    for pair in pairs:
        value, low, high = pair.difference.at(column)
        if math.isnan(value):
            verdict = "no value"
        elif low > 0 or high < 0:
            verdict = f"{value:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), more than chance would explain"
        else:
            verdict = f"{value:+.1f} points ({low:+.1f} to {high:+.1f}), which chance may explain"
        found.append(f"{pair.name}: {verdict}")
    seeds = len(rows[0].by_seed)
    doubt = "an interval over these videos and seeds says nothing of other data"
    if seeds < _FEW_SEEDS:
        doubt = f"{seeds} seed{'s say' if seeds > 1 else ' says'} little of other seeds, and " + doubt
    empty = trivial["empty parser"][column]
    below = [row.name for row in rows if row.means()[column] < empty]
    floor = f"; the empty parser, with {empty:.1f}, is above {', '.join(below)}" if below else ""
    return f"Conclusion, in {column} on {where}: {'; '.join(found)}{floor}; {doubt}."
