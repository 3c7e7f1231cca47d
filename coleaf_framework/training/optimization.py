"""Which optimiser and learning-rate schedule a run has, by name or made by the user."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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

ParameterGroup = dict[str, Any]
"""A group of parameters as `torch.optim.Optimizer` takes it: "params", a list, and "lr"."""
OptimizerFactory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""Gets the parameters to train, returns their optimiser."""
ScheduleFactory = Callable[[torch.optim.Optimizer], LRScheduler]
"""Gets the optimiser, returns its schedule, which is advanced once an epoch."""


def learning_rate_groups(anchor: nn.Module, others: Iterable[nn.Parameter], rate: float) -> list[ParameterGroup]:
    """The parameters to train, in groups of one learning rate.

    Args:
        anchor: its attribute `learning_rate_factors`, where it has one, maps beginnings of parameter names to factors.
        others: parameters beside the Anchor's, at the full rate.
        rate: the run's learning rate.

    Returns:
        Groups for an optimiser, the full rate first; only parameters that require a gradient.

    Raises:
        ValueError: a factor is of no parameter, or is not above 0.
    """
    factors: Mapping[str, float] = getattr(anchor, "learning_rate_factors", {})
    names = [name for name, _ in anchor.named_parameters()]
    for start, factor in factors.items():
        if factor <= 0 or not any(name.startswith(start) for name in names):
            raise ValueError(
                f"{type(anchor).__name__}.learning_rate_factors[{start!r}] is {shown(factor)}, where the beginning of "
                "a parameter's name and a factor above 0 were expected"
            )
    parameters: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in anchor.named_parameters():
        factor = next((x for start, x in factors.items() if name.startswith(start)), 1.0)
        parameters.setdefault(factor, []).append(parameter)
    parameters[1.0] += others
    groups = ([p for p in own if p.requires_grad] for own in parameters.values())
    return [{"params": own, "lr": rate * factor} for factor, own in zip(parameters, groups, strict=True) if own]


def make_optimizer(
    groups: list[ParameterGroup], config: TrainerConfig, device: torch.device, factory: OptimizerFactory | None = None
) -> torch.optim.Optimizer:
    """The run's optimiser.

    Args:
        groups: what to train, each group with its learning rate; a factory gets their parameters in one list.
        config: its name, learning rate, weight decay, momentum and betas, where there is no factory.
        device: where they are; the optimiser runs in one kernel where the device has one.
        factory: makes the optimiser instead.

    Raises:
        TypeError: the factory returns something else.
        ValueError: what the factory returns cannot be captured, where the configuration asks for CUDA graphs.
    """
    if factory is not None:
        made = factory([p for group in groups for p in group["params"]])
        if not isinstance(made, torch.optim.Optimizer):
            raise WrongTypeError(f"optimizer returned {shown(made)}, where a torch.optim.Optimizer was expected")
        capturable = isinstance(made, torch.optim.SGD) or all(x.get("capturable", False) for x in made.param_groups)
        if config.cuda_graphs and not capturable:
            raise ValueError(
                f"trainer.cuda_graphs: optimizer returned {type(made).__name__} without capturable=True, which PyTorch "
                "asks for where steps are captured"
            )
        return made
    common: dict[str, Any] = {"lr": config.learning_rate, "fused": device.type in ("cpu", "cuda")}
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=decay, **common)
    common |= {"betas": config.adam_betas, "capturable": config.cuda_graphs}
    if config.optimizer == "adamw" or decay:
        return torch.optim.AdamW(groups, weight_decay=decay, **common)
    return torch.optim.Adam(groups, **common)


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
        falling = config.epochs - head_start - warmup
        # Of n epochs the last is n - 1 after the first; a cosine to 0 takes one more, or the last would not train.
        schedule = CosineAnnealingLR(optimizer, max(falling - bool(config.lr_min), 1), eta_min=config.lr_min)
    else:
        schedule = ConstantLR(optimizer, factor=1.0, total_iters=0)
    if not warmup:
        return schedule
    rising = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rising, schedule], [warmup])


def clip_gradients(branch: nn.Module, most: float) -> None:
    """Scale a branch's gradient down to a norm of `most`, where it is longer; without waiting for the device."""
    trained = [p for p in branch.parameters() if p.grad is not None]
    if trained:  # in the official recipe's first update the Anchor has no gradient
        nn.utils.clip_grad_norm_(trained, most)


@contextmanager
def never_captured() -> Iterator[None]:
    """Hide PyTorch's warning that steps of a capturable optimiser run without capture."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)
        yield
