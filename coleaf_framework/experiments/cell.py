"""Train one cell of a grid in its own process: `python -m coleaf_framework.experiments.cell FOLDER`.

SIGINT and SIGTERM end it after the current step with a checkpoint, from which the same command goes on. With
`--attached`, it also ends so when the process that started it ends.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from coleaf_framework._text import log_to_stderr, say
from coleaf_framework.experiments.grid import DONE, read_plan
from coleaf_framework.results.predictions_file import predictions_path, write_predictions
from coleaf_framework.storage import file_digest, write_yaml
from coleaf_framework.training.experiment import caveats_of_data, open_split, train
from coleaf_framework.training.run_folder import RESUME


def run_cell(folder: Path) -> None:
    """Train (or resume) the run that a folder's plan describes, and write its predictions of the scored split.

    Args:
        folder: the cell's run folder, which holds its plan.

    Raises:
        ValueError: the plan is invalid; or as training does.
    """
    plan = read_plan(folder)
    config, split = plan.config, plan.split
    (folder / DONE).unlink(missing_ok=True)
    trainer = train(
        config, folder, "resume" if (folder / RESUME).exists() else "overwrite", quiet=True, group=plan.group
    )
    predictions = trainer.predict(open_split(config.data, split), truth=True)
    write_predictions(folder, predictions.with_caveats(caveats_of_data(folder, config.data)))
    write_yaml(folder / DONE, {"predictions": file_digest(predictions_path(folder, split))})


def _attach() -> None:
    """Let the parent process alone decide when this one stops."""
    if hasattr(signal, "SIGUSR2"):  # SLURM sends it to all processes of a job; the parent answers by SIGTERM
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Stop with a checkpoint when the parent process ends, which closes the pipe to this process's stdin."""
    while os.read(0, 1):  # not `sys.stdin`, whose lock this thread would hold when the interpreter exits
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    log_to_stderr()
    if len(sys.argv) < 2:
        sys.exit("python -m coleaf_framework.experiments.cell takes the folder of a run that `coleaf compare` planned")
    if "--attached" in sys.argv[1:-1]:
        _attach()
    try:
        run_cell(Path(sys.argv[-1]))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as problem:
        logging.getLogger().debug("failed", exc_info=True)
        say(f"{type(problem).__name__}: {problem}", sys.stderr)
        sys.exit(1)
