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
from coleaf_framework.evidence.grid import ALONE, COLEAF, Cell, Grid, Variant
from coleaf_framework.evidence.paper import PAPER_COLUMNS, PaperTable
from coleaf_framework.evidence.rows import Member, Pair, Row, shown_difference, with_spread
from coleaf_framework.metrics import ALL_KEYS, SUPPORT, all_scores
from coleaf_framework.report.tables import LEGEND, plain_table, score_table
from coleaf_framework.storage import to_json, write_text
from coleaf_framework.training.caveats import together
from coleaf_framework.training.outputs import RunOutputs, require_same_videos

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


@dataclass(frozen=True)
class Group:
    """A grid's cells of one Anchor and one way to train it.

    Args:
        name: its row. anchor, variant: which. members: one per seed.
    """

    name: str
    anchor: str
    variant: Variant
    members: tuple[Member, ...]


def gather(grid: Grid) -> list[Group]:
    """A finished grid's rows.

    Raises:
        FileNotFoundError: a cell is not done.
        ValueError: the cells' videos differ.
    """
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in grid.cells:
        cells.setdefault((cell.anchor, cell.variant.name), []).append(cell)
    found = {key: tuple(Member(c.name, c.seed, grid.outputs(c)) for c in own) for key, own in cells.items()}
    require_same_videos([(member.run, member.outputs) for members in found.values() for member in members])
    classes = {anchor: members[0].outputs.parser.removesuffix(" in CoLeaF") for (anchor, _), members in found.items()}
    groups = []
    for (anchor, _), members in found.items():
        variant = cells[anchor, _][0].variant
        name = classes[anchor]
        if list(classes.values()).count(name) > 1:  # two networks whose classes are called alike
            name += f" ({anchor})"
        groups.append(Group(one_line(f"{name} {variant.label}"), anchor, variant, members))
    return groups


def compare_grid(grid: Grid, column: str = PRIMARY) -> Comparison:
    """Score a finished grid.

    Args:
        grid: all of whose cells are done.
        column: of the concluding sentence.

    Raises:
        ValueError: no such column; or as `gather` does.
    """
    require_column(column)
    groups = gather(grid)
    rows = {(group.anchor, group.variant.name): Row.of(group.name, group.members) for group in groups}
    labels = {variant.name: variant.label for variant in grid.study.variants}
    pairs = [
        Pair.of(rows[anchor, treated], rows[anchor, control])
        for anchor in grid.anchors
        for treated, control in grid.study.pairs
        if (anchor, treated) in rows and (anchor, control) in rows
    ]
    paper, outputs = _paper_rows(grid.study.paper, labels), groups[0].members[0].outputs
    return _compared(grid.study.question, list(rows.values()), pairs, outputs, column, paper, notes_of(grid, groups))


def notes_of(grid: Grid, groups: Sequence[Group]) -> tuple[str, ...]:
    """What must be said beside whatever is made of a finished grid's rows."""
    caveats = {member.run: member.outputs.caveats for group in groups for member in group.members}
    return (*grid.notes, *together(caveats))


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
    require_same_videos([(member.run, member.outputs) for members in groups.values() for member in members])
    rows = {name: Row.of(name, members) for name, members in groups.items()}
    first, pairs = next(iter(rows)), []
    notes = list(together({member.run: member.outputs.caveats for members in groups.values() for member in members}))
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
    outputs = next(iter(groups.values()))[0].outputs
    return _compared(question, list(rows.values()), pairs, outputs, PRIMARY, {}, tuple(notes))


def require_column(column: str) -> None:
    """Check that a score has that name.

    Raises:
        ValueError: it has not; names the nearest.
    """
    if column not in ALL_KEYS:
        raise ValueError(f"--column {column!r}: no such column.{nearest(column, ALL_KEYS)}")


def _paper_rows(table: PaperTable | None, labels: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    if table is None:
        return {}
    labels = {ALONE.name: ALONE.label, COLEAF.name: COLEAF.label, **labels}
    return {
        f"PAPER, Table {table.number}: {anchor} {labels[variant]}": values
        for (anchor, variant), values in table.rows.items()
    }


def _compared(
    question: str,
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    outputs: RunOutputs,
    column: str,
    paper: Mapping[str, tuple[float, ...]],
    notes: tuple[str, ...],
) -> Comparison:
    trivial = {name: all_scores(decided, outputs.truth) for name, decided in outputs.trivial().items()}
    where = one_line(f"{outputs.data} {outputs.split}, {len(outputs.ids)} videos")
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
