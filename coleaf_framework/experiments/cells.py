"""The cells of a grid: one run for each Anchor, variant and seed, each checked without training it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coleaf_framework._text import one_line
from coleaf_framework.adapters import is_declaration_file, read_declaration
from coleaf_framework.experiments.grid import SET_BY_THE_GRID, Cell, Study, Variant
from coleaf_framework.experiments.steps import missing_steps
from coleaf_framework.plugins import takes_option
from coleaf_framework.record.settings import as_setting, load_config
from coleaf_framework.storage import read_yaml
from coleaf_framework.training.data_fit import require_answer, require_read_labels, with_fitting_monitor
from coleaf_framework.training.device import choose_device
from coleaf_framework.training.experiment import build_model, has_split, open_split, open_training_split
from coleaf_framework.training.tracked import require_tracking


@dataclass
class Planned:
    """The cells of a study, before they are compared to what their folders hold.

    Args:
        cells: in the order of rows and seeds.
        told: a sentence for each variant that an Anchor has no option for, and for each Anchor that is left out.
        left_out: optional Anchors that cannot be trained -> why.
        built: (Anchor, name of a variant) of models that were already built as a check.
    """

    cells: list[Cell] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    built: set[tuple[str, str]] = field(default_factory=set)

    @property
    def notes(self) -> tuple[str, ...]:
        """Each sentence once."""
        return tuple(dict.fromkeys(self.told))


def plan_cells(
    study: Study,
    anchors: Sequence[str],
    optional: Collection[str],
    seeds: int,
    out: Path,
    data: Path | None,
    config: Path | None,
    settings: Sequence[str],
) -> Planned:
    """Plan the cells of every Anchor; an optional one that cannot be trained is left out."""
    shared, own = _divide(settings, anchors, study)
    _require_both_ways(config, study)
    if data is not None:
        shared.append(as_setting("data.root", data.resolve().as_posix()))
    planned = Planned()
    for anchor in anchors:
        try:
            cells, told = _cells_of(anchor, study, seeds, out, config, [*shared, *own[anchor]])
            if anchor in optional:
                build_each(cells, planned.built)
        except (ValueError, TypeError, ImportError) as problem:
            if anchor not in optional:
                raise
            planned.left_out[anchor] = one_line(str(problem).removeprefix(f"{anchor} "))
            planned.told.append(f"--anchors all leaves out {anchor}: {planned.left_out[anchor]}")
            continue
        planned.cells += cells
        planned.told += told
    if not planned.cells:
        raise ValueError(f"--anchors all: none can be trained: {'; '.join(map(': '.join, planned.left_out.items()))}")
    return planned


def _cells_of(
    anchor: str, study: Study, seeds: int, out: Path, config: Path | None, settings: Sequence[str]
) -> tuple[list[Cell], list[str]]:
    """The cells of an Anchor, and a sentence for each variant that it has no option for."""
    cells, told = [], []
    for variant in study.variants:
        if variant.needs is not None and not takes_option("anchor", _network_of(anchor), variant.needs):
            told.append(f"{anchor}: takes no option {variant.needs}, so it has no row {variant.label!r}")
            continue
        cells += [_cell(anchor, variant, seed, out, config, [*settings, *variant.settings]) for seed in range(seeds)]
    return cells, told


def build_each(cells: Sequence[Cell], built: set[tuple[str, str]]) -> None:
    """Build the model of every Anchor and variant once, to check them; see `_build`.

    Args:
        cells: the cells.
        built: (Anchor, name of a variant) of those that were built already; it grows.
    """
    for cell in cells:
        if (cell.anchor, cell.variant.name) not in built:
            _build(cell, log=not built)  # what is said of the data holds for every cell
            built.add((cell.anchor, cell.variant.name))


def _cell(anchor: str, variant: Variant, seed: int, out: Path, config: Path | None, settings: Sequence[str]) -> Cell:
    identity = (as_setting("anchor.name", anchor), f"trainer.seed={seed}")
    resolved = load_config(config, [*settings, *identity]).with_absolute_root()
    if steps := missing_steps(resolved):
        raise ValueError(
            f"{anchor} {variant.label}: recipe {resolved.recipe} has steps before its training, which a grid does not "
            f"make: pass their result, {steps.instead}, or take coleaf train --recipe {resolved.recipe}"
        )
    stem = folder_stem(anchor)
    return Cell(anchor, variant, seed, out / f"{stem}-{variant.name}-seed{seed}", resolved)


def _network_of(anchor: str) -> str:
    """The name of an Anchor's plugin or class, which a declaration file holds."""
    return read_declaration(anchor).network if is_declaration_file(anchor) else anchor


def folder_stem(anchor: str) -> str:
    """The beginning of the names of an Anchor's cell folders: its name, or a declaration file's without its ending."""
    return Path(anchor).stem if is_declaration_file(anchor) else anchor.replace(":", ".")


def _build(cell: Cell, *, log: bool) -> None:
    """Build a cell's model without training it, and check its options, its answer and what it monitors.

    Args:
        cell: the cell.
        log: whether to say which columns it monitors, where its data do not have the default's.

    Raises:
        ValueError: the model cannot be built or monitored; names the Anchor and the variant.
    """
    try:
        data = open_training_split(cell.config)
        model = build_model(cell.config, data)
        require_read_labels(model, data)
        require_answer(model, data)
        cell.config.decision.require_classes(len(data.classes), data.classes)
        choose_device(cell.config.trainer.device)
        require_tracking(cell.config.trainer)
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
