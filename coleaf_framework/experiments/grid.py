"""Grids of training runs: every Anchor with every variant and seed; each cell is a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from coleaf_framework._config import StrictConfig, validated
from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import no_ground_truth, truth_of
from coleaf_framework.record.config import RunConfig
from coleaf_framework.record.migration import migrated
from coleaf_framework.results.columns import require_column, require_types
from coleaf_framework.results.paper import PaperTable
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.predictions_file import predictions_path, read_predictions
from coleaf_framework.storage import file_digest, read_yaml, write_yaml

CELL, DONE, OUTPUT = "cell.yaml", "done.yaml", "output.txt"
SET_BY_THE_GRID = {"anchor.name": "--anchors", "trainer.seed": "--seeds", "data.root": "--data"}


@dataclass(frozen=True)
class Variant:
    """One way to train an Anchor.

    Args:
        name: part of the names of its run folders.
        label: part of the name of its row, after the Anchor's name.
        settings: as for `--set`; they override the user's.
        needs: an option of the Anchor's constructor that this variant sets; Anchors without it get no such row.
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
    """The question that a grid of runs answers.

    Args:
        name: name of its files, such as "compare".
        question: heading of the table.
        variants: the ways to train an Anchor.
        pairs: names (treated, control) of the variants to compare.
        paper: the paper's numbers; None where it has none.
        counts_types: whether it counts event types, which the scored split's ground truth must then distinguish.
    """

    name: str
    question: str
    variants: tuple[Variant, ...]
    pairs: tuple[tuple[str, str], ...]
    paper: PaperTable | None = None
    counts_types: bool = False

    def require_scorable(self, data: AVVPDataset, column: str | None) -> None:
        """Check that a split can be scored for this study.

        Args:
            data: the split.
            column: the column that the conclusion is to be about, where one is asked for.

        Raises:
            ValueError: it has only weak labels, or its ground truth does not have the column or tell types apart.
        """
        truth, where = truth_of(data), f"{data.name} {data.split}"
        if not data.has_ground_truth:
            raise ValueError(no_ground_truth(where))
        if self.counts_types:
            require_types(truth, f"coleaf {self.name}", where)
        if column is not None:
            require_column(column, truth=truth, where=where)


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        anchor: the Anchor, as the user named it.
        variant: the variant.
        seed: the training seed.
        folder: the run folder.
        config: the run's configuration.
    """

    anchor: str
    variant: Variant
    seed: int
    folder: Path
    config: RunConfig

    @property
    def name(self) -> str:
        """Its name in messages and JSON."""
        return self.folder.name


class CellPlan(StrictConfig):
    """What a cell's process is to do, which its folder keeps as `cell.yaml`.

    Args:
        split: to score.
        config: what is trained.
        group: the trackers' name of its group: the study that planned it first, Anchor and variant.
    """

    split: Literal["train", "val", "test"]
    config: RunConfig
    group: str | None = None

    def write(self, folder: Path) -> None:
        """Write the plan into a cell's folder, atomically."""
        write_yaml(folder / CELL, self.model_dump(mode="json"))


def read_plan(folder: Path) -> CellPlan:
    """The plan in a cell's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or something else; names the file and the first wrong field.
    """
    values = read_yaml(folder / CELL)
    if isinstance(values.get("config"), Mapping):
        values["config"] = migrated(values["config"])
    return validated(CellPlan, values, f"{folder / CELL}: not the plan of a cell")


@dataclass(frozen=True)
class Grid:
    """Runs to be trained and scored on one split.

    Args:
        study: the question they answer.
        anchors: names of the Anchors.
        seeds: number of seeds, from 0.
        cells: in the order of rows and seeds.
        split: the scored split.
        out: folder of the cells.
        notes: the caveats of the result.
        left_out: Anchors of `--anchors all` that cannot be trained on the data -> why.
    """

    study: Study
    anchors: tuple[str, ...]
    seeds: int
    cells: tuple[Cell, ...]
    split: str
    out: Path
    notes: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def predictions(self, cell: Cell) -> Predictions:
        """A finished cell's predictions of the scored split."""
        return read_predictions(cell.folder, self.split)

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell's training has finished and its predictions are written."""
        return (cell.folder / DONE).is_file()

    def needs_work(self, cell: Cell) -> bool:
        """Whether a cell is not done, or its predictions were replaced, for example by `coleaf predict --set`."""
        path = predictions_path(cell.folder, self.split)
        if not (self.is_done(cell) and path.is_file()):
            return True
        return bool(read_yaml(cell.folder / DONE).get("predictions") != file_digest(path))
