"""The processes of a run under torchrun; one process is a run of one rank."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

_SECONDS_FOR_THREADS = 0.2


@dataclass(frozen=True)
class DistributedContext:
    """This process among those that train together.

    Args:
        rank: its number, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> DistributedContext:
        """Join the processes that torchrun started; a context of size 1 without torchrun.

        CPU tensors are sent by gloo, CUDA tensors by nccl.
        """
        if not dist.is_available():
            return cls()
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
                return cls()
            if torch.cuda.is_available():
                torch.cuda.set_device(local_rank())
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(_leave)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """True on rank 0, which writes files and shows progress."""
        return self.rank == 0

    def part(self, n: int) -> range:
        """Indices below `n` that this rank handles; each index belongs to exactly one rank."""
        return range(self.rank, n, self.size)

    def highest(self, value: int) -> int:
        """The maximum over ranks."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def total(self, values: list[float]) -> list[float]:
        """Element-wise sums over ranks; all ranks pass lists of one length."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def interleaved(self, tensors: Mapping[str, Tensor], own: int, total: int) -> dict[str, Tensor]:
        """Gather the rows that `part` divided among the ranks, in their original order.

        Args:
            tensors: name -> (K, ...), of which the first `own` rows count, on the CPU. All ranks have the same names
                and, but for the first two axes, the same shapes; the second axis, if it differs, is padded with zeros.
            own: how many rows this rank gives.
            total: how many there are.
        """
        if self.size == 1:
            return dict(tensors)
        found = {}
        for name, x in tensors.items():
            rows, second = -(-total // self.size), self.highest(x.shape[1])
            padded = torch.zeros(rows, second, *x.shape[2:], dtype=torch.uint8 if x.dtype == torch.bool else x.dtype)
            padded[:own, : x.shape[1]] = x[:own]
            all_ = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(all_, padded)
            found[name] = torch.stack(all_, dim=1).flatten(0, 1)[:total].to(x.dtype)
        return found

    def from_first(self, tensors: Iterable[Tensor]) -> None:
        """Broadcast the tensors of rank 0 to all ranks, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def bytes_from_first(self, content: bytes | None) -> bytes | None:
        """Broadcast the bytes of rank 0 to all ranks."""
        if self.size == 1:
            return content
        length = torch.tensor(-1 if content is None else len(content))
        dist.broadcast(length, src=0)
        if length < 0:
            return None
        buffer = torch.empty(int(length), dtype=torch.uint8)
        if content is not None and self.first:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        dist.broadcast(buffer, src=0)
        return buffer.numpy().tobytes()


def local_rank() -> int:
    """This process's number on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def lost_contact(problem: BaseException) -> bool:
    """Whether an error means that another rank has ended."""
    text = str(problem)
    return isinstance(problem, RuntimeError) and (
        isinstance(problem, dist.DistError) or any(word in text for word in ("gloo", "NCCL", "Connection closed"))
    )


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
        # DistributedDataParallel keeps the group's threads alive. One that still waits for Python's lock, to release a
        # tensor, would abort the process once the interpreter ends; while this thread sleeps it gets the lock.
        time.sleep(_SECONDS_FOR_THREADS)
