"""The configuration of a run: a YAML file, changed by `--set section.key=value`, saved resolved beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from coleaf_framework._config import StrictConfig, nearest
from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.metrics import ALL_KEYS, DecisionConfig

Cache = Literal["none", "memory", "device"]
_MOST_SYNTHETIC = 1_000_000  # videos of a split, whose ids are kept in memory


class DataConfig(StrictConfig):
    """Which videos."""

    root: str | None = Field(None, description="folder in LLP's layout; none trains on synthetic LLP")
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
    """Which Anchor plugin; a run with a network of the user's own has no name."""

    name: str | None = Field("han", description="`coleaf plugins` lists them")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of its constructor. A width below the published 512 costs what CoLeaF adds, since a "
        "narrower Reference learns too slowly to teach (docs/results.md)",
    )


class ReferenceConfig(StrictConfig):
    """Which Reference plugin."""

    name: str = Field("class_token", description="`coleaf plugins` lists them")
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of its constructor")


class TrainerConfig(StrictConfig):
    """How to train; the defaults are the paper's (section 5, Implementation Details)."""

    epochs: int = Field(15, ge=1, le=1_000_000, description="passes over the training split")
    batch_size: int = Field(128, ge=1, description="videos a step, over all ranks")
    learning_rate: float = Field(5e-4, gt=0, description="of Adam")
    lr_step: int = Field(6, ge=1, description="epochs between decays of the learning rate")
    lr_gamma: float = Field(0.25, gt=0, le=1, description="factor of each decay")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW, a step; 0 is Adam")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="weak labels y become (1 - s) y + s / 2 in training")
    seed: int = Field(0, ge=0, lt=2**32, description="of initial weights, order and dropout")
    device: str = Field("auto", description="auto takes cuda, then mps, then cpu")
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16 runs the networks under autocast")
    compile: bool = Field(False, description="torch.compile the networks")
    workers: int = Field(0, ge=0, description="processes that read videos, on each rank")
    accumulate: int = Field(1, ge=1, description="parts that each rank's videos of a step are divided into, for memory")
    bucket_by_length: bool = Field(False, description="videos of similar length share a step, for less padding")
    checkpoint_steps: int = Field(0, ge=0, description="steps between checkpoints; 0 saves at each epoch's end alone")
    monitor: tuple[str, ...] = Field(
        ("support/segment/Type@AVo", "support/event/Type@AVo"),
        description="validation columns whose mean chooses the best epoch; none keeps the last epoch. Support-only, "
        "since the published ones prefer an epoch that predicts little (docs/metrics.md)",
    )
    tensorboard: bool = Field(False, description="write TensorBoard files too")

    @field_validator("monitor")
    @classmethod
    def _known_columns(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        for column in columns:
            if column not in ALL_KEYS:
                raise ValueError(f"monitor: no column {column!r}.{nearest(column, ALL_KEYS)}")
        return columns


Recipe = Literal["paper", "official", "strong"]


class RunConfig(StrictConfig):
    """Everything that makes a run what it is."""

    recipe: Recipe = Field(
        "paper",
        description="paper; official: where the authors' code departs from it; strong: the paper's with what was "
        "measured to help both Anchors",
    )
    data: DataConfig = Field(default_factory=DataConfig)
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

    @field_validator("recipe", mode="before")
    @classmethod
    def _known_recipe(cls, name: Any) -> Any:
        known = get_args(Recipe)
        if name not in known:
            raise ValueError(f"no recipe {name!r}.{nearest(str(name), known)} Recipes: {', '.join(known)}")
        return name

    def with_absolute_root(self) -> RunConfig:
        """The same, with a data folder that means the same from any folder."""
        if self.data.root is None:
            return self
        data = self.data.model_copy(update={"root": Path(self.data.root).resolve().as_posix()})
        return self.model_copy(update={"data": data})
