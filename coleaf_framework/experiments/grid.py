"""Grids of runs: every Anchor, trained in every way, from every seed; each cell a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coleaf_framework._config import StrictConfig, validated
from coleaf_framework.record.config import RunConfig
from coleaf_framework.results.paper import PaperTable
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.predictions_file import predictions_path, read_predictions
from coleaf_framework.storage import file_digest, read_yaml, write_yaml

CELL, DONE, OUTPUT = "cell.yaml", "done.yaml", "output.txt"
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


class CellPlan(StrictConfig):
    """What a cell's process is to do, which its folder keeps as `cell.yaml`.

    Args:
        split: to score.
        config: what is trained.
    """

    split: Literal["train", "val", "test"]
    config: RunConfig

    def write(self, folder: Path) -> None:
        """Write the plan into a cell's folder, atomically."""
        write_yaml(folder / CELL, self.model_dump(mode="json"))


def read_plan(folder: Path) -> CellPlan:
    """The plan in a cell's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or something else; names the file and the first wrong field.
    """
    return validated(CellPlan, read_yaml(folder / CELL), f"{folder / CELL}: not the plan of a cell")


@dataclass(frozen=True)
class Grid:
    """Cells to be trained and scored on one split.

    Args:
        study: what they are for.
        anchors: names, in order. seeds: from 0.
        cells: in the order of rows and seeds.
        split: which is scored.
        out: folder of the cells.
        notes: what must be said beside the result.
    """

    study: Study
    anchors: tuple[str, ...]
    seeds: int
    cells: tuple[Cell, ...]
    split: str
    out: Path
    notes: tuple[str, ...]

    def predictions(self, cell: Cell) -> Predictions:
        """A finished cell's predictions of the scored split."""
        return read_predictions(cell.folder, self.split)

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell was trained to its end and its answers were kept."""
        return (cell.folder / DONE).is_file()

    def needs_work(self, cell: Cell) -> bool:
        """Whether a cell is not done, or its answers are others now, such as those of `coleaf predict --set`."""
        path = predictions_path(cell.folder, self.split)
        if not (self.is_done(cell) and path.is_file()):
            return True
        return bool(read_yaml(cell.folder / DONE).get("predictions") != file_digest(path))
