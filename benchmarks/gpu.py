"""Every check that needs a GPU, in one go, written as one JSON file: see docs/gpu.md.

benchmarks/gpu.sh [--json gpu.json] [--minutes 25] [--only NAME] [--device cuda] [--quick]

`--only` takes the checks whose names begin so. `--quick` is for tiny sizes, and `--device cpu --quick` runs the script
where there is no GPU: its times say nothing. The file is written anew after each check. Exit code: 0 where none
failed, 1 where one did, 2 where nothing could be run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_checks import MODES, Numbers, Refused, Sizes, bf16_losses, graphs_equal_eager, parity, waiting
from benchmarks.gpu_report import Check, GpuResults, this_machine
from benchmarks.gpu_trainings import EPOCH_AIMS, bf16_scores, epoch_time, memory, resuming


def all_checks(sizes: Sizes) -> dict[str, tuple[str, Callable[[Numbers], None]]]:
    """Name -> its aim in words, and what runs it; those that tell most come first."""
    checks: dict[str, tuple[str, Callable[[Numbers], None]]] = {}

    def add(name: str, aim: str, run: Callable[..., None], *arguments: Any) -> None:
        checks[name] = (aim, lambda numbers: run(sizes, *arguments, numbers))

    captured = ("eager", "graphs")
    for anchor in EPOCH_AIMS:
        for mode in captured:
            add(f"waiting/{anchor}/{mode}", "no wait, no copy to the host in a step", waiting, anchor, mode)
        add(f"graphs/{anchor}", "losses within 1e-3 of the eager step's", graphs_equal_eager, anchor)
    for anchor in sizes.anchors:
        add(f"parity/{anchor}", "fp32: 1e-4, gradients 1e-3, 5 steps 1e-2; tf32: 3e-2", parity, anchor)
        add(f"bf16/{anchor}", "loss within 3e-2 of float32's", bf16_losses, anchor)
    for anchor, aim in EPOCH_AIMS.items():
        for recipe in ("official", "paper"):
            for mode in MODES:
                add(f"epoch/{anchor}/{recipe}/{mode}", f"median of at most {aim:g} s", epoch_time, anchor, recipe, mode)
    for anchor in EPOCH_AIMS:
        for mode in captured:
            add(f"memory/{anchor}/{mode}", "what is held grows by at most 1 MB in two epochs", memory, anchor, mode)
            add(f"resume/{anchor}/{mode}", "weights within 1e-4 of the whole run's", resuming, anchor, mode)
    add("bf16/scores", "mean difference within two deviations of seeds", bf16_scores)
    return checks


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; returns the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description="every check that needs a GPU")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="file to write")
    parser.add_argument("--minutes", type=float, default=25.0, help="no check begins after that")
    parser.add_argument("--only", default="", help="checks whose names begin so")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the script itself")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose times say nothing")
    given = parser.parse_args(arguments)
    try:
        device = torch.empty(0, device=given.device).device
    except (RuntimeError, AssertionError) as problem:
        print(
            f"there is no device {given.device!r} here ({str(problem).splitlines()[0]}): run this where there is one, "
            "or try the script with --device cpu --quick",
            file=sys.stderr,
        )
        return 2
    if device.type != "cuda" and not given.quick:
        print(f"--device {given.device} measures nothing of a GPU: add --quick to try the script", file=sys.stderr)
        return 2
    checks = {
        name: check for name, check in all_checks(Sizes(device, given.quick)).items() if name.startswith(given.only)
    }
    if not checks:
        print(f"--only {given.only}: no check's name begins so", file=sys.stderr)
        return 2
    report, start = GpuResults(quick=given.quick, machine=this_machine(device)), time.monotonic()
    for name, (aim, run) in checks.items():
        found, begun = Check(name=name, outcome="passed", aim=aim), time.monotonic()
        if begun - start > 60 * given.minutes:
            found.outcome, found.told = "skipped", f"{given.minutes:g} minutes were over"
        else:
            try:
                run(found.numbers)
            except Refused as problem:
                found.outcome, found.told = "refused", str(problem)
            except Exception as problem:  # one check's fault must not cost the others
                found.outcome, found.told = "failed", f"{type(problem).__name__}: {problem}"[:500]
        found.seconds = round(time.monotonic() - begun, 2)
        report.checks.append(found)
        given.json.write_text(report.model_dump_json(indent=1) + "\n")
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in found.numbers.items())
        print(f"{found.outcome:8} {name}: {numbers} {found.told}".rstrip(), flush=True)
    print(f"written: {given.json}")
    return int(any(check.outcome == "failed" for check in report.checks))


if __name__ == "__main__":
    sys.exit(main())
