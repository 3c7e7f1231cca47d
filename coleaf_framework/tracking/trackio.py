"""trackio: a local database, shown by `trackio show`. The extra `trackio`; its environment variables hold here too."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coleaf_framework._extras import require_library
from coleaf_framework.tracking.protocol import Plain, Status, TrackedRun


class Trackio:
    """Keeps a run in trackio's folder (TRACKIO_DIR), or sends it where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL says.

    Raises:
        ImportError: trackio is not installed; says how to.
    """

    def __init__(self) -> None:
        with _to_stderr():
            self._trackio = require_library("trackio", "the tracker trackio", "trackio")

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Begin the run, or go on with the one of the same name and project."""
        # trackio finds a run by its name, which others may have too.
        name = run.begun.get("name") or f"{run.name}-{secrets.token_hex(3)}"
        project = run.begun.get("project") or run.project or "coleaf"
        with _to_stderr():
            self._run = self._trackio.init(
                project=project,
                name=name,
                group=run.group,
                config={key.lstrip("_"): value for key, value in run.hyperparameters.items()},
                resume="must" if run.begun else "never",
                embed=False,
                auto_log_gpu=False,  # of the whole machine, and each a thread
                auto_log_cpu=False,
            )
        self._epoch = run.epochs
        return {"name": name, "project": project}

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log an epoch's numbers, as step `epoch`."""
        self._epoch = epoch
        self._run.log({"epoch": epoch, **values}, step=epoch)

    def picture(self, epoch: int, name: str, figure: Any) -> None:
        """Log an epoch's picture, as step `epoch`."""
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        self._run.log({name: self._trackio.Image(np.ascontiguousarray(pixels))}, step=epoch)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Plain]]) -> None:
        """Log a table, beside the last epoch."""
        self._run.log({name: self._trackio.Table(columns=list(columns), data=[list(row) for row in rows])}, self._epoch)

    def finish(self, status: Status) -> None:
        """Log the status, and wait until all is kept."""
        with _to_stderr():
            self._run.log({"status": status}, self._epoch)
            self._trackio.finish()  # not `self._run.finish`, after which trackio would finish it again at exit


def _to_stderr() -> contextlib.AbstractContextManager[object]:
    """Print on standard error what trackio prints on standard output, which belongs to the command's answer."""
    return contextlib.redirect_stdout(sys.stderr)
