"""A cell as a job of a cluster, by submitit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from coleaf_framework._extras import require_library
from coleaf_framework.experiments.grid import DONE, OUTPUT
from coleaf_framework.experiments.local import cell_environment, last_line, start_cell

# A cell that was told to stop; a scheduler sends its signals to every process of a job.
_STOPPED = (130, -signal.SIGINT, -signal.SIGTERM)
_SECONDS_TO_BE_KILLED = 600  # longer than the grace that clusters give to pre-empted jobs


class CellJob:
    """What a job does: it starts a cell's process, and stops it, with a checkpoint, before the job is requeued.

    submitit pickles this object into a file that the job loads, so it holds a path and nothing else.

    Args:
        folder: the cell's, as an absolute path.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Run the cell to its end.

        Raises:
            ChildProcessError: it failed; the message is its last line of output.
        """
        self._process = start_cell(Path(self.folder), cell_environment(jobs=1))
        code = self._process.wait()
        if code in _STOPPED:
            time.sleep(_SECONDS_TO_BE_KILLED)  # the job is about to be requeued or killed, which is not its own failure
        if code:
            line = last_line(Path(self.folder, OUTPUT))
            raise ChildProcessError(line or f"the cell ended with code {code} and no output")

    def checkpoint(self) -> Any:
        """Stop the cell, which submitit asks for at SIGUSR2: the time limit is near, or the job is pre-empted.

        Returns:
            What the requeued job does, as `submitit.helpers.DelayedSubmission`; None if the cell is done.
        """
        if self._process is not None:
            self._process.terminate()
            _await_end(self._process.pid)
        if Path(self.folder, DONE).is_file():
            return None
        helpers = require_library("submitit.helpers", "a job of a cluster", "slurm")
        return helpers.DelayedSubmission(CellJob(self.folder))


def _await_end(pid: int) -> None:
    """Wait for a child process without collecting it.

    This runs in a signal handler, in the middle of `Popen.wait`, whose lock it would wait for in vain.
    """
    with contextlib.suppress(ChildProcessError):  # it was collected before
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
