"""Progress of a training: a bar with the loss terms."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coleaf_framework._text import one_line


class TrainingProgress:
    """A bar over all steps, and one line per finished epoch.

    Args:
        epochs: number of epochs.
        steps: per epoch.
        quiet: show nothing.
    """

    def __init__(self, epochs: int, steps: int, *, quiet: bool) -> None:
        self.epochs, self.steps, self.quiet = epochs, steps, quiet
        console = Console(stderr=True)
        barless = console.is_jupyter and find_spec("ipywidgets") is None  # where Rich would warn at every refresh
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}", markup=False),
            console=console,
            disable=quiet or barless,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=epochs * steps, losses="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def step(self, epoch: int, steps: int, means: Mapping[str, float], ranks: int) -> None:
        """Show that `epoch` has so many steps done; `means` are its loss terms so far, those of one of `ranks`."""
        if self.quiet:
            return
        losses = " ".join(f"{name.rpartition('/')[2]} {ranks * value:.3f}" for name, value in means.items())
        done = (epoch - 1) * self.steps + steps
        self._bar.update(
            self._task, completed=done, description=f"epoch {epoch}/{self.epochs}", losses=one_line(losses)
        )

    def epoch_done(self, entry: Mapping[str, Any], best_epoch: int) -> None:
        """Print an epoch's line above the bar."""
        if self.quiet:
            return
        line = f"epoch {entry['epoch']:>3}  loss {sum(entry['losses'].values()):7.3f}"
        if "monitor" in entry:
            line += f"  validation {entry['monitor']:5.1f}" + ("  best" if best_epoch == entry["epoch"] else "")
        self._bar.console.print(f"{line}  {entry['seconds']:.1f} s", highlight=False)
