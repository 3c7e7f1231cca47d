"""Device, precision and random seeds of a run."""

from __future__ import annotations

import random

import numpy as np
import torch

from coleaf_framework._machine import cores
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.training.distributed import local_rank


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators, on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def require_processes(name: str, processes: int) -> None:
    """Check that this machine can start so many processes.

    Raises:
        ValueError: too many; names the setting `name` and a value that works.
    """
    most = max(64, 4 * cores())
    if processes > most:
        raise ValueError(f"{name}={processes}: at most {most} on a machine of {cores()} cores; set {name}={cores()}")


def choose_device(name: str, what: str = "trainer.device") -> torch.device:
    """The device called `name`; "auto" is cuda, then mps, then cpu. Under torchrun each process has its own GPU.

    Raises:
        ValueError: the device cannot be used here; names the setting `what`.
    """
    if name.partition(":")[0] == "meta":
        raise ValueError(f"{what} {name!r} cannot be used here: it computes nothing")
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", local_rank())
    if name == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as problem:
        raise ValueError(f"{what} {name!r} cannot be used here: {str(problem).splitlines()[0]}") from problem


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The networks' precision: "float32" or "bf16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def compile_networks(model: CoLeaF) -> None:
    """Compile both networks, in place.

    Raises:
        ValueError: the Anchor is called by an adapter, which compilation may bypass.
    """
    if model.adapter is not None:
        raise ValueError(
            "trainer.compile compiles a network that is called directly; this Anchor has an adapter or a declaration"
        )
    for network in (model.anchor, model.reference):
        if network is not None:
            network.compile(dynamic=False)
