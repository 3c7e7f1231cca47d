"""Confusion of event types, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from coleaf_framework.metrics.analysis import type_table
from coleaf_framework.metrics.events import EVENT_TYPES
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.tables import plain_table


def types_table(rows: Mapping[str, Sequence[Predictions]], *, markdown: bool = False) -> str:
    """Table of the predicted event types of the segments and classes of each true type, over all seeds of a row.

    Args:
        rows: name of a row -> its runs' predictions, all of the same videos.
        markdown: a Markdown table rather than a terminal's.
    """
    body = []
    for name, runs in rows.items():
        counts = torch.stack([type_table(x.decided(), x.known_truth, x.mask) for x in runs]).sum(0)
        for kind, row in zip(EVENT_TYPES, counts.tolist(), strict=False):
            total = sum(row)
            shares = (f"{100 * n / total:.1f} %" if total else "-" for n in row)
            body.append([f"{name}, {kind}", str(total // len(runs)), *shares])
    heads = ["true type of a segment's event", "segments", *(f"taken as {kind}" for kind in EVENT_TYPES), "missed"]
    return plain_table(heads, body, "What events were taken for", markdown=markdown)
