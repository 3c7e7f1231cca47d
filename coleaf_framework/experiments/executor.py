"""Executors run the cells of a grid: as local processes (`local`) or as jobs of a cluster (`cluster`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from coleaf_framework.experiments.grid import Cell


@dataclass(frozen=True)
class Polled:
    """State of the cells that an executor was given.

    Args:
        under_way: what the progress bar shows of those that run or wait; empty once there are none.
        failed: names of the cells that failed since the last call -> why.
    """

    under_way: tuple[str, ...]
    failed: Mapping[str, str]


class Executor(Protocol):
    """Runs cells, each in a process of its own. The files in a cell's folder tell whether it is done.

    Attributes:
        poll_seconds: how long to wait between two calls of `poll`.
        after_cancel: what becomes of the cells after `cancel`, as a clause of the command's last sentence.
    """

    poll_seconds: float
    after_cancel: str

    def submit(self, cells: Sequence[Cell]) -> None:
        """Take cells that are to be trained; called once."""
        ...

    def poll(self) -> Polled:
        """Start what can be started, and say what runs and what has failed since the last call."""
        ...

    def cancel(self) -> None:
        """React to SIGINT or SIGTERM; `poll` then tells when nothing is under way any more."""
        ...

    def close(self) -> None:
        """Leave no unwatched process behind; called once, also after an error."""
        ...
