"""Choosing gates: each candidate's score against deciding and scoring anew, and the searches against plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coleaf_framework import AnchorOutput
from coleaf_framework.metrics import KEYS, SUPPORT, DecisionConfig, ModalityThresholds, all_scores, choose_gates, decide

GRID = (0.2, 0.5, 0.8)
BASE = DecisionConfig(gate="modality", gate_threshold=0.5, segment_threshold=0.4)


def videos(n: int = 12, classes: int = 3, segments: int = 4, seed: int = 0) -> tuple[AnchorOutput, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    output = AnchorOutput(
        segment_probs=rand(n, segments, 2, classes),
        video_probs=rand(n, classes),
        tokens=rand(n, segments, 2, 1),
        modality_probs=rand(n, 2, classes),
    )
    return output, rand(n, segments, 2, classes) < 0.4


def with_gates(gates: Tensor) -> DecisionConfig:
    thresholds = ModalityThresholds(audio=tuple(gates[0].tolist()), visual=tuple(gates[1].tolist()))
    return BASE.model_copy(update={"gate_threshold": thresholds})


def score(output: AnchorOutput, truth: Tensor, gates: Tensor, column: str, mask: Tensor | None = None) -> float:
    return all_scores(decide(output, with_gates(gates), mask), truth)[column]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from((*KEYS, *(SUPPORT + key for key in KEYS))), st.booleans(), st.integers(0, 2**31))
def test_the_reported_scores_are_those_of_deciding_anew(column: str, joint: bool, seed: int) -> None:
    output, truth = videos(seed=seed)
    chosen = choose_gates(
        output,
        truth,
        BASE,
        column=column,
        modalities=("audio", "visual"),
        search="joint" if joint else "coordinate",
        grid=GRID,
    )
    assert chosen.before == pytest.approx(score(output, truth, torch.full((2, 3), 0.5), column), nan_ok=True)
    assert chosen.after == pytest.approx(score(output, truth, chosen.gates, column), nan_ok=True)
    assert not chosen.after < chosen.before


def slow_coordinate(output: AnchorOutput, truth: Tensor, column: str, mask: Tensor | None) -> Tensor:
    gates = torch.full((2, truth.shape[-1]), 0.5)
    best = score(output, truth, gates, column, mask)
    for c in range(truth.shape[-1]):
        for value in GRID:
            changed = gates.clone()
            changed[1, c] = value
            found = score(output, truth, changed, column, mask)
            if found > best + 1e-9:
                best, gates = found, changed
    return gates


@pytest.mark.parametrize("column", ["event/V", "segment/AV", "support/event/Type@AVo"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_published_search(column: str, masked: bool) -> None:
    output, truth = videos()
    mask = torch.arange(4)[None] < torch.tensor([[4], [3], [2], [1]] * 3) if masked else None
    if mask is not None:
        truth = truth & mask[:, :, None, None]
    chosen = choose_gates(output, truth, BASE, column=column, grid=GRID, mask=mask)
    assert chosen.after == pytest.approx(
        score(output, truth, slow_coordinate(output, truth, column, mask), column, mask)
    )
    assert torch.equal(chosen.gates[0], torch.full((3,), 0.5))


def test_joint_ends_where_no_pair_of_gates_is_better() -> None:
    output, truth = videos(seed=3)
    column = "event/Type@AVo"
    chosen = choose_gates(output, truth, BASE, column=column, modalities=("audio", "visual"), search="joint", grid=GRID)
    for c in range(3):
        for a in GRID:
            for v in GRID:
                other = chosen.gates.clone()
                other[:, c] = torch.tensor([a, v])
                assert score(output, truth, other, column) <= chosen.after + 1e-9


def test_a_gate_on_the_video_can_be_chosen_too() -> None:
    output, truth = videos()
    base = DecisionConfig(segment_threshold=0.4)
    chosen = choose_gates(output, truth, base, column="segment/V", grid=GRID)
    thresholds = ModalityThresholds(audio=tuple(chosen.gates[0].tolist()), visual=tuple(chosen.gates[1].tolist()))
    decided = decide(output, base.model_copy(update={"gate_threshold": thresholds}))
    assert all_scores(decided, truth)["segment/V"] == pytest.approx(chosen.after)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"column": "event/Y"}, "no column 'event/Y'. Did you mean 'event/V'"),
        ({"search": "random"}, "neither 'coordinate' nor 'joint'"),
        ({"modalities": ("video",)}, "expected some of"),
        ({"grid": (0.5, 1.5)}, r"expected values in \[0, 1\]"),
    ],
)
def test_complaints(change: dict[str, object], message: str) -> None:
    output, truth = videos()
    with pytest.raises(ValueError, match=message):
        choose_gates(output, truth, BASE, **change)  # type: ignore[arg-type]
