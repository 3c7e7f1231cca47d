"""Which optimiser and learning-rate schedule a run has, by name or made by the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from coleaf_framework._config import WrongTypeError, shown
from coleaf_framework.record.config import TrainerConfig

OptimizerFactory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""Gets the parameters to train, returns their optimiser."""
ScheduleFactory = Callable[[torch.optim.Optimizer], LRScheduler]
"""Gets the optimiser, returns its schedule, which is advanced once an epoch."""


def make_optimizer(
    parameters: list[nn.Parameter], config: TrainerConfig, device: torch.device, factory: OptimizerFactory | None = None
) -> torch.optim.Optimizer:
    """The run's optimiser.

    Args:
        parameters: to train.
        config: its name, learning rate, weight decay and momentum, where there is no factory.
        device: where they are; the optimiser runs in one kernel where the device has one.
        factory: makes the optimiser instead.

    Raises:
        TypeError: the factory returns something else.
    """
    if factory is not None:
        made = factory(parameters)
        if not isinstance(made, torch.optim.Optimizer):
            raise WrongTypeError(f"optimizer returned {shown(made)}, where a torch.optim.Optimizer was expected")
        return made
    common: dict[str, Any] = {"lr": config.learning_rate, "fused": device.type in ("cpu", "cuda")}
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, weight_decay=decay, **common)
    if config.optimizer == "adamw" or decay:
        return torch.optim.AdamW(parameters, weight_decay=decay, **common)
    return torch.optim.Adam(parameters, **common)


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainerConfig, head_start: int, factory: ScheduleFactory | None = None
) -> LRScheduler:
    """The run's learning-rate schedule, advanced once after each epoch that trains the Anchor.

    Args:
        optimizer: whose learning rate it sets.
        config: its name and shape, where there is no factory.
        head_start: epochs that train the Reference alone, during which it stands still.
        factory: makes the schedule instead.

    Raises:
        TypeError: the factory returns something else.
        ValueError: the factory's schedule waits for a metric, or `warmup_epochs` is set beside a factory.
    """
    warmup = config.warmup_epochs
    if factory is not None:
        if warmup:
            raise ValueError(f"trainer.warmup_epochs={warmup} is for named schedules: let the schedule warm up itself")
        made = factory(optimizer)
        if not isinstance(made, LRScheduler):
            raise WrongTypeError(f"schedule returned {shown(made)}, where a torch LRScheduler was expected")
        if isinstance(made, ReduceLROnPlateau):
            raise ValueError("schedule returned ReduceLROnPlateau, which waits for a metric: no schedule here gets one")
        return made
    schedule: LRScheduler
    if config.schedule == "step":
        schedule = StepLR(optimizer, config.lr_step, config.lr_gamma)
    elif config.schedule == "cosine":
        schedule = CosineAnnealingLR(optimizer, max(config.epochs - head_start - warmup, 1))
    else:
        schedule = ConstantLR(optimizer, factor=1.0, total_iters=0)
    if not warmup:
        return schedule
    rising = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rising, schedule], [warmup])


def clip_gradients(branch: nn.Module, most: float) -> None:
    """Scale a branch's gradient down to a norm of `most`, where it is longer; without waiting for the device."""
    nn.utils.clip_grad_norm_(branch.parameters(), most)
