"""Look-alikes with one trap each: `describe` proposes nothing wrong for them, and what a careful reader would see."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from coleaf_framework import describe
from tests.helpers.judging import Case, judge, run_call
from tests.helpers.published_traps import TRAPS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", TRAPS.values(), ids=TRAPS.keys())
def test_no_field_is_wrong_and_the_plain_ones_are_proposed(case: Case) -> None:
    judgement = judge(case)
    assert judgement.verdict != "wrong", judgement.explain(case.name)
    if case.raises is None:
        plain = {what for what in judgement.verdicts if what not in case.truth.optional}
        missing = [what for what in plain if judgement.verdicts[what] == "absent"]
        assert not missing, judgement.explain(case.name, ("absent",))
    if judgement.call is not None and "anchor_options" not in case.options:
        run_call(judgement.call, case.make())


@pytest.mark.parametrize("case", [x for x in TRAPS.values() if x.raises], ids=lambda case: case.name)
def test_the_most_telling_error_is_told(case: Case) -> None:
    with pytest.raises((ValueError, TypeError), match=case.raises):
        describe(case.make(), streams=case.streams, num_classes=case.num_classes, **case.options)


@pytest.mark.parametrize("name", ["UncertaintyNamed", "StrongMixingUnnamed", "ClassTokens", "DropoutInEvaluation"])
def test_a_class_gets_the_same_text_in_any_random_state(name: str) -> None:
    case = TRAPS[name]
    kind, texts = type(case.make()), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        texts.append(str(describe(kind, streams=case.streams, num_classes=case.num_classes)))
    assert texts[0] == texts[1]
