"""A GPU of its own for each cell that runs on this machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

import torch

from coleaf_framework.experiments.grid import Cell


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, each as `CUDA_VISIBLE_DEVICES` names it: a number or a UUID.

    They are counted without a CUDA context, which would take memory of the first GPU for as long as the grid runs.
    """
    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(i) for i in range(count)] if named is None else [name.strip() for name in named.split(",")]
    return tuple(names[:count])


def needs_gpu(cell: Cell) -> bool:
    """Whether a cell trains on a GPU if there is one."""
    return cell.config.trainer.device.partition(":")[0] in ("auto", "cuda")


def takes_any_gpu(cell: Cell) -> bool:
    """Whether a cell trains on a GPU that it does not name, so that it may be given one."""
    return cell.config.trainer.device in ("auto", "cuda")


def least_used(gpus: Sequence[str], used: Collection[str]) -> str:
    """The GPU with the fewest cells, the first among equals.

    Args:
        gpus: at least one.
        used: the GPU of each cell that runs.
    """
    taken = list(used)
    return min(gpus, key=taken.count)
