"""Plan a grid: check all of its runs before any is trained, and compare them to what its folder already holds."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from coleaf_framework.adapters import is_declaration_file, read_declaration
from coleaf_framework.experiments.grid import (
    CELL,
    DONE,
    OUTPUT,
    SET_BY_THE_GRID,
    Cell,
    CellPlan,
    Grid,
    Study,
    Variant,
    read_plan,
)
from coleaf_framework.experiments.steps import missing_steps
from coleaf_framework.plugins import takes_option
from coleaf_framework.record.provenance import NOT_RECORDED, MadeOf, accepted, changes, record_accepted, rewritten
from coleaf_framework.record.run_record import read_record
from coleaf_framework.record.settings import as_setting, load_config
from coleaf_framework.results.caveats import merge_caveats
from coleaf_framework.storage import CONFIG, read_yaml, require_place
from coleaf_framework.training.data_fit import require_read_labels, with_fitting_monitor
from coleaf_framework.training.device import choose_device
from coleaf_framework.training.experiment import (
    build_model,
    has_split,
    open_split,
    open_training_split,
    run_made_of,
)
from coleaf_framework.training.run_folder import RESUME

logger = logging.getLogger(__name__)

OnChange = Literal["refuse", "rerun", "accept"]
# Settings that do not change the result of a run; any other difference makes it another run.
_MAY_DIFFER = {"trainer": ("device", "workers", "tensorboard", "checkpoint_steps"), "data": ("cache",)}
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

    Raises:
        ValueError: an Anchor is unknown or named twice, a setting is invalid, a cell in `out` has another
            configuration, or the split has no ground truth, or none for the column or the study.
        FileNotFoundError: as `open_folder` does.
    """
    if not anchors or len(set(anchors)) < len(anchors):
        raise ValueError(f"--anchors {','.join(anchors)!r}: expected each name once, such as han,cmpae")
    if len({_folder_stem(anchor) for anchor in anchors}) < len(anchors):
        raise ValueError(f"--anchors {','.join(anchors)!r}: two have the same name in their folders: rename a file")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: at least 1")
    cells, notes = _planned_cells(study, anchors, seeds, out, data, config, settings)
    _require_same_scored_videos(cells)
    study.require_scorable(open_split(cells[0].config.data, split), column)
    if split == "val" and cells[0].config.trainer.monitor:  # also a caveat of the scores, but those come late
        logger.warning(
            "the best epoch is chosen on the very split that is scored: --set trainer.monitor=[] keeps the last"
        )
    grid = Grid(study, tuple(anchors), seeds, tuple(cells), split, out, notes)
    new = [cell for cell in cells if _is_new(cell, grid)]
    changed, doubtful = _compared(grid)
    if changed and on_change == "refuse":
        raise ValueError(_changes_message(grid, changed))
    if on_change == "rerun":
        new += [cell for cell in cells if cell.name in changed or doubtful[cell.name] or _was_accepted(cell)]
    else:
        grid = replace(grid, notes=(*notes, *merge_caveats(doubtful)))
    for i, cell in enumerate({(cell.anchor, cell.variant.name): cell for cell in new}.values()):
        _build(cell, log=i == 0)  # what is said of the data holds for every cell
    if on_change == "accept":
        for cell in cells:
            _accept(cell, changed.get(cell.name, ()))
    for cell in new:
        _begin(cell, split)
    return grid


def _planned_cells(
    study: Study,
    anchors: Sequence[str],
    seeds: int,
    out: Path,
    data: Path | None,
    config: Path | None,
    settings: Sequence[str],
) -> tuple[list[Cell], tuple[str, ...]]:
    """The cells of a study, and a note on each variant that an Anchor has no option for."""
    shared, own = _divide(settings, anchors, study)
    _require_both_ways(config, study)
    if data is not None:
        shared.append(as_setting("data.root", data.resolve().as_posix()))
    cells, notes = [], []
    for anchor, variant in itertools.product(anchors, study.variants):
        if variant.needs is not None and not takes_option("anchor", _network_of(anchor), variant.needs):
            notes.append(f"{anchor}: takes no option {variant.needs}, so it has no row {variant.label!r}")
            continue
        own_settings = [*shared, *own[anchor], *variant.settings]
        cells += [_cell(anchor, variant, seed, out, config, own_settings) for seed in range(seeds)]
    return cells, tuple(dict.fromkeys(notes))


def _accept(cell: Cell, clauses: Sequence[str]) -> None:
    """Record that a cell is kept although its code or data have changed."""
    if clauses:
        record = read_record(cell.folder)
        made = record_accepted(record.made_of, run_made_of(cell.config), accepted(clauses))
        record.changed(made_of=made).write(cell.folder)


def _begin(cell: Cell, split: str) -> None:
    """Write a cell's plan, and remove the files that would make it count as done or resume it."""
    for name in (DONE, RESUME):
        (cell.folder / name).unlink(missing_ok=True)
    CellPlan(split=split, config=cell.config).write(cell.folder)


def _compared(grid: Grid) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
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


def _was_accepted(cell: Cell) -> bool:
    made = read_record(cell.folder).made_of if (cell.folder / CONFIG).is_file() else None
    return made is not None and bool(made.accepted)


def require_unchanged(grid: Grid) -> None:
    """Check that no code or data changed while a grid was trained.

    Raises:
        ValueError: the code or data of a cell have changed; names the cell and the changes.
    """
    if changed := _compared(grid)[0]:
        raise ValueError(_changes_message(grid, changed))


def _changes_message(grid: Grid, changed: Mapping[str, Sequence[str]]) -> str:
    first, what = next(iter(changed.items()))
    return (
        f"{len(changed)} of {len(grid.cells)} runs in {grid.out} are of other code or data than now; of {first}, "
        f"{'; '.join(what)}: --rerun trains them anew, --accept-changes keeps them and says so"
    )


def _cell(anchor: str, variant: Variant, seed: int, out: Path, config: Path | None, settings: Sequence[str]) -> Cell:
    identity = (as_setting("anchor.name", anchor), f"trainer.seed={seed}")
    resolved = load_config(config, [*settings, *identity]).with_absolute_root()
    if steps := missing_steps(resolved):
        raise ValueError(
            f"{anchor} {variant.label}: recipe {resolved.recipe} has steps before its training, which a grid does not "
            f"make: pass their result, {steps.instead}, or take coleaf train --recipe {resolved.recipe}"
        )
    stem = _folder_stem(anchor)
    return Cell(anchor, variant, seed, out / f"{stem}-{variant.name}-seed{seed}", resolved)


def _network_of(anchor: str) -> str:
    """The name of an Anchor's plugin or class, which a declaration file holds."""
    return read_declaration(anchor).network if is_declaration_file(anchor) else anchor


def _folder_stem(anchor: str) -> str:
    """How the folders of an Anchor's cells begin: its name, of a declaration file the file's without its ending."""
    return Path(anchor).stem if is_declaration_file(anchor) else anchor.replace(":", ".")


def _require_same_scored_videos(cells: Sequence[Cell]) -> None:
    for cell in cells:
        for key in _SCORED_VIDEOS:
            if getattr(cell.config.data, key) != getattr(cells[0].config.data, key):
                raise ValueError(f"{cell.name} changes data.{key}, so it would be scored on other videos: leave it out")


def _build(cell: Cell, *, log: bool) -> None:
    """Build a cell's model without training it, and check its options and what it monitors.

    Args:
        cell: the cell.
        log: whether to say which columns it monitors, where its data do not have the default's.

    Raises:
        ValueError: the model cannot be built or monitored; names the Anchor and the variant.
    """
    try:
        data = open_training_split(cell.config)
        require_read_labels(build_model(cell.config, data), data)
        cell.config.decision.require_classes(len(data.classes), data.classes)
        choose_device(cell.config.trainer.device)
        if has_split(cell.config.data, "val"):
            with_fitting_monitor(cell.config.trainer, open_split(cell.config.data, "val"), log=log)
    except (ValueError, TypeError, ImportError) as problem:
        raise ValueError(f"{cell.anchor} {cell.variant.label}: {problem}") from problem


def _require_both_ways(config: Path | None, study: Study) -> None:
    """Check that the configuration file does not disable CoLeaF, which the variants of the study would override."""
    section = read_yaml(config).get("coleaf") if config is not None else None
    if isinstance(section, Mapping) and section.get("enabled") is False:
        raise ValueError(f"{config}: coleaf.enabled is false, but {study.name} sets that itself: leave it out")


def _divide(settings: Sequence[str], anchors: Sequence[str], study: Study) -> tuple[list[str], dict[str, list[str]]]:
    """Split the settings into those for all cells and those for each Anchor."""
    shared: list[str] = []
    own: dict[str, list[str]] = {anchor: [] for anchor in anchors}
    for setting in settings:
        anchor = next((a for a in anchors if setting.startswith(f"{a}:")), None)
        text = setting if anchor is None else setting.removeprefix(f"{anchor}:")
        key = text.partition("=")[0]
        if key in SET_BY_THE_GRID:
            raise ValueError(f"--set {setting!r}: a grid sets that by {SET_BY_THE_GRID[key]}")
        if all(any(setting_.partition("=")[0] == key for setting_ in variant.settings) for variant in study.variants):
            raise ValueError(
                f"--set {setting!r}: {study.name} sets that itself, differently for each row: leave it out"
            )
        if anchor is None and ":" in key:
            raise ValueError(
                f"--set {setting!r}: {key.rpartition(':')[0]!r} is not among --anchors {','.join(anchors)}"
            )
        (shared if anchor is None else own[anchor]).append(text)
    return shared, own


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
