"""Checks before training: the trainer's options, and that the data can train the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from coleaf_framework._config import WrongTypeError, shown
from coleaf_framework.data import AVVPDataset
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.record.config import Cache, TrainerConfig
from coleaf_framework.training.data_fit import (
    require_fitting_data,
    require_lengths_to_mix,
    require_read_labels,
    require_videos_to_mix,
    warn_of_no_teaching,
    with_fitting_monitor,
)
from coleaf_framework.training.run_folder import OnExisting


def require_options(
    config: object, decision: object, out: object, cache: object, on_existing: object, factories: Mapping[str, object]
) -> None:
    """Check the arguments of `CoLeaFTrainer`; see there.

    Raises:
        WrongTypeError: one has another type; names it.
        ValueError: `cache` or `on_existing` is unknown; says what is known.
    """
    for what, given, kind in (("config", config, TrainerConfig), ("decision", decision, DecisionConfig)):
        if given is not None and not isinstance(given, kind):
            raise WrongTypeError(f"{what} is {shown(given)}, where a {kind.__name__} was expected")
    for what, name, known in (("cache", cache, get_args(Cache)), ("on_existing", on_existing, get_args(OnExisting))):
        if name not in known:
            raise ValueError(f"{what} is {shown(name)}, where one of {', '.join(known)} was expected")
    if out is not None and not isinstance(out, str | Path):
        raise WrongTypeError(f"out is {shown(out)}, where the path of a run folder was expected")
    for what, factory in factories.items():
        if factory is not None and not callable(factory):
            raise WrongTypeError(f"{what} is {shown(factory)}, where a function that makes one was expected")


def require_training_data(
    model: CoLeaF,
    decision: DecisionConfig,
    config: TrainerConfig,
    train: AVVPDataset,
    val: AVVPDataset | None,
    *,
    parts: int,
    log: bool,
) -> TrainerConfig:
    """Check that data can train a model as a configuration says.

    Args:
        model: to train.
        decision: its thresholds.
        config: how to train it.
        train: to train on.
        val: to choose the best epoch on.
        parts: into how many a batch is divided, over ranks or for memory.
        log: whether to say which columns are monitored, where `val` does not have the default's.

    Returns:
        The configuration, with a monitor that `val` has.

    Raises:
        ValueError: the data cannot; says what does not fit.
    """
    require_fitting_data(model, decision, train)
    if val is not None:
        require_fitting_data(model, decision, val, truth=True)
        if val.classes != train.classes:
            raise ValueError(f"classes of {val.split} differ from those of {train.split}")
        config = with_fitting_monitor(config, val, log=log)
    if config.bucket_by_length and not hasattr(train, "segments"):
        raise ValueError(
            f"trainer.bucket_by_length needs the lengths of videos, but {type(train).__name__} has no segments(index)"
        )
    require_read_labels(model, train)
    require_videos_to_mix(model, config.batch_size, parts)
    require_lengths_to_mix(model, train, config, parts)
    warn_of_no_teaching(model, config.epochs)
    return config
