"""What a run folder's `config.yaml` says of its networks, held to its form before anything is built of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, StrictBool, model_validator

from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.data.store import Count, StreamEntry


class ModelEntry(BaseModel):
    """The networks' shape; newer versions may say more."""

    streams: dict[str, StreamEntry] = Field(min_length=1)
    num_classes: Count
    width: Count
    segments: Count | None = None
    adapter: StrictBool | dict[str, Any] = False
    frozen: list[str] = []
    changes_inputs: StrictBool = False
    anchor_class: str | None = None
    classes: list[str] | None = None

    @model_validator(mode="after")
    def _name_every_class(self) -> ModelEntry:
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"classes has {len(self.classes)} names, num_classes is {self.num_classes}")
        return self


class PluginEntry(BaseModel):
    """Which plugin a network is, if it is one, and the arguments of its constructor."""

    name: str | None = None
    options: dict[str, Any] = {}


class ModelDescription(BaseModel):
    """What `CoLeaF.load` builds a model from."""

    model: ModelEntry
    anchor: PluginEntry
    reference: PluginEntry
    coleaf: CoLeaFConfig
