"""How a run is trained: the section `trainer` of its configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from coleaf_framework._config import StrictConfig, nearest
from coleaf_framework.metrics import ALL_KEYS
from coleaf_framework.tracking import require_known

Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainerConfig(StrictConfig):
    """How to train; the defaults are the paper's (section 5, Implementation Details)."""

    epochs: int = Field(15, ge=1, le=1_000_000, description="passes over the training split")
    batch_size: int = Field(128, ge=1, description="videos a step, over all ranks")
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        "adam",
        description="adam, which with weight_decay is adamw; or sgd. Others from Python: CoLeaFTrainer(optimizer=...)",
    )
    learning_rate: float = Field(5e-4, gt=0, description="before any decay")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    adam_betas: tuple[Beta, Beta] = Field(
        (0.9, 0.999), description="of adam and adamw: decays, a step, of the averages of gradients and of their squares"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled for adam and adamw, an L2 penalty for sgd; 0 is none")
    schedule: Literal["step", "cosine", "constant"] = Field(
        "step",
        description="of the learning rate, set anew each epoch: decays in steps; falls as a cosine, to 0 after the "
        "last epoch or to lr_min in it; or stays. Others from Python: CoLeaFTrainer(schedule=...)",
    )
    lr_step: int = Field(6, ge=1, description="epochs between decays of the learning rate, for schedule step")
    lr_gamma: float = Field(0.25, gt=0, le=1, description="factor of each decay, for schedule step")
    lr_min: float = Field(
        0.0,
        ge=0,
        description="learning rate of the last epoch, for schedule cosine, the same for parts of an Anchor that begin "
        "at another; at 0 the cosine is at 0 one epoch later, so that the last epoch still trains",
    )
    warmup_epochs: int = Field(
        0,
        ge=0,
        description="before the schedule begins: of w such epochs the k-th has k / (w + 1) of the learning rate",
    )
    clip_norm: float = Field(
        0.0, ge=0, description="longest gradient of an update, each branch by itself; longer ones are scaled; 0 is off"
    )
    anchor_ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay, a step, of a moving average of the Anchor's weights, which then is what validation scores "
        "and what model.safetensors and the trained model hold; the weights that training goes on from are in "
        "resume.safetensors. 0 is off",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="weak labels y, of videos and of modalities, become (1 - s) y + s / 2 in training"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of initial weights, order and dropout")
    device: str = Field("auto", description="auto takes cuda, then mps, then cpu")
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16 runs the networks under autocast")
    compile: bool = Field(False, description="torch.compile the networks")
    cuda_graphs: bool = Field(
        False,
        description="capture the training step in each epoch and replay it as a CUDA graph, by one launch in place of "
        "some thousand; for one CUDA GPU. Never tried on one so far (docs/gpu.md)",
    )
    workers: int = Field(0, ge=0, description="processes that read videos, on each rank")
    accumulate: int = Field(1, ge=1, description="parts that each rank's videos of a step are divided into, for memory")
    bucket_by_length: bool = Field(False, description="videos of similar length share a step, for less padding")
    checkpoint_steps: int = Field(0, ge=0, description="steps between checkpoints; 0 saves at each epoch's end alone")
    monitor: tuple[str, ...] = Field(
        ("support/segment/Type@AVo", "support/event/Type@AVo"),
        description="validation columns whose mean chooses the best epoch; none keeps the last epoch. Support-only, "
        "since the published ones prefer an epoch that predicts little; where the data has the columns AV alone, the "
        "default is AV in place of Type@AVo (docs/metrics.md)",
    )
    trackers: tuple[str, ...] = Field(
        (),
        description="of tensorboard, wandb, trackio and mlflow, those that follow the run (docs/tracking.md). Others "
        "from Python: CoLeaFTrainer(trackers=...)",
    )
    project: str | None = Field(
        None,
        min_length=1,
        description="that trackers put the run into; none is what WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME says, else "
        "coleaf",
    )
    tracked_videos: int = Field(
        2,
        ge=0,
        description="validation videos whose timelines trackers get after each epoch: the first with events of two "
        "types. Needs matplotlib; 0 draws none",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_former_keys(cls, values: Any) -> Any:
        if isinstance(values, dict) and "tensorboard" in values:
            raise ValueError("tensorboard is spelt trackers=[tensorboard] now")
        return values

    @field_validator("trackers", mode="before")
    @classmethod
    def _list_trackers(cls, names: Any) -> Any:
        if isinstance(names, str):
            raise ValueError(f"expected a list, [{names}]")
        return names

    @field_validator("trackers")
    @classmethod
    def _known_trackers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        require_known(names)
        return names

    @field_validator("monitor")
    @classmethod
    def _known_columns(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        for column in columns:
            if column not in ALL_KEYS:
                raise ValueError(f"monitor: no column {column!r}.{nearest(column, ALL_KEYS)}")
        return columns

    @model_validator(mode="after")
    def _refuse_what_would_do_nothing(self) -> TrainerConfig:
        for key, owner, value in (
            ("momentum", "optimizer", "sgd"),
            ("lr_step", "schedule", "step"),
            ("lr_gamma", "schedule", "step"),
            ("lr_min", "schedule", "cosine"),
        ):
            changed = getattr(self, key) != type(self).model_fields[key].default
            if changed and getattr(self, owner) != value:
                raise ValueError(f"{key} is for {owner} {value} alone, not {getattr(self, owner)}")
        if self.optimizer == "sgd" and self.adam_betas != type(self).model_fields["adam_betas"].default:
            raise ValueError("adam_betas is for optimizer adam and adamw alone, not sgd")
        if self.compile and self.cuda_graphs:
            raise ValueError("compile and cuda_graphs were not tried together: set one of them")
        if self.lr_min > self.learning_rate:
            raise ValueError(f"lr_min={self.lr_min:g} is above learning_rate={self.learning_rate:g}")
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs} leaves none of epochs={self.epochs} at the full rate")
        return self
