"""Random networks: whatever `describe` proposes for one is what a careful reader of its source would declare."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coleaf_framework import describe
from tests.helpers.judging import judge, run_call
from tests.helpers.random_networks import random_network

pytestmark = pytest.mark.slow
FIXED = 15
SEEDS = st.integers(0, 1_000_000)


def require_nothing_wrong(seed: int) -> None:
    network = random_network(seed)
    torch.manual_seed(seed)
    judgement = judge(network.case())
    assert judgement.verdict != "wrong", (
        f"{judgement.explain(f'random_network({seed})')}\n{network.traits}\n{network.source}"
    )
    if judgement.call is not None and seed % 3 == 0:
        run_call(judgement.call, network.make())


@pytest.mark.parametrize("seed", range(FIXED))
def test_nothing_is_wrong(seed: int) -> None:
    require_nothing_wrong(seed)


@settings(max_examples=10, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(SEEDS)
def test_nothing_is_wrong_for_others(seed: int) -> None:
    require_nothing_wrong(seed)


@pytest.mark.parametrize("seed", [0, 3, 6])
def test_a_class_gets_the_same_text_in_any_random_state(seed: int) -> None:
    network = random_network(seed)
    kind, texts = type(network.make()), []
    for state in (1, 2):
        torch.manual_seed(state)
        random.seed(state)
        np.random.seed(state)
        texts.append(str(describe(kind, streams=network.streams, num_classes=network.num_classes)))
    assert texts[0] == texts[1]


def test_a_seed_gives_one_source() -> None:
    assert random_network(7).source == random_network(7).source
    assert len({random_network(seed).source for seed in range(50)}) == 50
