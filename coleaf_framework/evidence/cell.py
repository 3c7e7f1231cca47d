"""One cell of a grid, in a process of its own: `python -m coleaf_framework.evidence.cell FOLDER`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from coleaf_framework.evidence.grid import CELL
from coleaf_framework.storage import read_yaml
from coleaf_framework.training.config import RunConfig
from coleaf_framework.training.experiment import open_split, train
from coleaf_framework.training.outputs import collect_outputs, write_outputs
from coleaf_framework.training.run_folder import RESUME


def run_cell(folder: Path) -> None:
    """Train what the folder's plan says, or go on with it, and keep its answers to the split that is scored."""
    plan = read_yaml(folder / CELL)
    config = RunConfig(**plan["config"])
    trainer = train(config, folder, "resume" if (folder / RESUME).exists() else "overwrite", quiet=True)
    write_outputs(folder, collect_outputs(trainer, open_split(config.data, plan["split"])))


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        run_cell(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as problem:
        logging.getLogger().debug("failed", exc_info=True)
        sys.exit(f"{type(problem).__name__}: {problem}")
