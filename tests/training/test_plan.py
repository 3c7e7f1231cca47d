"""Which videos a step takes: every one once, the same on any number of ranks, of similar length where asked."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework.training.plan import mixed_seed, plan_epoch

sizes = st.integers(1, 60)
small = st.integers(1, 5)


def videos_of_steps(n: int, batch_size: int, world_size: int, accumulate: int, **options: object) -> list[list[int]]:
    """Each step's videos over all ranks and micro-batches, sorted; checks fractions on the way."""
    plans = [
        plan_epoch(n, batch_size, 7, 3, rank=rank, world_size=world_size, accumulate=accumulate, **options)  # type: ignore[arg-type]
        for rank in range(world_size)
    ]
    assert len({len(plan) for plan in plans}) == 1
    steps = []
    for of_ranks in zip(*plans, strict=True):
        micro_batches = [micro_batch for micro_batches in of_ranks for micro_batch in micro_batches]
        real = [micro_batch for micro_batch in micro_batches if micro_batch.fraction]
        assert math.isclose(sum(micro_batch.fraction for micro_batch in micro_batches), 1.0)
        assert all(micro_batch.videos for micro_batch in micro_batches)
        assert all(len(micro_batches) <= accumulate for micro_batches in of_ranks)
        total = sum(len(micro_batch.videos) for micro_batch in real)
        assert all(math.isclose(micro_batch.fraction, len(micro_batch.videos) / total) for micro_batch in real)
        steps.append(sorted(video for micro_batch in real for video in micro_batch.videos))
    return steps


@given(n=sizes, batch_size=sizes, world_size=small, accumulate=small)
def test_every_video_is_taken_once(n: int, batch_size: int, world_size: int, accumulate: int) -> None:
    steps = videos_of_steps(n, batch_size, world_size, accumulate)
    assert sorted(video for step in steps for video in step) == list(range(n))
    assert [len(step) for step in steps[:-1]] == [batch_size] * (len(steps) - 1)


def test_a_step_has_no_more_parts_than_videos() -> None:
    assert plan_epoch(6, 4, 0, 1, accumulate=10**12) == plan_epoch(6, 4, 0, 1, accumulate=4)


@given(n=sizes, batch_size=sizes, world_size=small, accumulate=small)
def test_steps_do_not_depend_on_ranks_or_parts(n: int, batch_size: int, world_size: int, accumulate: int) -> None:
    assert videos_of_steps(n, batch_size, world_size, accumulate) == videos_of_steps(n, batch_size, 1, 1)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60), batch_size=small, world_size=small)
def test_buckets_take_every_video_once_and_sort_by_length(lengths: list[int], batch_size: int, world_size: int) -> None:
    n = len(lengths)
    steps = videos_of_steps(n, batch_size, world_size, 1, lengths=lengths)
    assert sorted(video for step in steps for video in step) == list(range(n))
    if n <= 20 * batch_size:  # one pool: no step's lengths reach into another's
        ranges = sorted((min(lengths[v] for v in step), max(lengths[v] for v in step)) for step in steps)
        assert all(longest <= shortest for (_, longest), (shortest, _) in pairwise(ranges))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    orders = [str(plan_epoch(20, 4, seed, epoch)) for seed in (0, 1) for epoch in (1, 2)]
    assert len(set(orders)) == 4
    assert orders[0] == str(plan_epoch(20, 4, 0, 1))


def test_seeds_do_not_run_into_each_other() -> None:
    """Step 11 of rank 0 is not step 1 of rank 10."""
    seeds = {mixed_seed(seed, "step", step, rank) for seed in range(3) for step in range(50) for rank in range(12)}
    assert len(seeds) == 3 * 50 * 12
    assert all(0 <= seed < 2**63 for seed in seeds)
