"""What this machine has, and how tensors get to its device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sent(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device, without waiting: a CUDA device reads it from page-locked memory meanwhile."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
