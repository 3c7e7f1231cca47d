"""Format score tables for the terminal and as Markdown."""

from __future__ import annotations

import io
import math
from collections.abc import Container, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coleaf_framework._text import one_line, printable
from coleaf_framework.metrics import COLUMNS, LEVELS, SUPPORT

Scores = Mapping[str, float]
SHORT = {"Type@AV": "T@AV", "Type@AVo": "T@AVo", "Event@AV": "E@AV", "Event@AVo": "E@AVo"}
BLOCKS = (
    *((f"{level}-level", f"{level}/") for level in LEVELS),
    *((f"{level}-level, support-only", f"{SUPPORT}{level}/") for level in LEVELS),
)
SUPPORT_ONLY = (
    "Support-only: over the videos that have events of the column's type, or a prediction of one; the others count 100 "
    "in the published columns."
)
LEGEND = f"T@ and E@ are Type@ and Event@. {SUPPORT_ONLY}"
JOINT_LEGEND = (
    "All annotated events are audible and visible, so that only the columns AV exist: an event is predicted where both "
    f"modalities have it. {SUPPORT_ONLY}"
)


def legend_of(columns: Container[str]) -> str:
    """The sentences that explain a table's columns.

    Args:
        columns: those that exist, some of `ALL_KEYS`.
    """
    return LEGEND if "segment/A" in columns else JOINT_LEGEND


def heads_of(columns: Container[str]) -> tuple[str, ...]:
    """The columns of one block: those of `COLUMNS` that exist.

    Args:
        columns: those that exist, some of `ALL_KEYS`.

    Example:
        >>> heads_of(("segment/AV", "event/AV"))
        ('AV',)
    """
    return tuple(column for column in COLUMNS if f"{LEVELS[0]}/{column}" in columns)


def _cells(scores: Mapping[str, float | str], columns: Sequence[str], deviations: Scores | None) -> list[str]:
    cells = []
    for column in columns:
        value = scores[column]
        if isinstance(value, str):
            cells.append(value)
            continue
        deviation = "" if deviations is None else f" ± {deviations[column]:.1f}"
        cells.append("-" if math.isnan(value) else f"{value:.1f}{deviation}")
    return cells


def score_table(
    rows: Mapping[str, Mapping[str, float | str]] | Mapping[str, Scores],
    title: str,
    deviations: Mapping[str, Scores] | None = None,
    *,
    markdown: bool = False,
    legend: bool = True,
) -> str:
    """A table of the 18 columns and their support-only versions, in four blocks of nine columns.

    Where the rows have one column of each block alone, AV, the table has one block.

    Args:
        rows: name of a row -> column -> percent, where NaN is shown as "-"; or column -> text, shown as it is. All rows
            have the same columns.
        title: heading.
        deviations: name of a row -> column -> standard deviation over seeds, for the rows that have one.
        markdown: format as Markdown instead of for the terminal.
        legend: whether to explain the columns below the table.
    """
    existing = next(iter(rows.values()))
    names = heads_of(existing)
    deviations = deviations or {}
    if len(names) == 1:
        body = [[name, *_cells(scores, list(existing), deviations.get(name))] for name, scores in rows.items()]
        one_block = plain_table(["", *existing], body, title, markdown=markdown)
        return "\n".join([one_block, *(["", legend_of(existing)] if legend else [])])
    heads = [SHORT.get(column, column) for column in names]
    if markdown:
        lines = [f"**{one_line(title)}**"]
        for block, prefix in BLOCKS:
            lines += ["", f"| {block} | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
            lines += [
                f"| {_markdown(name)} | "
                + " | ".join(_cells(scores, _block(prefix, names), deviations.get(name)))
                + " |"
                for name, scores in rows.items()
            ]
        return "\n".join([*lines, *(["", LEGEND] if legend else [])])
    table = Table(
        title=Text(one_line(title)), caption=LEGEND if legend else None, title_justify="left", caption_justify="left"
    )
    table.add_column("", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for block, prefix in BLOCKS:
        table.add_section()
        table.add_row(f"[bold]{block}[/bold]")
        for name, scores in rows.items():
            table.add_row(Text(one_line(name)), *_cells(scores, _block(prefix, names), deviations.get(name)))
    return _as_text(table)


def _block(prefix: str, names: Sequence[str]) -> list[str]:
    return [prefix + name for name in names]


def further_table(
    rows: Mapping[str, Scores], deviations: Mapping[str, Scores] | None = None, *, markdown: bool = False
) -> str:
    """A table of the scores that a data set defines beside the columns.

    Args:
        rows: name of a row -> name of a score -> percent; NaN and what a row lacks are shown as "-".
        deviations: name of a row -> name of a score -> standard deviation over seeds, for the rows that have one.
        markdown: format as Markdown instead of for the terminal.
    """
    names = list(dict.fromkeys(name for scores in rows.values() for name in scores))
    body = [
        [row, *_cells({name: scores.get(name, math.nan) for name in names}, names, (deviations or {}).get(row))]
        for row, scores in rows.items()
    ]
    return plain_table(["", *names], body, "Scores of this data set, in percent", markdown=markdown)


def plain_table(heads: Sequence[str], body: Sequence[Sequence[str]], title: str, *, markdown: bool = False) -> str:
    """A table of texts, with the first column left-aligned and the others right-aligned.

    Args:
        heads: headings of the columns.
        body: the rows.
        title: heading of the table.
        markdown: format as Markdown instead of for the terminal.
    """
    if markdown:
        rule = "|---|" + "---:|" * (len(heads) - 1)
        head, *rows = ("| " + " | ".join(map(_markdown, row)) + " |" for row in (heads, *body))
        return "\n".join([f"**{one_line(title)}**", "", head, rule, *rows])
    table = Table(title=Text(one_line(title)), title_justify="left")
    for i, head in enumerate(heads):
        table.add_column(Text(printable(head)), justify="right" if i else "left", no_wrap=True)
    for row in body:
        table.add_row(*(Text(one_line(cell)) for cell in row))  # rich would interpret markup in a str
    return _as_text(table)


def _markdown(cell: str) -> str:
    """Escape a table cell, in which a bar would start the next cell."""
    return one_line(cell).replace("\\", r"\\").replace("|", r"\|")


def _as_text(table: Table) -> str:
    text = io.StringIO()
    # Wide, so that Rich does not truncate numbers; in a notebook it would show the table and write no text.
    Console(file=text, width=1000, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())
