"""Grids of runs: every Anchor, trained in every way, from every seed; each cell a run folder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coleaf_framework.evidence.paper import PaperTable
from coleaf_framework.plugins import takes_option
from coleaf_framework.storage import file_digest, read_yaml, require_place, write_yaml
from coleaf_framework.training.config import RunConfig, load_config, with_absolute_root, with_later_keys
from coleaf_framework.training.device import choose_device
from coleaf_framework.training.experiment import build_model, open_split
from coleaf_framework.training.outputs import RunOutputs, outputs_path, read_outputs

CELL, DONE, OUTPUT = "cell.yaml", "done.yaml", "output.txt"
# Where a cell ran and how often it was saved; anything else would make it another run.
_MAY_DIFFER = {"trainer": ("device", "workers", "tensorboard", "checkpoint_steps"), "data": ("cache",)}
_SCORED_VIDEOS = ("root", "synthetic_val", "synthetic_test", "synthetic_seed")
SAID_BY_THE_GRID = {"anchor.name": "--anchors", "trainer.seed": "--seeds", "data.root": "--data"}


@dataclass(frozen=True)
class Variant:
    """One way to train an Anchor.

    Args:
        name: of its folders.
        label: its row, after the Anchor's name.
        settings: as for `--set`; they win over the user's.
        needs: an option that the Anchor's constructor must take; Anchors without it have no such row.
    """

    name: str
    label: str
    settings: tuple[str, ...] = ()
    needs: str | None = None


ALONE = Variant("alone", "alone", ("coleaf.enabled=false",))
COLEAF = Variant("coleaf", "in CoLeaF", ("coleaf.enabled=true",))
UNIMODAL = Variant(
    "unimodal",
    "alone, without cross-attention",
    ("coleaf.enabled=false", "anchor.options.cross_attention=false"),
    needs="cross_attention",
)


@dataclass(frozen=True)
class Study:
    """A question that a grid of runs answers.

    Args:
        name: of its files, such as "compare".
        question: heads the table.
        variants: the ways to train.
        pairs: (treated, control) names of variants whose difference is asked for.
        paper: what the paper has for it, if anything.
    """

    name: str
    question: str
    variants: tuple[Variant, ...]
    pairs: tuple[tuple[str, str], ...]
    paper: PaperTable | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        anchor: as it was named. variant, seed: which. folder: its run folder. config: what is trained.
    """

    anchor: str
    variant: Variant
    seed: int
    folder: Path
    config: RunConfig

    @property
    def name(self) -> str:
        """What messages and JSON call it."""
        return self.folder.name


@dataclass(frozen=True)
class Grid:
    """Cells to be trained and scored on one split.

    Args:
        study: what they are for.
        anchors: names, in order. seeds: from 0.
        cells: in the order of rows and seeds.
        split: which is scored. out: folder of the cells.
        notes: what must be said beside the result.
    """

    study: Study
    anchors: tuple[str, ...]
    seeds: int
    cells: tuple[Cell, ...]
    split: str
    out: Path
    notes: tuple[str, ...]

    def outputs(self, cell: Cell) -> RunOutputs:
        """A finished cell's answers."""
        return read_outputs(cell.folder, self.split)

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell was trained to its end and its answers were kept."""
        return (cell.folder / DONE).is_file()

    def needs_work(self, cell: Cell) -> bool:
        """Whether a cell is not done, or its answers are others now, such as those of `coleaf predict --set`."""
        path = outputs_path(cell.folder, self.split)
        if not (self.is_done(cell) and path.is_file()):
            return True
        return bool(read_yaml(cell.folder / DONE).get("outputs") != file_digest(path))


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
) -> Grid:
    """Say what is to be trained, and check everything that can be checked before training; writes each cell's plan.

    Args:
        study: see there.
        anchors: names of plugins, or "module:Class".
        seeds: how many, at least 1.
        out: folder; cells that it holds are used if they were trained as is asked for now. Nothing is written there
            before everything was checked.
        data: folder in LLP's layout; synthetic LLP where None.
        split: to score, which must have ground truth.
        config: YAML file for all cells.
        settings: "section.key=value" for all, or "ANCHOR:section.key=value" for one.

    Raises:
        ValueError: an Anchor is unknown or named twice, a setting is wrong, a cell in `out` was trained otherwise, or
            the split has no ground truth.
        FileNotFoundError: as `open_folder` does.
    """
    if not anchors or len(set(anchors)) < len(anchors):
        raise ValueError(f"--anchors {','.join(anchors)!r}: expected each name once, such as han,cmpae")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: at least 1")
    shared, own = _divide(settings, anchors)
    if data is not None:
        shared.append(f"data.root={data.resolve().as_posix()!r}")
    cells = []
    notes: dict[str, None] = {}
    for anchor, variant in itertools.product(anchors, study.variants):
        if variant.needs is not None and not takes_option("anchor", anchor, variant.needs):
            notes[f"{anchor}: takes no option {variant.needs}, so it has no row {variant.label!r}"] = None
            continue
        own_settings = [*shared, *own[anchor], *variant.settings]
        cells += [_cell(anchor, variant, seed, out, config, own_settings) for seed in range(seeds)]
    _require_same_scored_videos(cells)
    scored = open_split(cells[0].config.data, split)
    if not scored.has_ground_truth:
        raise ValueError(f"{scored.name} {split} has only weak labels; scores need segment labels (AVVP_eval_*.csv)")
    if split == "val" and cells[0].config.trainer.monitor:
        notes["the best epoch was chosen on the very split that is scored: --set trainer.monitor=[] keeps the last"] = (
            None
        )
    grid = Grid(study, tuple(anchors), seeds, tuple(cells), split, out, tuple(notes))
    new = [cell for cell in cells if _is_new(cell, grid)]
    for cell in {(cell.anchor, cell.variant.name): cell for cell in new}.values():
        _try(cell)
    for cell in new:
        write_yaml(cell.folder / CELL, {"split": split, "config": cell.config.model_dump(mode="json")})
    return grid


def _cell(anchor: str, variant: Variant, seed: int, out: Path, config: Path | None, settings: Sequence[str]) -> Cell:
    told = (f"anchor.name={anchor!r}", f"trainer.seed={seed}")
    resolved = with_absolute_root(load_config(config, [*settings, *told]))
    return Cell(anchor, variant, seed, out / f"{anchor.replace(':', '.')}-{variant.name}-seed{seed}", resolved)


def _require_same_scored_videos(cells: Sequence[Cell]) -> None:
    for cell in cells:
        for key in _SCORED_VIDEOS:
            if getattr(cell.config.data, key) != getattr(cells[0].config.data, key):
                raise ValueError(f"{cell.name} changes data.{key}, so it would be scored on other videos: leave it out")


def _try(cell: Cell) -> None:
    """Build what a cell trains, which tells what is wrong with its options.

    Raises:
        ValueError: it cannot be built; names the Anchor and how it was to be trained.
    """
    try:
        data = open_split(cell.config.data, "train")
        build_model(cell.config, data)
        cell.config.decision.require_classes(len(data.classes))
        choose_device(cell.config.trainer.device)
    except (ValueError, TypeError, ImportError) as problem:
        raise ValueError(f"{cell.anchor} {cell.variant.label}: {problem}") from problem


def _divide(settings: Sequence[str], anchors: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Settings for all, and those for one Anchor."""
    shared: list[str] = []
    own: dict[str, list[str]] = {anchor: [] for anchor in anchors}
    for setting in settings:
        anchor = next((a for a in anchors if setting.startswith(f"{a}:")), None)
        text = setting if anchor is None else setting.removeprefix(f"{anchor}:")
        key = text.partition("=")[0]
        if key in SAID_BY_THE_GRID:
            raise ValueError(f"--set {setting!r}: a grid is told that by {SAID_BY_THE_GRID[key]}")
        if anchor is None and ":" in key:
            raise ValueError(
                f"--set {setting!r}: {key.rpartition(':')[0]!r} is not among --anchors {','.join(anchors)}"
            )
        (shared if anchor is None else own[anchor]).append(text)
    return shared, own


def _is_new(cell: Cell, grid: Grid) -> bool:
    """Whether a cell's plan is still to be written; otherwise it must be the one in its folder.

    Raises:
        ValueError, FileExistsError: it is another; names the first difference.
    """
    path = cell.folder / CELL
    require_place(cell.folder, "a cell's folder", folder=True)
    held = {file.name for file in cell.folder.iterdir()} if cell.folder.is_dir() else set()
    if held <= {CELL, OUTPUT}:  # nothing was trained there
        return True
    if CELL not in held:
        raise FileExistsError(f"{cell.folder}: holds something else than a cell of a grid: take another --out")
    before = read_yaml(path)
    if before.get("split") != grid.split:
        raise ValueError(f"{path}: was scored on {before.get('split')!r}, now it is {grid.split!r}: take another --out")
    was = before.get("config")
    if not isinstance(was, dict):
        raise ValueError(f"{path}: not the plan of a cell: take another --out")
    was = with_later_keys(was)
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
