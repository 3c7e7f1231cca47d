"""A made-up split to hold files of events to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from coleaf_framework.results.given import SplitTruth
from tests.helpers.predictions import made_up


def split_truth(**changes: Any) -> SplitTruth:
    """Six videos of 2 to 5 segments of 1 s, with the classes Dog, Car and Speech."""
    base = made_up(0)
    truth = SplitTruth(
        "made-up", "val", base.ids, base.classes, base.known_truth, base.labels, base.mask,
        tuple(base.mask.sum(1).double().tolist()),
    )  # fmt: skip
    return replace(truth, **changes)


def one_video(segments: int, *classes: str, **changes: Any) -> SplitTruth:
    """One video "v" without events."""
    truth = SplitTruth(
        "made-up", "val", ("v",), classes or ("Dog", "Car"), torch.zeros(1, segments, 2, len(classes or "ab")).bool(),
        torch.zeros(1, len(classes or "ab")), torch.ones(1, segments, dtype=torch.bool), (float(segments),),
    )  # fmt: skip
    return replace(truth, **changes)
