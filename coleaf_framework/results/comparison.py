"""What runs say together: means and deviations over seeds, paired differences, and what can be concluded."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coleaf_framework._config import nearest
from coleaf_framework._text import one_line
from coleaf_framework.metrics import ALL_KEYS, SUPPORT, all_scores
from coleaf_framework.results.caveats import together
from coleaf_framework.results.paper import PAPER_COLUMNS
from coleaf_framework.results.predictions import Predictions, require_same_videos
from coleaf_framework.results.rows import Member, Pair, Row, shown_difference, with_spread
from coleaf_framework.results.tables import LEGEND, plain_table, score_table
from coleaf_framework.storage import to_json, write_text

PRIMARY = f"{SUPPORT}segment/Type@AVo"
"""The column of the conclusion: the mean of Ao, Vo and AV over videos that have such events or a prediction of them."""
_FEW_SEEDS = 3
LESS = (
    "One row less another, in points, with the 95 % interval over videos and seeds in brackets (over videos alone, "
    "where there is one seed); one that leaves out 0 is marked *, and ** where it does so when all columns of the pair "
    "are looked at (Holm)."
)


@dataclass(frozen=True)
class Comparison:
    """Rows, their differences and the trivial parsers, on the same videos.

    Args:
        title: what was scored.
        rows, pairs: see there.
        trivial: name -> column -> percent, of the trivial parsers.
        conclusion: one sentence. column: that it is about.
        paper: what stands beside it of the paper: name of a row -> the columns of `PAPER_COLUMNS`.
        notes: what must be said too.
    """

    title: str
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    trivial: Mapping[str, Mapping[str, float]]
    conclusion: str
    column: str
    paper: Mapping[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()

    def cells(self) -> list[tuple[str, dict[str, str], str]]:
        """Every row as texts: name, column -> text, and "run", "trivial" or "difference"."""
        found = []
        for row in self.rows:
            spread = row.deviations() or {}
            found.append((row.name, {c: with_spread(x, spread.get(c)) for c, x in row.means().items()}, "run"))
        for name, scores in self.trivial.items():
            found.append((name, {c: with_spread(x, None) for c, x in scores.items()}, "trivial"))
        return [*found, *((pair.name, shown_difference(pair.difference), "difference") for pair in self.pairs)]

    def table(self, *, markdown: bool = False) -> str:
        """Scores, differences, the paper's numbers and the conclusion."""
        rows = {name: texts for name, texts, kind in self.cells() if kind != "difference"}
        parts = [score_table(rows, self.title, markdown=markdown, legend=False), LEGEND]
        if self.pairs:
            parts += [self._differences(markdown), LESS]
        parts.append(self._in_short(markdown))
        return "\n\n".join([*parts, *(f"NOTE: {note}" for note in self.notes), self.conclusion])

    def brief(self, columns: Sequence[str], *, markdown: bool = False) -> str:
        """A few columns of every row and difference."""
        body = [[name, *(texts[column] for column in columns)] for name, texts, _ in self.cells()]
        return plain_table(["", *columns], body, self.title, markdown=markdown)

    def _differences(self, markdown: bool) -> str:
        """A line for each column, since a terminal has more lines than room in one."""
        shown = [shown_difference(pair.difference) for pair in self.pairs]
        names = [pair.name.replace(" less ", " less " if markdown else "\nless ") for pair in self.pairs]
        body = [[column, *(each[column] for each in shown)] for column in ALL_KEYS]
        return plain_table(["", *names], body, "Paired differences", markdown=markdown)

    def _in_short(self, markdown: bool) -> str:
        """The columns of the paper's Tables 2 to 5 and of the conclusion; below, the paper's own numbers."""
        differences = {pair.treated: shown_difference(pair.difference)[self.column] for pair in self.pairs}
        body = [
            [name, *(texts[c].split(" ±")[0] for c in PAPER_COLUMNS), texts[self.column], differences.get(name, "")]
            for name, texts, kind in self.cells()
            if kind != "difference"
        ]
        body += [[name, *(f"{value:.1f}" for value in values), "", ""] for name, values in self.paper.items()]
        title = "In short" + (", with the paper's own numbers, which are on LLP's test split" if self.paper else "")
        return plain_table(["", *PAPER_COLUMNS, self.column, "its difference"], body, title, markdown=markdown)

    def as_json(self) -> str:
        """Everything, for programs."""
        content: dict[str, Any] = {"title": self.title, "rows": {}, "by_run": {}, "trivial": self.trivial}
        for row in self.rows:
            content["rows"][row.name] = {"mean": row.means(), "deviation": row.deviations(), "runs": row.runs}
            for run, values in zip(row.runs, row.by_seed.tolist(), strict=True):
                content["by_run"][run] = dict(zip(ALL_KEYS, values, strict=True))
        content["differences"] = {
            pair.name: {
                column: dict(zip(("value", "low", "high"), pair.difference.at(column), strict=True))
                for column in ALL_KEYS
            }
            for pair in self.pairs
        }
        content |= {"notes": self.notes, "conclusion": self.conclusion}
        return to_json(content, indent=1)

    def as_csv(self) -> str:
        """One line per row and column: row, column, value, deviation, low, high, seeds; and one per note."""
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


def _plain(*values: float | None) -> list[str]:
    return ["" if x is None or math.isnan(x) else f"{x:.4f}" for x in values]


def compare_runs(question: str, groups: Mapping[str, Sequence[Member]]) -> Comparison:
    """Score runs that are at hand.

    A row "X in CoLeaF" is compared to the row "X" if there is one, each other row to the first, where the two have the
    same seeds.

    Args:
        question: heads the table.
        groups: name of a row -> its runs, all on the same videos.

    Raises:
        ValueError: as `require_same_videos` and `Row.of` do.
    """
    require_same_videos([(member.run, member.predictions) for members in groups.values() for member in members])
    rows = {name: Row.of(name, members) for name, members in groups.items()}
    first, pairs = next(iter(rows)), []
    notes = list(
        together({member.run: member.predictions.caveats for members in groups.values() for member in members})
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
    return compare_rows(question, list(rows.values()), pairs, predictions, PRIMARY, {}, tuple(notes))


def require_column(column: str) -> None:
    """Check that a score has that name.

    Raises:
        ValueError: it has not; names the nearest.
    """
    if column not in ALL_KEYS:
        raise ValueError(f"--column {column!r}: no such column.{nearest(column, ALL_KEYS)}")


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
        question: heads the table.
        rows: at least one.
        pairs: of them.
        predictions: of any of the runs, for the videos and their ground truth.
        column: of the concluding sentence.
        paper: name of a row of the paper -> the columns of `PAPER_COLUMNS`.
        notes: what must be said too.
    """
    trivial = {name: all_scores(decided, predictions.known_truth) for name, decided in predictions.trivial().items()}
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
    found = []
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
        found.append(f"{pair.name}: {verdict}")
    if not pairs:
        found = [f"{row.name} has {row.means()[column]:.1f}, with nothing to compare it to" for row in rows]
    seeds = min(len(row.runs) for row in rows)
    doubt = "an interval over these videos and seeds says nothing of other data"
    if seeds < _FEW_SEEDS:
        doubt = f"{seeds} seed{'s say' if seeds > 1 else ' says'} little of other seeds, and " + doubt
    published = column.removeprefix(SUPPORT)
    empty = trivial["empty parser"][published]
    below = [row.name for row in rows if row.means()[published] < empty]
    which = "every row" if len(below) == len(rows) else f"{len(below)} of {len(rows)} rows"
    floor = f"; in {published} the empty parser, with {empty:.1f}, is above {which}" if below else ""
    return f"Conclusion, in {column} on {where}: {'; '.join(found)}{floor}; {doubt}."
