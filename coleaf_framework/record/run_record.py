"""The record of a run, kept as `config.yaml` in its folder: its configuration, networks, code and data.

A record is one file of plain values, and the file is the record's dump and nothing else. People read it, and may pass
it to `coleaf train --config`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, StrictBool, model_validator

from coleaf_framework._config import StrictConfig, validated
from coleaf_framework.adapters import WrapArguments
from coleaf_framework.collaboration import CoLeaFConfig, DefaultLoss
from coleaf_framework.data.labels import LabelsConfig
from coleaf_framework.data.recipe_file import FeatureRecipe
from coleaf_framework.data.store import Count, StreamEntry
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.record.config import DataConfig, Recipe, RunConfig, TrainerConfig
from coleaf_framework.record.migration import migrated
from coleaf_framework.record.provenance import MadeOf
from coleaf_framework.record.settings import apply_settings, require_sections
from coleaf_framework.storage import CONFIG, read_yaml, write_yaml


class ModelEntry(BaseModel):
    """The networks' shape and how the Anchor is called; unknown keys, of a newer version, are ignored.

    Args:
        anchor_class: "module:Class" of the Anchor.
        streams: input streams by name.
        num_classes: number of classes, C.
        width: width, D, of the tokens.
        segments: number of segments, T, where the network has a fixed one.
        adapter: a declaration as plain values, or {adapter: "module:function", ...}; True for an adapter that cannot be
            named so; False without one.
        frozen: names of the Anchor's parameters that are frozen.
        changes_inputs: whether the Anchor changes its input tensors in place.
        loss: "module:function" of the loss given to `wrap`; True for one that cannot be imported; False without one.
        default_loss: how labels teach an Anchor without a loss, see `collaboration.LabelLoss`.
        classes: C names, where they are known.
    """

    anchor_class: str | None = None
    streams: dict[str, StreamEntry] = Field(min_length=1)
    num_classes: Count
    width: Count
    segments: Count | None = None
    adapter: StrictBool | dict[str, Any] = False
    frozen: list[str] = []
    changes_inputs: StrictBool = False
    loss: StrictBool | str = False
    default_loss: DefaultLoss = "video"
    classes: list[str] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C names; "class 0" and so on where they are not known."""
        return tuple(self.classes or (f"class {c}" for c in range(self.num_classes)))

    @model_validator(mode="after")
    def _name_every_class(self) -> ModelEntry:
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"classes has {len(self.classes)} names, num_classes is {self.num_classes}")
        return self


class PluginEntry(StrictConfig):
    """A network of the model.

    Args:
        name: of the plugin, "module:Class" or "module:function"; None for a network that was made outside.
        options: arguments of its constructor.
    """

    name: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class AnchorEntry(PluginEntry):
    """The Anchor of the model.

    Args:
        declaration: how it was wrapped, where plain values can express that.
    """

    declaration: WrapArguments | None = None


class TrainedOn(BaseModel):
    """The training split.

    Args:
        name: of the data set.
        videos: how many.
        ids: digest of their ids in order.
        optimizer: class of the optimiser that a factory made; None where the configuration names it.
        schedule: the same of the learning rate's schedule.
    """

    name: str
    videos: int
    ids: str
    optimizer: str | None = None
    schedule: str | None = None


class RunRecord(StrictConfig):
    """All that a run folder records of a run, its weights and log aside.

    Args:
        model: shape and classes of the networks.
        anchor: the Anchor.
        reference: the Reference.
        coleaf: the loss terms.
        decision: the thresholds; None before training.
        trainer: how it is trained; None before training.
        recipe: None where the configuration was made in Python.
        data: which videos; None where the data set was made in Python.
        labels: pseudo-labels of the training split; None without them.
        train: the training split; None before training and for an imported checkpoint.
        features: how the training features were extracted; None where their folder does not say.
        made_of: versions, and digests of code and data; None where they were not recorded.
    """

    anchor: AnchorEntry
    reference: PluginEntry
    coleaf: CoLeaFConfig
    model: ModelEntry
    recipe: Recipe | None = None
    data: DataConfig | None = None
    labels: LabelsConfig | None = None
    trainer: TrainerConfig | None = None
    decision: DecisionConfig | None = None
    train: TrainedOn | None = None
    features: FeatureRecipe | None = None
    made_of: MadeOf | None = None

    def changed(self, **sections: Any) -> RunRecord:
        """The same with other sections."""
        return self.model_copy(update=sections)

    def with_classes(self, classes: Iterable[str]) -> RunRecord:
        """The same with the names of the C classes."""
        return self.changed(model=self.model.model_copy(update={"classes": list(classes)}))

    def dump(self) -> dict[str, Any]:
        """The record as plain values; sections that are None are left out."""
        return {section: values for section, values in self.model_dump().items() if values is not None}

    def config(self, settings: Iterable[str] = (), source: object = "the record") -> RunConfig:
        """The run's configuration.

        Args:
            settings: changes to it, "section.key=value" each.
            source: for error messages.

        Returns:
            The configuration, checked; the record itself does not change.

        Raises:
            ValueError: a setting is wrong, or a value out of range; names it.
        """
        values = {section: x for section, x in self.dump().items() if section in RunConfig.model_fields}
        return validated(RunConfig, apply_settings(values, settings), source)

    def write(self, directory: Path) -> None:
        """Write the record into a run folder, atomically."""
        write_yaml(directory / CONFIG, self.dump())


def read_record(directory: Path) -> RunRecord:
    """The record in a run folder. Imports nothing, whatever it names.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: it is damaged, or something else; names the file and the first wrong field.
    """
    path = directory / CONFIG
    values = read_yaml(path)
    if "model" not in values:
        raise ValueError(f"{path}: not the record of a run: it has no section 'model'")
    require_sections(values, f"{path}")
    return validated(RunRecord, migrated(values), f"{path}: not the record of a run")
