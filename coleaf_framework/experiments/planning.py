"""Plan a grid: check all of its runs before any is trained, and compare them to what its folder already holds."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from coleaf_framework.experiments.cells import build_each, folder_stem, plan_cells
from coleaf_framework.experiments.changed import accept_changes, changes_message, changes_of, was_accepted
from coleaf_framework.experiments.grid import CELL, DONE, OUTPUT, Cell, CellPlan, Grid, Study, read_plan
from coleaf_framework.results.caveats import merge_caveats
from coleaf_framework.storage import require_place
from coleaf_framework.training.experiment import open_split
from coleaf_framework.training.run_folder import RESUME

logger = logging.getLogger(__name__)

OnChange = Literal["refuse", "rerun", "accept"]
# Settings that do not change the result of a run; any other difference makes it another run.
_MAY_DIFFER = {
    "trainer": ("device", "workers", "trackers", "project", "tracked_videos", "checkpoint_steps"),
    "data": ("cache",),
}
_SCORED_VIDEOS = ("root", "synthetic_val", "synthetic_test", "synthetic_seed")


def plan_grid(
    study: Study,
    anchors: Sequence[str],
    seeds: int,
    out: Path,
    *,
    data: Path | None = None,
    split: str = "test",
    config: Path | None = None,
    settings: Sequence[str] = (),
    on_change: OnChange = "refuse",
    column: str | None = None,
    optional: Collection[str] = (),
) -> Grid:
    """Plan the runs of a study, check them as far as possible without training, and write each cell's plan.

    Args:
        study: the variants to train and compare.
        anchors: names of plugins, "module:Class", or declaration files.
        seeds: number of seeds, at least 1.
        out: folder of the grid. Its existing cells are reused if their configuration is the same. Nothing is written
            before all checks have passed.
        data: folder in LLP's layout; with None, synthetic LLP.
        split: the split to score, which must have ground truth.
        config: YAML file for all cells.
        settings: "section.key=value" for all cells, or "ANCHOR:section.key=value" for those of one Anchor.
        on_change: what to do with existing cells whose code or data have changed since: "refuse" them, "rerun" them, or
            "accept" them with a caveat.
        column: the column that the conclusion is to be about, where one is asked for.
        optional: those of `anchors` that are left out, with a note, where they cannot be trained on the data.

    Raises:
        ValueError: an Anchor is unknown or named twice, none is left, a setting is invalid, a cell in `out` has another
            configuration, or the split has no ground truth, or none for the column or the study.
        FileNotFoundError: as `open_folder` does.
    """
    if not anchors or len(set(anchors)) < len(anchors):
        raise ValueError(f"--anchors {','.join(anchors)!r}: expected each name once, such as han,cmpae")
    if len({folder_stem(anchor) for anchor in anchors}) < len(anchors):
        raise ValueError(f"--anchors {','.join(anchors)!r}: two have the same name in their folders: rename a file")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: at least 1")
    planned = plan_cells(study, anchors, optional, seeds, out, data, config, settings)
    cells, notes = planned.cells, planned.notes
    _require_same_scored_videos(cells)
    study.require_scorable(open_split(cells[0].config.data, split), column)
    if split == "val" and cells[0].config.trainer.monitor:  # also a caveat of the scores, but those come late
        logger.warning(
            "the best epoch is chosen on the very split that is scored: --set trainer.monitor=[] keeps the last"
        )
    trained = tuple(anchor for anchor in anchors if anchor not in planned.left_out)
    grid = Grid(study, trained, seeds, tuple(cells), split, out, notes, planned.left_out)
    new = [cell for cell in cells if _is_new(cell, grid)]
    changed, doubtful = changes_of(grid)
    if changed and on_change == "refuse":
        raise ValueError(changes_message(grid, changed))
    if on_change == "rerun":
        new += [cell for cell in cells if cell.name in changed or doubtful[cell.name] or was_accepted(cell)]
    else:
        grid = replace(grid, notes=(*notes, *merge_caveats(doubtful)))
    build_each(new, planned.built)
    if on_change == "accept":
        for cell in cells:
            accept_changes(cell, changed.get(cell.name, ()))
    for cell in new:
        _begin(cell, split, f"{study.name} {folder_stem(cell.anchor)} {cell.variant.name}")
    return grid


def _begin(cell: Cell, split: str, group: str) -> None:
    """Write a cell's plan, and remove the files that would make it count as done or resume it."""
    for name in (DONE, RESUME):
        (cell.folder / name).unlink(missing_ok=True)
    CellPlan(split=split, config=cell.config, group=group).write(cell.folder)


def _require_same_scored_videos(cells: Sequence[Cell]) -> None:
    for cell in cells:
        for key in _SCORED_VIDEOS:
            if getattr(cell.config.data, key) != getattr(cells[0].config.data, key):
                raise ValueError(f"{cell.name} changes data.{key}, so it would be scored on other videos: leave it out")


def _is_new(cell: Cell, grid: Grid) -> bool:
    """Whether nothing was trained in a cell's folder yet; otherwise the plan there must be the same.

    Raises:
        ValueError, FileExistsError: the folder holds another plan (names the first difference) or something else.
    """
    path = cell.folder / CELL
    require_place(cell.folder, "a cell's folder", folder=True)
    files = {file.name for file in cell.folder.iterdir()} if cell.folder.is_dir() else set()
    if files <= {CELL, OUTPUT}:  # nothing was trained there
        return True
    if CELL not in files:
        raise FileExistsError(f"{cell.folder}: holds something else than a cell of a grid: take another --out")
    before = read_plan(cell.folder)
    if before.split != grid.split:
        raise ValueError(f"{path}: was scored on {before.split!r}, now it is {grid.split!r}: take another --out")
    was = before.config.with_absolute_root().model_dump(mode="json")
    for section, new in cell.config.model_dump(mode="json").items():
        old = was.get(section)
        if not isinstance(new, dict) or not isinstance(old, dict):
            old, new = {section: old}, {section: new}
        for key, value in new.items():
            if key not in _MAY_DIFFER.get(section, ()) and old.get(key) != value:
                raise ValueError(
                    f"{path}: has {section}.{key} = {old.get(key)!r}, now it is {value!r}: give the grid the same "
                    "settings, or another --out"
                )
    return False
