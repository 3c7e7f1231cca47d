"""Table 1: how often segments of each event type are found, missed and mistaken, for each way to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

import torch
from torch import Tensor

from coleaf_framework.experiments.comparing import Group, notes_of
from coleaf_framework.experiments.grid import Grid
from coleaf_framework.metrics.analysis import type_rates, type_table
from coleaf_framework.metrics.events import EVENT_TYPES
from coleaf_framework.results.event_types import types_table
from coleaf_framework.results.paper import TABLE_1
from coleaf_framework.results.rows import with_deviation
from coleaf_framework.results.tables import plain_table

RATES = ("TP", "TN", "FP", "FN")
_LEGEND = (
    "TP and FN: shares of the segments and classes that truly are of the type, which add up to 100; TN and FP: of "
    "those that are not. The paper's do not add up so (TP + FN = 138 for audible-only), and it does not say of what "
    "they are shares: compare within its rows alone."
)


def rates_by_row(groups: Sequence[Group]) -> dict[str, dict[str, Tensor]]:
    """Row -> event type -> TP, TN, FP and FN of each seed in percent, (S,4).

    Args:
        groups: a finished grid's rows, from `gather`.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for group in groups:
        predictions = [member.predictions for member in group.members]
        each = [type_rates(type_table(x.decided(), x.known_truth, x.mask)) for x in predictions]
        found[group.name] = {
            kind: torch.tensor([astuple(rates[kind]) for rates in each], dtype=torch.float64) for kind in EVENT_TYPES
        }
    return found


def rates_table(grid: Grid, groups: Sequence[Group], *, markdown: bool = False) -> str:
    """The rates of every row, and below them the paper's."""
    body = []
    for name, by_type in rates_by_row(groups).items():
        values = torch.cat([by_type[kind] for kind in EVENT_TYPES], dim=1)
        spread = values.std(0).tolist() if len(values) > 1 else [None] * values.shape[1]
        cells = [with_deviation(mean, each) for mean, each in zip(values.mean(0).tolist(), spread, strict=True)]
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
    """`types_table` of a finished grid's rows, and below it what must be said of them."""
    rows = {group.name: [member.predictions for member in group.members] for group in groups}
    notes = (f"NOTE: {note}" for note in notes_of(grid, groups))
    return "\n\n".join([types_table(rows, markdown=markdown), *notes])
