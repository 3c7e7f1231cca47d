"""Table 1: true and false positive and negative rates of each event type, for each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

import torch
from torch import Tensor

from coleaf_framework.experiments.comparing import Group, notes_of
from coleaf_framework.experiments.grid import Grid
from coleaf_framework.metrics.analysis import type_rates, type_table
from coleaf_framework.metrics.events import EVENT_TYPES
from coleaf_framework.results.columns import require_types
from coleaf_framework.results.event_types import types_table
from coleaf_framework.results.paper import TABLE_1
from coleaf_framework.results.rows import with_deviation
from coleaf_framework.results.tables import plain_table

RATES = ("TP", "TN", "FP", "FN")
_LEGEND = (
    "TP and FN are shares of the segments and classes whose true event is of the type, and add up to 100; TN and FP "
    "are shares of the others. The paper's TP and FN do not add up to 100 (138 for audible-only), and it does not "
    "define them: compare its rows only to each other."
)


def rates_by_row(groups: Sequence[Group]) -> dict[str, dict[str, Tensor]]:
    """Rates of each row by event type.

    Args:
        groups: the rows of a finished grid, from `gather`.

    Returns:
        Name of a row -> event type -> (S,4), TP, TN, FP and FN of each seed in percent.

    Raises:
        ValueError: the ground truth does not tell the types of events apart.
    """
    first = groups[0].members[0].predictions
    require_types(first.truth_kind, "coleaf rates", first.where)
    by_row: dict[str, dict[str, Tensor]] = {}
    for group in groups:
        predictions = [member.predictions for member in group.members]
        by_seed = [type_rates(type_table(x.decided(), x.known_truth, x.mask)) for x in predictions]
        by_row[group.name] = {
            kind: torch.tensor([astuple(rates[kind]) for rates in by_seed], dtype=torch.float64) for kind in EVENT_TYPES
        }
    return by_row


def rates_table(grid: Grid, groups: Sequence[Group], *, markdown: bool = False) -> str:
    """The table of the rates of every row and of the paper, followed by the confusion of event types."""
    body = []
    for name, by_type in rates_by_row(groups).items():
        values = torch.cat([by_type[kind] for kind in EVENT_TYPES], dim=1)
        deviations = values.std(0).tolist() if len(values) > 1 else [None] * values.shape[1]
        cells = [with_deviation(mean, std) for mean, std in zip(values.mean(0).tolist(), deviations, strict=True)]
        body.append([name, *cells])
    for name, label in (("unimodal", "unimodal (U)"), ("alone", "unimodal and cross-modal (U+C)")):
        published = (value for kind in EVENT_TYPES for value in TABLE_1[name][kind])
        body.append([f"PAPER, LLP test: cmpae {label}", *(f"{value:.1f}" for value in published)])
    heads = [f"{kind} {rate}" for kind in EVENT_TYPES for rate in RATES]
    first = groups[0].members[0].predictions
    where = f"{first.data} {first.split}, {len(first.ids)} videos"
    title = f"{grid.study.question}: {where}, percent of segments times classes"
    if grid.seeds > 1:
        title += f", mean ± standard deviation over {grid.seeds} seeds"
    rates = plain_table(["", *heads], body, title, markdown=markdown)
    return "\n\n".join([rates, _LEGEND, types_of_grid(grid, groups, markdown=markdown)])


def types_of_grid(grid: Grid, groups: Sequence[Group], *, markdown: bool = False) -> str:
    """`types_table` of the rows of a finished grid, with their caveats below it."""
    rows = {group.name: [member.predictions for member in group.members] for group in groups}
    notes = (f"NOTE: {note}" for note in notes_of(grid, groups))
    return "\n\n".join([types_table(rows, markdown=markdown), *notes])
