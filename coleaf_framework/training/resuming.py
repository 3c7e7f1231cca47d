"""Checks that a saved state belongs to this run."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator
from torch import Tensor

from coleaf_framework.training.optimization import never_captured
from coleaf_framework.training.stepping import Stepper

# Of an optimiser's group: what the schedule moves, and what the device decides.
_MAY_DIFFER = {"lr", "initial_lr", "fused", "foreach", "capturable", "differentiable"}
_MOVED_WITH_MOMENTUM = {"betas", "momentum"}  # where the schedule moves these too, as OneCycleLR does
_LENGTHS = ("T_max", "total_iters", "total_steps", "_milestones")  # of a schedule, in epochs
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
    observed: list[str] = []  # older states have none

    @model_validator(mode="after")
    def _of_the_same_terms(self) -> _Losses:
        if self.sums.keys() != self.steps.keys():
            raise ValueError(f"sums has the terms {sorted(self.sums)}, steps {sorted(self.steps)}")
        return self


class _Optimizer(BaseModel):
    state: dict[StrictInt, dict[str, Any]]
    param_groups: list[dict[str, Any]] = Field(min_length=1)


class ResumeState(BaseModel):
    """What `RunFolder.save_resume` writes.

    Older states lack the classes, the schedule and the Anchor's average; they are of runs that had Adam or AdamW, a
    learning rate that decays in steps, and no average.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    model: dict[str, Tensor]
    optimizer: _Optimizer
    optimizer_class: str | None = None
    schedule: dict[str, Any] | None = None
    schedule_class: str | None = None
    anchor_average: dict[str, Tensor] | None = None
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


def require_fitting(state: Mapping[str, Any], stepper: Stepper, steps: int, source: Path) -> None:
    """Check that a state fits these networks and this optimiser, whose kernel would crash on a wrong one.

    Args:
        state: from `parse_resume`.
        stepper: as it begins.
        steps: of an epoch.
        source: the state's file.

    Raises:
        ValueError: it is not; names the file and the first thing that differs.
    """
    average = None if stepper.average is None else stepper.average.average.state_dict()
    problem = (
        _differing("model", state["model"], stepper.model.state_dict())
        or _differing_class("optimizer", state, stepper.optimizer)
        or _differing_groups(state["optimizer"]["param_groups"], stepper.optimizer)
        or _differing_moments(state["optimizer"]["state"], stepper.optimizer)
        or _differing_class("schedule", state, stepper.schedule)
        or _differing_lengths(state.get("schedule") or {}, stepper.schedule.state_dict())
        or _differing("anchor_average", state.get("anchor_average") or {}, average or {})
        or (state["epoch_steps"] > steps and f"epoch_steps is {state['epoch_steps']}, an epoch has {steps}")
    )
    if problem:
        raise ValueError(f"{source}: not a state of this run: {problem}")


def _differing(section: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    for name in sorted(tensors.keys() ^ own.keys()):
        return f"{section}.{name} is {'unknown' if name in tensors else 'missing'}"
    for name, x in own.items():
        if problem := _differing_tensor(tensors[name], x):
            return f"{section}.{name} {problem}"
    return None


def _differing_tensor(x: Any, own: Tensor) -> str | None:
    if x is None:
        return "is missing"
    if not isinstance(x, Tensor):
        return f"is a {type(x).__name__}, not a tensor"
    if x.shape != own.shape or x.dtype != own.dtype:
        return f"is {tuple(x.shape)} of {x.dtype}, the network's {tuple(own.shape)} of {own.dtype}"
    return None if torch.isfinite(x).all() else "holds NaN or inf"


def _differing_class(what: str, state: Mapping[str, Any], own: object) -> str | None:
    recorded, now = state.get(f"{what}_class"), type(own).__name__
    return f"its {what} is {recorded}, this run's {now}" if recorded not in (None, now) else None


def _differing_groups(groups: Sequence[Mapping[str, Any]], optimizer: torch.optim.Optimizer) -> str | None:
    own = optimizer.state_dict()["param_groups"]
    if len(groups) != len(own):
        return f"optimizer.param_groups has {len(groups)} groups, not {len(own)}"
    for group, expected in zip(groups, own, strict=True):
        if isinstance(group.get("lr"), bool) or not isinstance(group.get("lr"), int | float):
            return f"optimizer.param_groups has the lr {group.get('lr')!r}"
        free = _MAY_DIFFER | (_MOVED_WITH_MOMENTUM if "max_momentum" in group else set())
        for key, value in expected.items():
            # Flags come with versions of torch, which fills in those that an older one did not write.
            known = key in group or not (value is None or isinstance(value, bool))
            if key not in free and known and _plain(group.get(key)) != _plain(value):
                return f"optimizer.param_groups has other {key} than this run"
    return None


def _differing_moments(state: Mapping[int, Any], optimizer: torch.optim.Optimizer) -> str | None:
    expected = _state_after_a_step(optimizer) if state else []
    for number, moments in state.items():
        if not 0 <= number < len(expected):
            return f"optimizer.state has parameter {number}, of {len(expected)}"
        own = expected[number]
        for key in sorted(moments.keys() | own.keys()):
            if key not in own:
                return f"optimizer.state.{number}.{key} is unknown"
            problem = _differing_tensor(moments.get(key), own[key]) if isinstance(own[key], Tensor) else None
            if problem or (key in moments and not isinstance(_plain(moments[key]), type(_plain(own[key])))):
                return f"optimizer.state.{number}.{key} {problem or f'is {moments[key]!r}'}"
    return None


def _state_after_a_step(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The state that this optimiser keeps of each parameter after a step, found on a copy."""
    copied = copy.deepcopy(optimizer)
    parameters = [x for group in copied.param_groups for x in group["params"]]
    for x in parameters:
        x.grad = torch.zeros_like(x)
    with never_captured():
        copied.step()
    return [dict(copied.state[x]) for x in parameters]


def _differing_lengths(schedule: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    for key in _LENGTHS:
        if key in schedule and _plain(schedule[key]) != _plain(own.get(key)):
            return f"its schedule was made for {key} {schedule[key]}, this run's for {own.get(key)}"
    for one, other in zip(schedule.get("_schedulers", ()), own.get("_schedulers", ()), strict=False):
        if problem := _differing_lengths(one, other):
            return problem
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
