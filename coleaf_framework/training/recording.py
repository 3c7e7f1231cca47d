"""What a training adds to the record of its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.recipe_file import FeatureRecipe
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.model.coleaf import CoLeaF, require_record
from coleaf_framework.plugins import loaded_function
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.record.provenance import made_of
from coleaf_framework.record.run_record import RunRecord, TrainedOn
from coleaf_framework.storage import text_digest
from coleaf_framework.training.optimization import OptimizerFactory, ScheduleFactory
from coleaf_framework.training.stepping import Stepper


def recorded(
    model: CoLeaF,
    config: TrainerConfig,
    decision: DecisionConfig,
    splits: Sequence[AVVPDataset],
    features: tuple[FeatureRecipe, Path | None] | None,
    *,
    digests: bool,
) -> RunRecord:
    """The model's record, with what it is trained on and how.

    Args:
        model: with a record.
        config: how it is trained.
        decision: its thresholds.
        splits: the training split, then the others that the run may meet.
        features: of the training split, from `recipe_of`.
        digests: whether to compute those of code and data, which a run folder keeps.
    """
    record, train = require_record(model), splits[0]
    made = record.made_of
    if digests:
        adapter = model.adapter
        code = {"adapter": getattr(adapter, "adapter", adapter), "loss": model.label_loss.raw}
        code["maker"] = loaded_function(str(record.anchor.name))
        made = made_of(model.anchor, model.reference, splits, code)
    return record.with_classes(train.classes).changed(
        trainer=config,
        decision=decision.named(train.classes),
        train=TrainedOn(name=train.name, videos=len(train), ids=text_digest("\n".join(train.ids))),
        features=None if features is None else features[0],
        made_of=made,
    )


def with_made(
    record: RunRecord, stepper: Stepper, optimizer: OptimizerFactory | None, schedule: ScheduleFactory | None
) -> RunRecord:
    """The record with the classes of the optimiser and schedule from the user's factories.

    Args:
        record: from `recorded`.
        stepper: holds the optimiser and its schedule.
        optimizer: the user's, or None.
        schedule: the user's, or None.
    """
    assert record.train is not None
    factories = {"optimizer": optimizer, "schedule": schedule}
    made = {what: type(getattr(stepper, what)).__name__ for what, factory in factories.items() if factory}
    return record.changed(train=record.train.model_copy(update=made))
