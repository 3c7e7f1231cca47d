"""The 95 % intervals of a few columns, and the paired differences to the first row, as one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from coleaf_framework.data.dataset import Truth
from coleaf_framework.results.rows import Pair, Row, format_difference
from coleaf_framework.results.tables import plain_table

COLUMNS: Mapping[Truth, tuple[str, ...]] = {
    "modalities": (
        "segment/Type@AVo",
        "event/Type@AVo",
        "support/segment/Type@AVo",
        "support/event/Type@AVo",
    ),
    "joint": ("segment/AV", "event/AV", "support/segment/AV", "support/event/AV"),
}
_LEGEND = (
    'In brackets the 95 % interval, over {over}. "X less Y" is the paired difference, on the same videos. * marks an '
    "interval that excludes 0, ** a difference that is significant after Holm's correction for all columns."
)


def pairs_to_first(rows: Sequence[Row]) -> tuple[list[Pair], list[str]]:
    """The differences of rows to the first one.

    Rows are paired where they have the same seeds, or one run or file each, whose difference is over videos alone.

    Returns:
        The pairs, and a sentence for each row that cannot be paired.
    """
    first, *others = rows
    pairs, notes = [], []
    for row in others:
        if row.seeds == first.seeds or len(row.seeds) == len(first.seeds) == 1:
            pairs.append(Pair.of(row, first))
        else:
            notes.append(f"{row.name} and {first.name} have other seeds, so there is no paired difference of them")
    return pairs, notes


def interval_table(rows: Sequence[Row], pairs: Sequence[Pair], truth: Truth, *, markdown: bool = False) -> str:
    """The table.

    Args:
        rows: at least one.
        pairs: their differences.
        truth: the kind of ground truth, which says which columns there are.
        markdown: format as Markdown instead of for the terminal.
    """
    columns = COLUMNS[truth]
    body = []
    for row in rows:
        means, ends = row.means(), row.intervals()
        body.append([row.name, *(_with_interval(means[column], *ends[column]) for column in columns)])
    for pair in pairs:
        texts = format_difference(pair)
        body.append([pair.name, *(texts[column] for column in columns)])
    legend = _LEGEND.format(over="videos and seeds" if any(len(row.runs) > 1 for row in rows) else "videos")
    return plain_table(["", *columns], body, "95 % intervals", markdown=markdown) + f"\n\n{legend}"


def _with_interval(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" if math.isnan(low) else f"{mean:.1f} [{low:.1f}, {high:.1f}]"
