"""Score tables, for the terminal and as Markdown."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coleaf_framework._text import one_line, printable
from coleaf_framework.metrics import COLUMNS, LEVELS, SUPPORT

Scores = Mapping[str, float]
_SHORT = {"Type@AV": "T@AV", "Type@AVo": "T@AVo", "Event@AV": "E@AV", "Event@AVo": "E@AVo"}
BLOCKS = (
    *((f"{level}-level", f"{level}/") for level in LEVELS),
    *((f"{level}-level, support-only", f"{SUPPORT}{level}/") for level in LEVELS),
)
LEGEND = (
    "T@ and E@ are Type@ and Event@. Support-only: over the videos that have events of the column's type, or a "
    "prediction of one; the others count 100 in the published columns."
)


def _cells(scores: Mapping[str, float | str], prefix: str, deviations: Scores | None) -> list[str]:
    cells = []
    for column in COLUMNS:
        value = scores[prefix + column]
        if isinstance(value, str):
            cells.append(value)
            continue
        spread = "" if deviations is None else f" ± {deviations[prefix + column]:.1f}"
        cells.append("-" if math.isnan(value) else f"{value:.1f}{spread}")
    return cells


def score_table(
    rows: Mapping[str, Mapping[str, float | str]] | Mapping[str, Scores],
    title: str,
    deviations: Mapping[str, Scores] | None = None,
    *,
    markdown: bool = False,
    legend: bool = True,
) -> str:
    """All 18 columns and their support-only twins, one block of nine columns each.

    Args:
        rows: parser -> column -> percent, NaN shows as "-"; or -> text to show as it is.
        title: stands above.
        deviations: parser -> column -> deviation over seeds, for the parsers that have one.
        markdown: a Markdown table rather than a terminal's.
        legend: whether to say what the columns are.
    """
    heads = [_SHORT.get(column, column) for column in COLUMNS]
    deviations = deviations or {}
    if markdown:
        lines = [f"**{one_line(title)}**"]
        for block, prefix in BLOCKS:
            lines += ["", f"| {block} | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
            lines += [
                f"| {_markdown(name)} | " + " | ".join(_cells(scores, prefix, deviations.get(name))) + " |"
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
            table.add_row(Text(one_line(name)), *_cells(scores, prefix, deviations.get(name)))
    return _as_text(table)


def plain_table(heads: Sequence[str], body: Sequence[Sequence[str]], title: str, *, markdown: bool = False) -> str:
    """A table of texts, the first column to the left, the others to the right.

    Args:
        heads: of the columns. body: rows. title: stands above.
        markdown: a Markdown table rather than a terminal's.
    """
    if markdown:
        rule = "|---|" + "---:|" * (len(heads) - 1)
        head, *rows = ("| " + " | ".join(map(_markdown, row)) + " |" for row in (heads, *body))
        return "\n".join([f"**{one_line(title)}**", "", head, rule, *rows])
    table = Table(title=Text(one_line(title)), title_justify="left")
    for i, head in enumerate(heads):
        table.add_column(Text(printable(head)), justify="right" if i else "left", no_wrap=True)
    for row in body:
        table.add_row(*(Text(one_line(cell)) for cell in row))  # a str would be read as rich's markup
    return _as_text(table)


def _markdown(cell: str) -> str:
    """A table's cell, in which a bar would begin the next one."""
    return one_line(cell).replace("\\", r"\\").replace("|", r"\|")


def _as_text(table: Table) -> str:
    text = io.StringIO()
    Console(file=text, width=1000).print(table)  # as wide as it needs: a cut number is worse than a wrapped line
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())
