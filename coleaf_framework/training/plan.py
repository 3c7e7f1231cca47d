"""Which videos each training step takes, on each rank; a function of the seed and the epoch alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Batches whose videos are sorted by length together; more pad less and mix less.
_POOL = 20


@dataclass(frozen=True)
class MicroBatch:
    """The videos of one forward pass.

    Args:
        videos: their indices; never empty.
        fraction: of the step's videos, in [0,1]; 0 for a placeholder on a rank without videos.
    """

    videos: tuple[int, ...]
    fraction: float = 1.0


def plan_epoch(
    n: int,
    batch_size: int,
    seed: int,
    epoch: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    accumulate: int = 1,
    lengths: Sequence[int] | None = None,
) -> list[list[MicroBatch]]:
    """An epoch's steps, each a list of micro-batches to accumulate.

    The steps' videos do not depend on the number of ranks or micro-batches. Every video is in one step, and there
    in one micro-batch of one rank.

    Args:
        n: number of videos.
        batch_size: videos a step, over all ranks and micro-batches.
        seed: of the order.
        epoch: of the order.
        rank: whose micro-batches, from 0.
        world_size: number of ranks.
        accumulate: micro-batches a step.
        lengths: T of each video; then videos of similar length share a step.
    """
    generator = torch.Generator().manual_seed(mixed_seed(seed, "order", epoch))
    order = torch.randperm(n, generator=generator).tolist()
    if lengths is not None and len(set(lengths)) > 1:
        pool = _POOL * batch_size
        order = [v for i in range(0, n, pool) for v in sorted(order[i : i + pool], key=lengths.__getitem__)]
    batches = [order[i : i + batch_size] for i in range(0, n, batch_size)]
    if lengths is not None:
        batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
    return [_micro_batches(batch, rank, world_size, accumulate) for batch in batches]


def _micro_batches(batch: Sequence[int], rank: int, world_size: int, accumulate: int) -> list[MicroBatch]:
    own = batch[rank::world_size]
    pieces = [own[i::accumulate] for i in range(min(accumulate, len(own)))]
    found = [MicroBatch(tuple(piece), len(piece) / len(batch)) for piece in pieces]
    return found or [MicroBatch((batch[0],), 0.0)]


def mixed_seed(*parts: int | str) -> int:
    """A seed below 2^63 that differs wherever the parts do."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
