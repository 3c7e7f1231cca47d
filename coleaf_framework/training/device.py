"""Where a run takes place and what makes it repeatable."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators, on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is cuda, then mps, then cpu.

    Raises:
        ValueError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as problem:
        raise ValueError(f"trainer.device {name!r} cannot be used here: {str(problem).splitlines()[0]}") from problem
