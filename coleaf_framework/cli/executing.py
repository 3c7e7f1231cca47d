"""How the commands that train many runs are told where to run them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing

if TYPE_CHECKING:
    from coleaf_framework.experiments.executor import Executor
    from coleaf_framework.experiments.grid import Grid


@dataclass(frozen=True)
class Execution:
    """The options `--jobs`, `--executor`, `--slurm` and `--plan`."""

    jobs: int | None
    executor: str
    slurm: Sequence[str] | None
    plan: bool

    def make_executor(self) -> Callable[[Grid], Executor]:
        """Check the options, before anything is planned.

        Returns:
            What makes the executor of a planned grid.

        Raises:
            ImportError, ValueError: an option is wrong, or cannot be followed on this machine.
        """
        with importing():
            from coleaf_framework.experiments.local import LocalExecutor
            from coleaf_framework.experiments.slurm import parse_slurm, require_slurm, slurm_executor

        if self.executor not in ("local", "slurm"):
            raise ValueError(f"--executor {self.executor!r}: local or slurm; for any other scheduler take --plan")
        if self.executor == "local":
            if self.slurm:
                raise ValueError(f"--slurm {self.slurm[0]!r}: goes with --executor slurm alone")
            local = LocalExecutor(self.jobs or 1)
            return lambda grid: local
        if self.plan:
            raise ValueError("--plan and --executor slurm exclude each other: --plan submits nothing")
        options = parse_slurm(self.slurm or ())
        require_slurm()
        return lambda grid: slurm_executor(grid, options, self.jobs)


def print_plan(grid: Grid) -> None:
    """Print one line for each run that is to be trained, on standard output, and on standard error what to do."""
    with importing():
        from coleaf_framework.experiments.running import cell_commands

    commands = cell_commands(grid)
    for command in commands:
        say(command)
    todo = "run each line, in any order, wherever this folder is; " if commands else ""
    say(
        f"{len(commands)} of {len(grid.cells)} runs are to be trained; {todo}then the same command without --plan "
        "makes the table",
        sys.stderr,
    )


def run_cells(grid: Grid, executor: Executor) -> None:
    """Run what a grid lacks; once that is interrupted, further signals change nothing."""
    with importing():
        from coleaf_framework.experiments.running import run_grid
        from coleaf_framework.training.interrupts import end_undisturbed

    try:
        run_grid(grid, executor)
    except KeyboardInterrupt as stopped:
        end_undisturbed()
        raise KeyboardInterrupt(str(stopped) or "finished runs are kept") from None
