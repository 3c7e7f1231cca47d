"""What every benchmark here measures by: interleaved minima, peak memory, matmul rate, tables and JSON."""

from __future__ import annotations

import json
import platform
import resource
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


def matmul_rate(device: str, dtype: torch.dtype = torch.float32) -> float:
    """FLOP a second of this machine: the best of products of a training step's shapes and of a square one."""
    shapes = [(1280, 512, 512), (10_240, 2048, 512), (4480, 512, 512), (2048, 2048, 2048)]
    if device == "cuda":
        shapes.append((8192, 8192, 8192))
    best = 0.0
    for m, k, n in shapes:
        a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype)
        seconds = minima({"": lambda a=a, b=b: a @ b}, 15)[""]
        best = max(best, 2 * m * k * n / seconds)
    return best


def report(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], path: Path | None, **about: Any) -> None:
    """Print a table, and write it with what it was measured on as JSON."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row))
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


def resident_megabytes() -> float:
    """Peak memory of the process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
