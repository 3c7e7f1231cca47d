"""The configuration of a run: a YAML file, changed by `--set section.key=value`, saved resolved beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from coleaf_framework._config import StrictConfig, nearest
from coleaf_framework.adapters import WrapArguments
from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.data.labels import LabelsConfig
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.record.trainer_config import TrainerConfig as TrainerConfig

Cache = Literal["none", "memory", "device"]
_MOST_SYNTHETIC = 1_000_000  # videos of a split, whose ids are kept in memory


class DataConfig(StrictConfig):
    """The data set."""

    root: str | None = Field(None, description="folder of a data set (docs/data.md); none trains on synthetic LLP")
    streams: str | None = Field(
        None, description="file that says where the streams lie; none is streams.yaml in the folder, or LLP's layout"
    )
    skip_incomplete: bool = Field(
        False, description="leave out videos that lack a file of a stream, and say so, instead of refusing the split"
    )
    standardize: bool = Field(
        False,
        description="each feature to zero mean and unit deviation, by the training split. Published networks take raw "
        "streams; for streams whose scales differ by orders of magnitude, which `coleaf check-data` tells",
    )
    cache: Cache = Field(
        "none",
        description="memory, or device such as the GPU, keeps all videos there from the first epoch on. LLP takes 7 "
        "GB, averaged 1 GB; on the device half of it with trainer.precision bf16",
    )
    average_frames: bool = Field(
        False,
        description="read the mean of each segment's frames: the same answer with less work for networks that average "
        "after a linear layer (han); others refuse (cmpae)",
    )
    synthetic_train: int | None = Field(
        None, ge=1, le=_MOST_SYNTHETIC, description="synthetic videos; none is LLP's 10,000"
    )
    synthetic_val: int | None = Field(None, ge=1, le=_MOST_SYNTHETIC, description="none is LLP's 649")
    synthetic_test: int | None = Field(None, ge=1, le=_MOST_SYNTHETIC, description="none is LLP's 1,200")
    synthetic_seed: int = Field(0, ge=0, description="another one gives other videos")


class AnchorConfig(StrictConfig):
    """Which Anchor; a run with a network that was made in Python has no name."""

    name: str | None = Field(
        "han",
        description="of a plugin (`coleaf plugins` lists them), module:Class, module:function, or a declaration file "
        "such as wrap.yaml, whose content then takes the place of this section",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of its constructor. A width below the published 512 costs what CoLeaF adds, since a "
        "narrower Reference learns too slowly to teach (docs/results.md)",
    )
    declaration: WrapArguments | None = Field(
        None, description="how it is wrapped, the other keys of a declaration file (docs/wrapping.md)"
    )


class ReferenceConfig(StrictConfig):
    """Which Reference plugin."""

    name: str = Field("class_token", description="`coleaf plugins` lists them")
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of its constructor")


Recipe = Literal["paper", "official", "strong", "published", "ma", "jomold", "valor"]
SYSTEM_RECIPES: tuple[Recipe, ...] = ("ma", "jomold", "valor")
"""Recipes of one system each: that Anchor, with its published schedule and what else its training needs."""


class RunConfig(StrictConfig):
    """The configuration of a run."""

    recipe: Recipe = Field(
        "paper",
        description="paper; official: where the authors' code departs from it; strong: the paper's with what was "
        "measured to help both HAN and CMPAE; published: the Anchor alone, by its own published schedule; ma, jomold, "
        "valor: the systems of these names, alone, in all their steps",
    )
    data: DataConfig = Field(default_factory=DataConfig)
    labels: LabelsConfig = Field(default_factory=LabelsConfig)
    anchor: AnchorConfig = Field(default_factory=AnchorConfig)
    reference: ReferenceConfig = Field(default_factory=ReferenceConfig)
    coleaf: CoLeaFConfig = Field(default_factory=CoLeaFConfig)
    trainer: TrainerConfig = Field(default_factory=TrainerConfig)
    decision: DecisionConfig = Field(default_factory=DecisionConfig)

    @model_validator(mode="after")
    def _leave_the_anchor_some_epochs(self) -> RunConfig:
        if self.coleaf.enabled and self.coleaf.reference_head_start >= self.trainer.epochs:
            raise ValueError(
                f"coleaf.reference_head_start={self.coleaf.reference_head_start} leaves the Anchor no epoch of "
                f"trainer.epochs={self.trainer.epochs}, which counts them too"
            )
        return self

    @model_validator(mode="after")
    def _read_the_labels(self) -> RunConfig:
        if self.labels.of_segments and not self.coleaf.reads_segment_labels:
            raise ValueError(
                "labels.sources are given, but coleaf.segment_label_weight and coleaf.modality_label_weight are 0, so "
                "no loss reads them"
            )
        return self

    @model_validator(mode="after")
    def _label_what_valor_trains_with(self) -> RunConfig:
        if self.recipe == "valor" and not self.labels.of_segments:
            raise ValueError(
                "recipe valor trains with pseudo-labels of segments, and labels.sources names none: pass --labels "
                "valor=PATH, VALOR's own (docs/labels.md), or make some by `coleaf pseudo-label` and pass --labels "
                "npy=PATH"
            )
        return self

    @field_validator("recipe", mode="before")
    @classmethod
    def _known_recipe(cls, name: Any) -> Any:
        known = get_args(Recipe)
        if name not in known:
            raise ValueError(f"no recipe {name!r}.{nearest(str(name), known)} Recipes: {', '.join(known)}")
        return name

    def with_absolute_root(self) -> RunConfig:
        """The same with absolute paths of data and labels."""
        if self.labels.sources:
            self = self.model_copy(update={"labels": self.labels.with_absolute_paths()})
        if self.data.root is None:
            return self
        update = {"root": Path(self.data.root).resolve().as_posix()}
        if self.data.streams is not None:
            update["streams"] = Path(self.data.streams).resolve().as_posix()
        data = self.data.model_copy(update=update)
        return self.model_copy(update={"data": data})
