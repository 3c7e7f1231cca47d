"""Weights & Biases. The extra `wandb`; its environment variables (WANDB_MODE, WANDB_ENTITY, ...) hold here too."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from coleaf_framework._extras import require_library
from coleaf_framework.tracking.protocol import Plain, Status, TrackedRun

_EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 1, "interrupted": 255}  # W&B shows 255 as "killed"


class WandB:
    """Sends a run to Weights & Biases, or keeps it for `wandb sync` where WANDB_MODE is offline.

    Raises:
        ImportError: wandb is not installed; says how to.
    """

    def __init__(self) -> None:
        self._wandb = require_library("wandb", "the tracker wandb", "wandb")

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Begin the run, or go on with the one of the same id."""
        own_folder = run.folder is not None and "WANDB_DIR" not in os.environ
        told = {"id": run.begun.get("id") or secrets.token_hex(4)}
        self._run = self._wandb.init(
            project=run.project or os.environ.get("WANDB_PROJECT", "coleaf"),
            name=run.name,
            group=run.group,  # None leaves it to WANDB_RUN_GROUP
            config=dict(run.hyperparameters),
            allow_val_change=True,  # a run that goes on may have more epochs
            id=told["id"],
            resume="allow",
            dir=str(run.folder) if own_folder else None,
            reinit="create_new",  # leaves alone what the user's own code tracks
            settings=self._wandb.Settings(console="off"),  # which would keep every state of the progress bar
        )
        return told

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log an epoch's numbers, as step `epoch`."""
        self._run.log({"epoch": epoch, **values}, step=epoch)

    def picture(self, epoch: int, name: str, figure: Any) -> None:
        """Log an epoch's picture, as step `epoch`."""
        self._run.log({name: self._wandb.Image(figure)}, step=epoch)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Plain]]) -> None:
        """Log a table."""
        self._run.log({name: self._wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def finish(self, status: Status) -> None:
        """Write the status into the run's summary, and wait until all is sent."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=_EXIT_CODES[status])
