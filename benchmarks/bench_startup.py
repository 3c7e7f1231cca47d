"""Processor time until the package can be used, and until the command line answers, beside `import torch` alone.

python -m benchmarks.bench_startup [ROUNDS] [--json FILE]

User seconds of a process of its own each, the median of the rounds, which take the rows in turn. A first round that is
not counted writes the bytecode. Aims: 1.2 times `import torch` for the public names, half a second for the command line
where it needs no network.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

from benchmarks.measuring import main_arguments, print_table

BASELINE = "import torch"
PROCESSES = {
    BASELINE: ["-c", "import torch"],
    "coleaf_framework.wrap": ["-c", "import coleaf_framework; coleaf_framework.wrap"],
    "coleaf_framework.CoLeaFTrainer": ["-c", "import coleaf_framework; coleaf_framework.CoLeaFTrainer"],
    "coleaf --help": ["-m", "coleaf_framework", "--help"],
    "coleaf train --help": ["-m", "coleaf_framework", "train", "--help"],
    "coleaf trian": ["-m", "coleaf_framework", "trian"],
    "coleaf train --epochs 3": ["-m", "coleaf_framework", "train", "--epochs", "3"],
}


def user_seconds(arguments: list[str]) -> float:
    """User time of Python with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *arguments], capture_output=True, env=environment)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main() -> None:
    """Print the table."""
    rounds, path = main_arguments(7)
    taken: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for _ in range(rounds + 1):
        for name, arguments in PROCESSES.items():
            taken[name].append(user_seconds(arguments))
    seconds = {name: statistics.median(each[1:]) for name, each in taken.items()}
    rows = [[name, seconds[name], seconds[name] / seconds[BASELINE]] for name in PROCESSES]
    print_table("start", ["until", "user seconds", f"x {BASELINE}"], rows, path, rounds=rounds)


if __name__ == "__main__":
    main()
