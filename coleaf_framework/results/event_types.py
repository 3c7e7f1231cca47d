"""Confusion of event types, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from coleaf_framework.metrics.analysis import SEGMENT_TYPES, type_table
from coleaf_framework.metrics.events import EVENT_TYPES
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.tables import plain_table


def true_types(predictions: Predictions) -> tuple[str, ...]:
    """The types that a segment's true event may have; "none" is no event.

    In joint ground truth, which has audible-visible events alone, "none" is no type: audible-only and visible-only
    events are not annotated there.
    """
    return ("audible-visible",) if predictions.truth_kind == "joint" else SEGMENT_TYPES


def types_table(rows: Mapping[str, Sequence[Predictions]], *, markdown: bool = False) -> str:
    """Table of the predicted event types of the segments and classes of each true type, over all seeds of a row.

    Where the ground truth does not tell the types apart, all of its events are audible-visible.

    Args:
        rows: name of a row -> its runs' predictions, all of the same videos.
        markdown: a Markdown table rather than a terminal's.
    """
    body = []
    for name, runs in rows.items():
        counts = torch.stack([type_table(x.decided(), x.known_truth, x.mask) for x in runs]).sum(0)
        for kind, row in zip(EVENT_TYPES, counts.tolist(), strict=False):
            if kind not in true_types(runs[0]):
                continue
            total = sum(row)
            shares = (f"{100 * n / total:.1f} %" if total else "-" for n in row)
            body.append([f"{name}, {kind}", str(total // len(runs)), *shares])
    heads = ["true type of a segment's event", "segments", *(f"taken as {kind}" for kind in EVENT_TYPES), "missed"]
    return plain_table(heads, body, "What events were taken for", markdown=markdown)
