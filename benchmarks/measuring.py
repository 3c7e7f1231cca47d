"""What every benchmark here measures by: interleaved minima, peak memory, matmul rate, tables and JSON."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def minima(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each run, the least of `rounds`, taken in turn so that a busy moment hits all alike."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            synchronize()
            start = time.perf_counter()
            run()
            synchronize()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def peak_memory(run: Callable[[], object]) -> float:
    """MB that a run needs above what is held before it: on the GPU if there is one, else of the process (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except OSError:
        return float("nan")

    def kilobytes(field: str) -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith(field)).split()[1])

    before = kilobytes("VmRSS")
    run()
    return (kilobytes("VmHWM") - before) / 2**10


class Products:
    """Matrix products alone, as many as a training step has, for the machine's rate over as long a time.

    Each shape is one of a step's, or square; call one to run it, `rate` says its FLOP a second.
    """

    def __init__(self, device: str, dtype: torch.dtype = torch.float32, flop: float = 1e11) -> None:
        shapes = [(10_240, 2048, 512), (4480, 512, 512), (2560, 512, 1536), (2048, 2048, 2048)]
        if device == "cuda":
            shapes, flop = [*shapes, (8192, 8192, 8192)], 1e13
        self.runs: dict[str, Callable[[], None]] = {}
        self.flop: dict[str, float] = {}
        for m, k, n in shapes:
            a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype)
            times = max(1, round(flop / (2 * m * k * n)))

            def run(a: torch.Tensor = a, b: torch.Tensor = b, times: int = times) -> None:
                for _ in range(times):
                    a @ b

            self.runs[f"product {m} x {k} x {n}"] = run
            self.flop[f"product {m} x {k} x {n}"] = 2.0 * m * k * n * times

    def rate(self, seconds: Mapping[str, float]) -> float:
        """The best shape's FLOP a second."""
        return max(flop / seconds[name] for name, flop in self.flop.items())


def peak_memory_of(module: str, *arguments: str) -> float:
    """MB that `python -m module --memory ARGUMENTS` says it needed, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", module, "--memory", *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], path: Path | None, **about: Any
) -> None:
    """Print a table, and write it with what it was measured on as JSON."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*((f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}") if isinstance(x, float) else str(x) for x in row))
    Console(width=max(100, 14 * len(columns))).print(table)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    about |= {"device": device, "machine": platform.machine(), "torch": torch.__version__}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    if path is not None:
        content = {"title": title, "about": about, "rows": [dict(zip(columns, row, strict=True)) for row in rows]}
        path.write_text(json.dumps(content, indent=1) + "\n")


def main_arguments(default_rounds: int) -> tuple[int, Path | None]:
    """`[ROUNDS] [--json FILE]` from the command line."""
    arguments, path = sys.argv[1:], None
    if "--json" in arguments:
        at = arguments.index("--json")
        path = Path(arguments[at + 1])
        del arguments[at : at + 2]
    return int(arguments[0]) if arguments else default_rounds, path
