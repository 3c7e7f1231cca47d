"""Whether a saved state is one that this run can go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator
from torch import Tensor, nn

_MOMENTS = ("exp_avg", "exp_avg_sq")
_FROM_CONFIG = ("betas", "eps", "weight_decay")
Number = Annotated[float, Field(strict=True)]  # of the losses and scores, which may be NaN
Count = Annotated[StrictInt, Field(ge=0)]


class _Entry(BaseModel):
    epoch: StrictInt
    lr: Number
    losses: dict[str, Number]
    theta: dict[str, Number] = {}
    val: dict[str, Number] = {}
    monitor: Number | None = None


class _Best(BaseModel):
    value: Number
    epoch: Count


class _Losses(BaseModel):
    sums: dict[str, Number]
    steps: dict[str, Annotated[StrictInt, Field(ge=1)]]

    @model_validator(mode="after")
    def _of_the_same_terms(self) -> _Losses:
        if self.sums.keys() != self.steps.keys():
            raise ValueError(f"sums has the terms {sorted(self.sums)}, steps {sorted(self.steps)}")
        return self


class _Optimizer(BaseModel):
    state: dict[StrictInt, dict[str, Any]]
    param_groups: list[dict[str, Any]] = Field(min_length=1)


class ResumeState(BaseModel):
    """What `RunFolder.save_resume` writes."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    model: dict[str, Tensor]
    optimizer: _Optimizer
    history: list[_Entry]
    best: _Best
    epoch_steps: Count
    losses: _Losses

    @model_validator(mode="after")
    def _agree(self) -> ResumeState:
        for number, entry in enumerate(self.history, 1):
            if entry.epoch != number:
                raise ValueError(f"history: its entry {number} is of epoch {entry.epoch}")
        if self.best.epoch > len(self.history):
            raise ValueError(f"best.epoch is {self.best.epoch}, after {len(self.history)} epochs")
        return self


def require_fitting(
    state: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, source: Path
) -> None:
    """Check that a state is of these networks and this optimiser: the optimiser's kernel does not, and would crash.

    Args:
        state: from `parse_resume`.
        model, optimizer: as they begin.
        steps: of an epoch.
        source: the state's file.

    Raises:
        ValueError: it is not; names the file and the first thing that differs.
    """
    problem = (
        _differing(state["model"], model.state_dict())
        or _differing_optimizer(state["optimizer"], optimizer)
        or (state["epoch_steps"] > steps and f"epoch_steps is {state['epoch_steps']}, an epoch has {steps}")
    )
    if problem:
        raise ValueError(f"{source}: not a state of this run: {problem}")


def _differing(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    for name in sorted(tensors.keys() ^ own.keys()):
        return f"model.{name} is {'unknown' if name in tensors else 'missing'}"
    for name, x in own.items():
        if problem := _differing_tensor(tensors[name], x):
            return f"model.{name} {problem}"
    return None


def _differing_tensor(x: Any, own: Tensor) -> str | None:
    if x is None:
        return "is missing"
    if not isinstance(x, Tensor):
        return f"is a {type(x).__name__}, not a tensor"
    if x.shape != own.shape or x.dtype != own.dtype:
        return f"is {tuple(x.shape)} of {x.dtype}, the network's {tuple(own.shape)} of {own.dtype}"
    return None if torch.isfinite(x).all() else "holds NaN or inf"


def _differing_optimizer(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> str | None:
    own = optimizer.state_dict()["param_groups"]
    parameters = [x for group in optimizer.param_groups for x in group["params"]]
    if len(state["param_groups"]) != len(own):
        return f"optimizer.param_groups has {len(state['param_groups'])} groups, not {len(own)}"
    for group, expected in zip(state["param_groups"], own, strict=True):
        if not isinstance(group.get("lr"), float):
            return f"optimizer.param_groups has the lr {group.get('lr')!r}"
        for key in ("params", *_FROM_CONFIG):
            if _plain(group.get(key)) != _plain(expected.get(key)):
                return f"optimizer.param_groups has other {key} than this run"
    for number, moments in state["state"].items():
        if not 0 <= number < len(parameters):
            return f"optimizer.state has parameter {number}, of {len(parameters)}"
        for key in _MOMENTS:
            if problem := _differing_tensor(moments.get(key), parameters[number].cpu()):
                return f"optimizer.state.{number}.{key} {problem}"
        step = moments.get("step")
        if not isinstance(step, Tensor) or step.shape != () or not torch.isfinite(step):
            return f"optimizer.state.{number}.step is {step!r}, not a number"
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
