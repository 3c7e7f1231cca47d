"""The page of a leaderboard: one self-contained HTML file."""

from __future__ import annotations

import html
import string
from importlib import resources

from coleaf_framework.metrics import LEVELS
from coleaf_framework.results.leaderboard import Leaderboard

_SORTED = 1  # position of the column that the table is sorted by


def leaderboard_page(board: Leaderboard) -> str:
    """The page as HTML text, with a table of either level."""
    parts = resources.files("coleaf_framework.report.page")
    levels = sorted(LEVELS, key=lambda level: level != board.level)  # that of the sorted column first
    notes = [f"NOTE: {note}" for note in board.notes]
    return string.Template((parts / "leaderboard.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(board.title),
        conclusion=html.escape(board.conclusion),
        tables="\n".join(_table(board, level) for level in levels),
        legend="\n".join(f'<p class="note">{html.escape(text)}</p>' for text in (*board.legend(), *notes)),
        css=(parts / "page.css").read_text(encoding="utf-8"),
    )


def _table(board: Leaderboard, level: str) -> str:
    first, *heads = board.heads()
    shown = "".join(
        f'<th scope="col"{_mark(i)}{" aria-sort=descending" if i == _SORTED else ""}>{html.escape(head)}</th>'
        for i, head in enumerate(heads, 1)
    )
    rows, before = [], ""
    for (name, *cells), kind in board.cells(level):
        values = "".join(f"<td{_mark(i)}>{html.escape(cell)}</td>" for i, cell in enumerate(cells, 1))
        marks = f"{kind} first" if kind != before and kind == "published" else kind
        rows.append(f'<tr class="{marks}"><th scope="row">{html.escape(name)}</th>{values}</tr>')
        before = kind
    title = f"{level.capitalize()}-level columns"
    return (
        f'<section id="{level}"><h2>{title}</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table><thead><tr><th scope="col">{html.escape(first or "system")}</th>{shown}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _mark(column: int) -> str:
    return ' class="sorted"' if column == _SORTED else ""
