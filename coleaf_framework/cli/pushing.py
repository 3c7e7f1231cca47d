"""The command that shares a run on the Hugging Face Hub: push."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing


def push(
    run: Annotated[Path, typer.Argument(help="run folder")],
    repository: Annotated[str, typer.Argument(help="user/name on the Hugging Face Hub; made if need be")],
    licence: Annotated[
        str | None, typer.Option("--license", help="of the weights, as the Hub spells it: apache-2.0")
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Markdown file to take the place of the card that is written from the run")
    ] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="of a repository that is made; else the account's default")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="to push to; main if left out")] = None,
    message: Annotated[str, typer.Option(help="of the commit")] = "Push a run of coleaf_framework",
    dry_run: Annotated[
        Path | None, typer.Option(help="new folder to write what would be pushed into, and push nothing")
    ] = None,
) -> None:
    """Share a run on the Hugging Face Hub: its weights, record, log and chosen thresholds, and a model card."""
    with importing():
        from coleaf_framework.record.card import require_licence
        from coleaf_framework.record.publishing import write_published
        from coleaf_framework.record.pushing import CARD, push_folder, require_repository_id
        from coleaf_framework.report.model_card import card_of_run
        from coleaf_framework.storage import require_file, require_place, write_text

    require_repository_id(repository)
    require_licence(licence)
    if card is not None:
        require_file(card)
        if licence is not None:
            raise ValueError(f"--card {card}: is pushed as it is, so say the licence in its head, not by --license")
    if dry_run is not None:
        require_place(dry_run, "--dry-run", folder=True)
        if dry_run.is_dir() and any(dry_run.iterdir()):
            raise ValueError(f"--dry-run {dry_run}: holds files already: name a new folder")
    text = card.read_text(encoding="utf-8") if card is not None else card_of_run(run, repository, licence=licence)
    with tempfile.TemporaryDirectory(prefix="coleaf-push-") as temporary:
        folder = dry_run if dry_run is not None else Path(temporary)
        write_published(run, folder)
        write_text(folder / CARD, text)
        files = ", ".join(sorted(path.name for path in folder.iterdir()))
        if dry_run is not None:
            say(f"{files}; in {folder}, and nothing was pushed")
            return
        address = push_folder(folder, repository, commit_message=message, private=private, branch=branch)
    say(f"{files}; {address}")
