"""What `benchmarks.gpu` writes: the machine, and the outcome and numbers of each check."""

from __future__ import annotations

import math
import platform
import subprocess
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, field_serializer

ROOT = Path(__file__).parents[1]
Outcome = Literal["passed", "failed", "refused", "skipped"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Machine(_Strict):
    """Where the checks ran.

    Args:
        device: the GPU's name, or "CPU".
        driver: its driver's version; empty on a CPU.
        memory_gib: of the GPU; 0 on a CPU.
        torch: its version.
        cuda: that it was built with; empty without.
        python: its version.
        commit: of the repository, with "+" where files differ from it.
    """

    device: str
    driver: str
    memory_gib: float
    torch: str
    cuda: str
    python: str
    commit: str


class Check(_Strict):
    """One check.

    Args:
        name: a path, such as "parity/han".
        outcome: "refused" where this machine cannot make it, "skipped" where no time was left.
        aim: what the numbers must be.
        numbers: name -> what was measured.
        told: why it failed or was refused; empty where it passed.
        seconds: that it took.
    """

    name: str
    outcome: Outcome
    aim: str
    numbers: dict[str, float] = {}
    told: str = ""
    seconds: float = 0.0

    @field_serializer("numbers")
    def _as_json_knows_them(self, numbers: dict[str, float]) -> dict[str, float | str]:
        return {name: x if math.isfinite(x) else str(x) for name, x in numbers.items()}


class GpuResults(_Strict):
    """Everything that one call of `benchmarks/gpu.sh` found."""

    schema_version: Literal[1] = 1
    quick: bool
    machine: Machine
    checks: list[Check] = []


def _told_by(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def this_machine(device: torch.device) -> Machine:
    """The machine, and what runs on it."""
    gpu = device.type == "cuda"
    properties = torch.cuda.get_device_properties(device) if gpu else None
    driver = _told_by("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if gpu else ""
    commit = _told_by("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    return Machine(
        device=properties.name if properties else "CPU",
        driver=driver.partition("\n")[0],
        memory_gib=properties.total_memory / 2**30 if properties else 0.0,
        torch=torch.__version__,
        cuda=torch.version.cuda or "",
        python=platform.python_version(),
        commit=commit + "+" * bool(_told_by("git", "status", "--porcelain", "--untracked-files=no")),
    )
