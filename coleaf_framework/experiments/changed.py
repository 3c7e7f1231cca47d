"""Whether the code or the data of a grid's runs have changed since they were trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from coleaf_framework.experiments.grid import Cell, Grid
from coleaf_framework.record.provenance import NOT_RECORDED, MadeOf, accepted, changes, record_accepted, rewritten
from coleaf_framework.record.run_record import read_record
from coleaf_framework.storage import CONFIG
from coleaf_framework.training.experiment import run_made_of


def accept_changes(cell: Cell, clauses: Sequence[str]) -> None:
    """Record that a cell is kept although its code or data have changed."""
    if clauses:
        record = read_record(cell.folder)
        made = record_accepted(record.made_of, run_made_of(cell.config), accepted(clauses))
        record.changed(made_of=made).write(cell.folder)


def changes_of(grid: Grid) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Compare the recorded code and data of the cells to the current ones.

    Returns:
        Name of a cell -> its changes, for cells with any; and name of every cell -> its caveats, such as code and data
        that were not recorded.
    """
    changed, doubtful, known = dict[str, list[str]](), dict[str, list[str]](), dict[str, MadeOf]()
    for cell in grid.cells:
        doubtful[cell.name] = []
        if not (cell.folder / CONFIG).is_file():
            continue
        before = read_record(cell.folder).made_of
        if before is None:
            doubtful[cell.name].append(NOT_RECORDED)
            continue
        config = cell.config.model_dump(mode="json", include={"anchor", "reference", "coleaf"})
        kind = json.dumps([config["anchor"], config["reference"], config["coleaf"]["enabled"]])
        if kind not in known:
            known[kind] = run_made_of(cell.config)
        if clauses := changes(before, known[kind]):
            changed[cell.name] = clauses
        doubtful[cell.name] += [f"since it was trained, {clause}" for clause in rewritten(before, known[kind])]
    return changed, doubtful


def was_accepted(cell: Cell) -> bool:
    """Whether a cell was kept though its code or data had changed."""
    made = read_record(cell.folder).made_of if (cell.folder / CONFIG).is_file() else None
    return made is not None and bool(made.accepted)


def require_unchanged(grid: Grid) -> None:
    """Check that no code or data changed while a grid was trained.

    Raises:
        ValueError: the code or data of a cell have changed; names the cell and the changes.
    """
    if changed := changes_of(grid)[0]:
        raise ValueError(changes_message(grid, changed))


def changes_message(grid: Grid, changed: Mapping[str, Sequence[str]]) -> str:
    """The sentence that refuses a grid of which cells have changed."""
    first, what = next(iter(changed.items()))
    return (
        f"{len(changed)} of {len(grid.cells)} runs in {grid.out} are of other code or data than now; of {first}, "
        f"{'; '.join(what)}: --rerun trains them anew, --accept-changes keeps them and says so"
    )
