"""Compare the rows of a finished grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coleaf_framework._text import one_line
from coleaf_framework.experiments.grid import ALONE, COLEAF, Cell, Grid, Variant
from coleaf_framework.results.caveats import merge_caveats
from coleaf_framework.results.columns import primary_column, require_column
from coleaf_framework.results.comparison import Comparison, compare_rows
from coleaf_framework.results.paper import PaperTable
from coleaf_framework.results.predictions import require_same_videos
from coleaf_framework.results.rows import Member, Pair, Row


@dataclass(frozen=True)
class Group:
    """The cells of a grid with the same Anchor and variant.

    Args:
        name: name of its row.
        anchor: the Anchor, as the user named it.
        variant: the variant.
        members: its runs, one per seed.
    """

    name: str
    anchor: str
    variant: Variant
    members: tuple[Member, ...]


def gather(grid: Grid) -> list[Group]:
    """Group a finished grid's cells into rows.

    Raises:
        FileNotFoundError: a cell is not finished.
        ValueError: the cells were scored on different videos.
    """
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in grid.cells:
        cells.setdefault((cell.anchor, cell.variant.name), []).append(cell)
    by_row = {key: tuple(Member(c.name, c.seed, grid.predictions(c)) for c in row) for key, row in cells.items()}
    require_same_videos([(member.run, member.predictions) for members in by_row.values() for member in members])
    classes = {
        anchor: members[0].predictions.parser.removesuffix(" in CoLeaF") for (anchor, _), members in by_row.items()
    }
    groups = []
    for (anchor, _), members in by_row.items():
        variant = cells[anchor, _][0].variant
        name = classes[anchor]
        if list(classes.values()).count(name) > 1:  # two networks have the same class name
            name += f" ({anchor})"
        groups.append(Group(one_line(f"{name} {variant.label}"), anchor, variant, members))
    return groups


def compare_groups(grid: Grid, groups: Sequence[Group], column: str | None = None) -> Comparison:
    """Compare the rows of a finished grid: the pairs of its study, and the paper's numbers.

    Args:
        grid: a grid whose cells are all finished.
        groups: its rows, from `gather`.
        column: the column that the conclusion is about; `results.columns.primary_column` where None.

    Raises:
        ValueError: unknown column, or one that the ground truth does not have.
    """
    predictions = groups[0].members[0].predictions
    column = column or primary_column(predictions.truth_kind)
    require_column(column, truth=predictions.truth_kind, where=predictions.where)
    rows = {(group.anchor, group.variant.name): Row.of(group.name, group.members) for group in groups}
    labels = {variant.name: variant.label for variant in grid.study.variants}
    pairs = [
        Pair.of(rows[anchor, treated], rows[anchor, control])
        for anchor in grid.anchors
        for treated, control in grid.study.pairs
        if (anchor, treated) in rows and (anchor, control) in rows
    ]
    # The paper's numbers are on LLP: they are not shown beside scores of another kind of ground truth.
    paper = _paper_rows(grid.study.paper, labels) if predictions.truth_kind == "modalities" else {}
    notes = notes_of(grid, groups)
    return compare_rows(grid.study.question, list(rows.values()), pairs, predictions, column, paper, notes)


def notes_of(grid: Grid, groups: Sequence[Group]) -> tuple[str, ...]:
    """The caveats of a finished grid and of its runs."""
    caveats = {member.run: member.predictions.caveats for group in groups for member in group.members}
    return (*grid.notes, *merge_caveats(caveats))


def _paper_rows(table: PaperTable | None, labels: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    if table is None:
        return {}
    labels = {ALONE.name: ALONE.label, COLEAF.name: COLEAF.label, **labels}
    return {
        f"PAPER, Table {table.number}: {anchor} {labels[variant]}": values
        for (anchor, variant), values in table.rows.items()
    }
