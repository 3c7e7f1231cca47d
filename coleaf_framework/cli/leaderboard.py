"""The command leaderboard, which puts the runs of several folders into one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import CONCLUDING, Markdown, Trust


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="run folders with predictions, or folders of them, as of compare")],
    sort: Annotated[
        str | None,
        typer.Option(
            help="column to sort by; AV in place of Type@AVo where the data has it alone", show_default=CONCLUDING
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="split of the runs' predictions")] = "test",
    markdown: Markdown = False,
    csv: Annotated[Path | None, typer.Option(help="write all columns to this CSV file")] = None,
    page: Annotated[Path | None, typer.Option(help="write one HTML page to this file; it needs no network")] = None,
    no_costs: Annotated[
        bool, typer.Option("--no-costs", help="leave out parameters, FLOPs and time, so that no network is loaded")
    ] = False,
    trust: Trust = False,
) -> None:
    """Rank systems alone and in CoLeaF in one table, beside trivial parsers and the scores published for LLP."""
    with importing():
        from coleaf_framework.experiments.leaderboard import leaderboard as make
        from coleaf_framework.report.leaderboard import leaderboard_page
        from coleaf_framework.results.columns import require_column
        from coleaf_framework.storage import require_place, write_text

    for path, option in ((csv, "--csv"), (page, "--page")):
        if path is not None:
            require_place(path, option)
    if sort is not None:
        require_column(sort, "--sort")
    board = make(runs, split, sort, costs=not no_costs, trust=trust)
    say(board.table(markdown=markdown))
    if csv is not None:
        write_text(csv, board.as_csv())
        say(f"\n{csv}")
    if page is not None:
        write_text(page, leaderboard_page(board))
        say(f"\n{page}")
