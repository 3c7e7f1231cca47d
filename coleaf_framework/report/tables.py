"""Score tables, for the terminal and as Markdown."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from coleaf_framework.metrics import COLUMNS, LEVELS, SUPPORT

Scores = Mapping[str, float]
_SHORT = {"Type@AV": "T@AV", "Type@AVo": "T@AVo", "Event@AV": "E@AV", "Event@AVo": "E@AVo"}
_BLOCKS = (
    *((f"{level}-level", f"{level}/") for level in LEVELS),
    *((f"{level}-level, support-only", f"{SUPPORT}{level}/") for level in LEVELS),
)
LEGEND = (
    "T@ and E@ are Type@ and Event@. Support-only: over the videos that have events of the column's type, or a "
    "prediction of one; the others count 100 in the published columns."
)


def _cells(scores: Scores, prefix: str, deviations: Scores | None) -> list[str]:
    cells = []
    for column in COLUMNS:
        value = scores[prefix + column]
        spread = "" if deviations is None else f" ± {deviations[prefix + column]:.1f}"
        cells.append("-" if math.isnan(value) else f"{value:.1f}{spread}")
    return cells


def score_table(
    rows: Mapping[str, Scores],
    title: str,
    deviations: Mapping[str, Scores] | None = None,
    *,
    markdown: bool = False,
) -> str:
    """All 18 columns and their support-only twins, one block of nine columns each.

    Args:
        rows: parser -> column -> percent; NaN shows as "-".
        title: stands above.
        deviations: parser -> column -> deviation over seeds, for the parsers that have one.
        markdown: a Markdown table rather than a terminal's.
    """
    heads = [_SHORT.get(column, column) for column in COLUMNS]
    deviations = deviations or {}
    if markdown:
        lines = [f"**{title}**"]
        for block, prefix in _BLOCKS:
            lines += ["", f"| {block} | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
            lines += [
                f"| {name} | " + " | ".join(_cells(scores, prefix, deviations.get(name))) + " |"
                for name, scores in rows.items()
            ]
        return "\n".join([*lines, "", LEGEND])
    table = Table(title=title, caption=LEGEND, title_justify="left", caption_justify="left")
    table.add_column("", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for block, prefix in _BLOCKS:
        table.add_section()
        table.add_row(f"[bold]{block}[/bold]")
        for name, scores in rows.items():
            table.add_row(name, *_cells(scores, prefix, deviations.get(name)))
    text = io.StringIO()
    Console(file=text, width=1000).print(table)  # as wide as it needs: a cut number is worse than a wrapped line
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())
