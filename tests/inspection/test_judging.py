"""The judge of proposals, and the truths that it holds them to."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import DERIVE, Batch, Out, wrap
from coleaf_framework.adapters import flatten
from tests.helpers.judging import FIELDS, Case, judge_description
from tests.helpers.published_traps import TRAPS
from tests.helpers.random_networks import random_network

RUNNABLE = {name: case for name, case in TRAPS.items() if case.raises is None}
DECLARABLE = {
    name: case
    for name, case in RUNNABLE.items()
    if case.truth.segment_probs is not None and name not in ("ClassesPlusOne", "EqualWidthsUnhelpful")
}
# Outputs that change from call to call in evaluation are refused, however they are declared.
ACCEPTABLE = {name: case for name, case in DECLARABLE.items() if name != "DropoutInEvaluation"}
pytestmark = pytest.mark.slow
SEEDS = range(100, 108)


@dataclasses.dataclass
class Proposal:
    """What the judge reads of a `Description`."""

    proposed: dict[str, Any]
    call: str | None = None
    problem: str | None = None


def network_of(case: Case) -> nn.Module:
    made = case.make()
    return made if isinstance(made, nn.Module) else made(**case.options["anchor_options"])  # type: ignore[no-any-return]


def verdicts(case: Case, proposed: dict[str, Any]) -> dict[str, str]:
    follow = case.options.get("follow_device", False)
    judged = judge_description(Proposal(proposed), network_of(case), case.truth, case.streams, follow_device=follow)
    return dict(judged.verdicts)


def true_fields(case: Case, tokens: Any) -> dict[str, Any]:
    values = {what: getattr(case.truth, what) for what in FIELDS} | {"tokens": tokens}
    return {what: value for what, value in values.items() if what not in case.truth.undecided}


def require_truth_is_right(case: Case) -> None:
    for tokens in case.truth.tokens or (None,):
        assert set(verdicts(case, true_fields(case, tokens)).values()) == {"right"}
        silent = verdicts(case, {})
        assert all((silent[what] == "right") for what in case.truth.undecided)
        assert "wrong" not in silent.values()


def require_crossed_is_wrong(case: Case) -> None:
    """The segments with their modalities crossed."""
    segments = case.truth.segment_probs
    out = segments if isinstance(segments, Out) else Out(segments[0], visual=segments[1]) if isinstance(
        segments, tuple
    ) else Out(segments)  # fmt: skip
    if out.visual is not None:
        crossed = dataclasses.replace(out, path=out.visual, visual=out.path)
    else:
        crossed = dataclasses.replace(out, order=tuple(reversed(out.order)))  # type: ignore[arg-type]
    found = verdicts(case, {"segment_probs": crossed, "video_probs": DERIVE})
    assert found["segment_probs"] == "wrong"


@pytest.mark.parametrize("case", RUNNABLE.values(), ids=RUNNABLE.keys())
def test_the_truth_is_right_and_silence_is_not_wrong(case: Case) -> None:
    require_truth_is_right(case)


@pytest.mark.parametrize("case", ACCEPTABLE.values(), ids=ACCEPTABLE.keys())
def test_wrap_accepts_the_truth(case: Case) -> None:
    for tokens in case.truth.tokens:
        given = {key: value for key, value in case.truth.declaration().items() if value is not None}
        shape: dict[str, Any] = {"streams": case.streams, "num_classes": case.num_classes}
        wrap(case.make(), **shape, **case.options, **{**given, "tokens": tokens})


@pytest.mark.parametrize("case", DECLARABLE.values(), ids=DECLARABLE.keys())
def test_crossed_modalities_are_wrong(case: Case) -> None:
    require_crossed_is_wrong(case)


def all_outputs(raw: object, batch: Batch) -> Tensor:
    """A loss that reads all that a network returns, since labels may reach no segment head by a default loss."""
    return torch.stack([x.mean() for _, x in flatten(raw) if x.requires_grad]).sum()


def test_the_truth_of_random_networks_is_right() -> None:
    for seed in SEEDS:
        network = random_network(seed)
        require_truth_is_right(network.case())
        require_crossed_is_wrong(network.case())
        if not network.truth.undecided:
            for tokens in network.truth.tokens:
                given = {key: value for key, value in network.truth.declaration().items() if value is not None}
                shape: dict[str, Any] = {"streams": network.streams, "num_classes": network.num_classes}
                wrap(network.make(), loss=all_outputs, **shape, **{**given, "tokens": tokens})


def test_random_networks_are_of_every_kind() -> None:
    networks = [random_network(seed) for seed in range(300)]
    undecided = [sum(what in network.truth.undecided for network in networks) for what in FIELDS]
    assert all(3 <= number <= 100 for number in undecided)
    for trait in ("names", "arguments", "encoder", "layout", "video", "modality", "doubt", "container"):
        assert len({network.traits[trait] for network in networks}) >= 3
