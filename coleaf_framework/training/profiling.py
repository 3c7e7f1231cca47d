"""Where the time of a training step goes: `coleaf train --profile`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coleaf_framework._text import one_line, say
from coleaf_framework.storage import write_atomically

_WAIT, _WARMUP, _ACTIVE = 2, 2, 8
_PHASES = "coleaf: "
_OPERATORS = 12


class Profiler:
    """Profiles some steps of a run, early but warm, writes a trace and prints where their time went.

    Args:
        trace: file to write, for chrome://tracing or Perfetto.
    """

    def __init__(self, trace: Path) -> None:
        self.trace = trace
        trace.unlink(missing_ok=True)
        cuda = torch.cuda.is_available()
        kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * cuda
        self._by = "device_time_total" if cuda else "cpu_time_total"
        self._profile = torch.profiler.profile(
            activities=kinds,
            schedule=torch.profiler.schedule(wait=_WAIT, warmup=_WARMUP, active=_ACTIVE, repeat=1),
            on_trace_ready=self._report,
        )
        self._profile.start()

    def step(self) -> None:
        """To be called after each training step."""
        self._profile.step()

    def stop(self) -> None:
        """To be called at the end of the run; logs if it was too short for a profile."""
        self._profile.stop()
        if not self.trace.exists():
            say(f"--profile: the run had fewer than {_WAIT + _WARMUP + 1} steps: no profile", sys.stderr)

    def _report(self, profile: Any) -> None:
        write_atomically(self.trace, lambda file: profile.export_chrome_trace(str(file)))
        events = profile.key_averages()
        steps = sum(e.count for e in events if e.key.startswith("ProfilerStep"))
        console = Console()
        phases = {e.key.removeprefix(_PHASES): getattr(e, self._by) for e in events if e.key.startswith(_PHASES)}
        console.print(_table("where a step's time went", phases, sum(phases.values()), steps))
        operators = {
            e.key: getattr(e, f"self_{self._by}") for e in events if not e.key.startswith((_PHASES, "ProfilerStep"))
        }
        top = dict(sorted(operators.items(), key=lambda item: -item[1])[:_OPERATORS])
        console.print(_table("which operators took it", top, sum(operators.values()), steps))
        say(f"trace of {steps} steps: {self.trace}")


def _table(title: str, microseconds: dict[str, float], total: float, steps: int) -> Table:
    table = Table(title, "ms a step", "%")
    for name, time in microseconds.items():
        table.add_row(Text(one_line(name)), f"{time / steps / 1e3:.2f}", f"{100 * time / max(total, 1e-9):.0f}")
    return table
