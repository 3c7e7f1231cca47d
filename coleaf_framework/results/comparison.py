"""Comparison of runs: means and deviations over seeds, paired differences with intervals, and a conclusion."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coleaf_framework._text import one_line
from coleaf_framework.metrics import SUPPORT
from coleaf_framework.results.caveats import merge_caveats
from coleaf_framework.results.columns import primary_column
from coleaf_framework.results.paper import PAPER_COLUMNS
from coleaf_framework.results.predictions import Predictions, require_same_videos
from coleaf_framework.results.rows import Member, Pair, Row, format_difference, with_deviation
from coleaf_framework.results.tables import legend_of, plain_table, score_table
from coleaf_framework.storage import to_json, write_text

_FEW_SEEDS = 3
LESS = (
    '"X less Y" is the score of X minus that of Y, in percentage points, with the 95 % interval over videos and seeds '
    "in brackets (over videos only, where there is one seed). * marks an interval that excludes 0, ** a "
    "difference that is significant after Holm's correction for all columns of the pair."
)


@dataclass(frozen=True)
class Comparison:
    """Scores of several rows, their paired differences and the trivial parsers, on the same videos.

    Args:
        title: heading of the table.
        rows: one per network and way to train it.
        pairs: the differences of rows.
        trivial: name of a trivial parser -> column -> percent.
        conclusion: one sentence.
        column: the column that the conclusion is about.
        paper: the paper's numbers: name of a row -> the columns of `PAPER_COLUMNS`.
        notes: the caveats.
    """

    title: str
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    trivial: Mapping[str, Mapping[str, float]]
    conclusion: str
    column: str
    paper: Mapping[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that exist for the ground truth."""
        return self.rows[0].columns

    def cells(self) -> list[tuple[str, dict[str, str], str]]:
        """Formatted rows: name, column -> text, and the kind of row ("run", "trivial" or "difference")."""
        cells = []
        for row in self.rows:
            deviations = row.deviations() or {}
            cells.append((row.name, {c: with_deviation(x, deviations.get(c)) for c, x in row.means().items()}, "run"))
        for name, scores in self.trivial.items():
            cells.append((name, {c: with_deviation(x, None) for c, x in scores.items()}, "trivial"))
        return [*cells, *((pair.name, format_difference(pair), "difference") for pair in self.pairs)]

    def table(self, *, markdown: bool = False) -> str:
        """The tables of scores, differences and the paper's numbers, and the conclusion, as one text."""
        rows = {name: texts for name, texts, kind in self.cells() if kind != "difference"}
        parts = [score_table(rows, self.title, markdown=markdown, legend=False), legend_of(self.columns)]
        if self.pairs:
            parts += [self._differences(markdown), LESS]
        parts.append(self._in_short(markdown))
        return "\n\n".join([*parts, *(f"NOTE: {note}" for note in self.notes), self.conclusion])

    def brief(self, columns: Sequence[str], *, markdown: bool = False) -> str:
        """A table of a few columns of every row and difference."""
        body = [[name, *(texts[column] for column in columns)] for name, texts, _ in self.cells()]
        return plain_table(["", *columns], body, self.title, markdown=markdown)

    def _differences(self, markdown: bool) -> str:
        """The differences, one line per column, since the lines of a terminal are short."""
        texts = [format_difference(pair) for pair in self.pairs]
        names = [pair.name.replace(" less ", " less " if markdown else "\nless ") for pair in self.pairs]
        body = [[column, *(by_column[column] for by_column in texts)] for column in self.columns]
        return plain_table(["", *names], body, "Paired differences", markdown=markdown)

    def _in_short(self, markdown: bool) -> str:
        """A table of the columns of the paper's Tables 2 to 5 and of the conclusion, with the paper's numbers below."""
        differences = {pair.treated: format_difference(pair)[self.column] for pair in self.pairs}
        columns = [column for column in PAPER_COLUMNS if column in self.columns]
        body = [
            [name, *(texts[c].split(" ±")[0] for c in columns), texts[self.column], differences.get(name, "")]
            for name, texts, kind in self.cells()
            if kind != "difference"
        ]
        body += [[name, *(f"{value:.1f}" for value in values), "", ""] for name, values in self.paper.items()]
        title = "In short" + (", with the paper's own numbers, which are on LLP's test split" if self.paper else "")
        return plain_table(["", *columns, self.column, "its difference"], body, title, markdown=markdown)

    def as_json(self) -> str:
        """All rows, runs and differences as JSON."""
        content: dict[str, Any] = {"title": self.title, "rows": {}, "by_run": {}, "trivial": self.trivial}
        for row in self.rows:
            content["rows"][row.name] = {"mean": row.means(), "deviation": row.deviations(), "runs": row.runs}
            content["by_run"] |= row.by_run()
        content["differences"] = {
            pair.name: {
                column: dict(zip(("value", "low", "high"), pair.difference.at(column), strict=True))
                for column in pair.columns
            }
            for pair in self.pairs
        }
        content |= {"notes": self.notes, "conclusion": self.conclusion}
        return to_json(content, indent=1)

    def as_csv(self) -> str:
        """CSV: one line per row and column (row, column, value, deviation, low, high, seeds), and one per note."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "column", "value", "deviation", "low", "high", "seeds"])
        for row in self.rows:
            deviations = row.deviations() or {}
            for column, value in row.means().items():
                numbers = _formatted(value, deviations.get(column), None, None)
                writer.writerow([row.name, column, *numbers, len(row.by_seed)])
        for name, scores in self.trivial.items():
            for column, value in scores.items():
                writer.writerow([name, column, *_formatted(value, None, None, None), ""])
        for pair in self.pairs:
            for column in pair.columns:
                value, low, high = pair.difference.at(column)
                writer.writerow([pair.name, column, *_formatted(value, None, low, high), pair.difference.seeds])
        for note in self.notes:
            writer.writerow(["NOTE", note, "", "", "", "", ""])
        return text.getvalue()

    def write(self, stem: Path) -> None:
        """Write `stem` with the endings .md, .csv and .json, each atomically."""
        for ending, text in (
            ("md", self.table(markdown=True) + "\n"),
            ("csv", self.as_csv()),
            ("json", self.as_json()),
        ):
            write_text(stem.with_name(f"{stem.name}.{ending}"), text)


def _formatted(*values: float | None) -> list[str]:
    return ["" if x is None or math.isnan(x) else f"{x:.4f}" for x in values]


def compare_runs(question: str, groups: Mapping[str, Sequence[Member]]) -> Comparison:
    """Compare runs from their predictions.

    A row "X in CoLeaF" is compared to the row "X" if there is one, and every other row to the first one. Two rows are
    only compared if they have the same seeds.

    Args:
        question: heading of the table.
        groups: name of a row -> its runs, all on the same videos.

    Raises:
        ValueError: as `require_same_videos` and `Row.of` do.
    """
    require_same_videos([(member.run, member.predictions) for members in groups.values() for member in members])
    rows = {name: Row.of(name, members) for name, members in groups.items()}
    first, pairs = next(iter(rows)), []
    notes = list(
        merge_caveats({member.run: member.predictions.caveats for members in groups.values() for member in members})
    )
    for name, row in rows.items():
        alone = name.removesuffix(" in CoLeaF")
        control = alone if alone != name and alone in rows else first
        if control == name:
            continue
        if row.seeds == rows[control].seeds:
            pairs.append(Pair.of(row, rows[control]))
        else:
            seeds = [",".join(map(str, each.seeds)) for each in (row, rows[control])]
            notes.append(f"{name} has the seeds {seeds[0]} and {control} {seeds[1]}, so they are not paired")
    predictions = next(iter(groups.values()))[0].predictions
    column = primary_column(predictions.truth_kind)
    return compare_rows(question, list(rows.values()), pairs, predictions, column, {}, tuple(notes))


def compare_rows(
    question: str,
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    predictions: Predictions,
    column: str,
    paper: Mapping[str, tuple[float, ...]],
    notes: tuple[str, ...],
) -> Comparison:
    """A comparison of rows on the same videos, with the trivial parsers and a concluding sentence.

    Args:
        question: heading of the table.
        rows: at least one.
        pairs: differences of these rows.
        predictions: of any of the runs, for the videos and their ground truth.
        column: the column that the conclusion is about.
        paper: name of a row of the paper -> the columns of `PAPER_COLUMNS`.
        notes: the caveats.
    """
    trivial = predictions.trivial_scores()
    where = one_line(f"{predictions.data} {predictions.split}, {len(predictions.ids)} videos")
    title = f"{question}: {where}, F-scores in percent"
    if any(len(row.runs) > 1 for row in rows):
        title += f", mean ± standard deviation over {max(len(row.runs) for row in rows)} seeds"
    conclusion = _conclude(rows, pairs, column, where, trivial)
    return Comparison(title, tuple(rows), tuple(pairs), trivial, conclusion, column, paper, notes)


def _conclude(
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    column: str,
    where: str,
    trivial: Mapping[str, Mapping[str, float]],
) -> str:
    findings = []
    for pair in pairs:
        value, low, high = pair.difference.at(column)
        chance = "chance" if pair.difference.seeds > 1 else "the choice of videos"
        if math.isnan(value):
            verdict = "no value"
        elif math.isnan(low):
            verdict = f"{value:+.1f} points, without an interval, since some seed or too few videos have such events"
        elif low > 0 or high < 0:
            verdict = f"{value:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), more than {chance} would explain"
        else:
            verdict = f"{value:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), which {chance} may explain"
        findings.append(f"{pair.name}: {verdict}")
    if not pairs:
        findings = [f"{row.name} has {row.means()[column]:.1f}, with nothing to compare it to" for row in rows]
    seeds = min(len(row.runs) for row in rows)
    doubt = "an interval over these videos and seeds says nothing of other data"
    if seeds < _FEW_SEEDS:
        doubt = f"{seeds} seed{'s say' if seeds > 1 else ' says'} little of other seeds, and " + doubt
    published = column.removeprefix(SUPPORT)
    empty = trivial["empty parser"][published]
    below = [row.name for row in rows if row.means()[published] < empty]
    which = "every row" if len(below) == len(rows) else f"{len(below)} of {len(rows)} rows"
    empty_note = f"; in {published} the empty parser, with {empty:.1f}, is above {which}" if below else ""
    return f"Conclusion, in {column} on {where}: {'; '.join(findings)}{empty_note}; {doubt}."
