"""A training script run by one process and by two ranks, which must compute the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coleaf_framework.storage import read_tensors

ROOT = Path(__file__).parents[2]
# What a script ends with, given `losses`, a dict, and `model`: its argument is the folder, then those of the caller.
WRITE = """
write_tensors(out / f"{rank}.gradients", {n: p.grad for n, p in model.named_parameters() if p.grad is not None})
(out / f"{rank}.json").write_text(json.dumps(losses))
"""
# What a script begins with: `out`, the folder, and `rank`.
BEGIN = """
import json, os, sys
from pathlib import Path
import torch
from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.storage import write_tensors
from tests.helpers.videos import RandomVideos
out, rank = Path(sys.argv[1]), os.environ.get("RANK", "0")
torch.manual_seed(0)
"""


def require_same_by_two_ranks(
    folder: Path, script: str, alone: Sequence[str] = (), ranks: Sequence[str] = (), *, atol: float
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Run a script by one process and by two ranks, and assert that losses and gradients are the same.

    Args:
        folder: an empty one.
        script: makes `model` and `losses`; stands between `BEGIN` and `WRITE`.
        alone: its further arguments in one process.
        ranks: its further arguments on two ranks.
        atol: of the gradients.

    Returns:
        Losses and gradients of the one process.
    """
    worker = folder / "worker.py"
    worker.write_text(BEGIN + script + WRITE)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    distributed = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, launcher, arguments in (("alone", [], alone), ("ranks", distributed, ranks)):
        (folder / name).mkdir()
        command = [sys.executable, *launcher, str(worker), str(folder / name), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
    losses: dict[str, float] = json.loads((folder / "alone/0.json").read_text())
    gradients = dict(read_tensors(folder / "alone/0.gradients"))
    for rank in range(2):
        assert json.loads((folder / f"ranks/{rank}.json").read_text()) == pytest.approx(losses, rel=1e-5)
        found = dict(read_tensors(folder / f"ranks/{rank}.gradients"))
        torch.testing.assert_close(found, gradients, rtol=1e-4, atol=atol)
    return losses, gradients
