"""Records and configurations of earlier versions, brought to today's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def migrated(values: Mapping[str, Any]) -> dict[str, Any]:
    """A record or configuration of an earlier version in today's form; today's are returned unchanged.

    Keys that came later need nothing: their defaults do what was done before there was the key. What else changed:

    - 0.1, before thresholds per class named their classes: `decision.classes` is taken from `model.classes`.
    - 0.1, before declarations were files: {out: {path: 3}} is {path: 3}, {tap: {path: encoder}} is {tap: encoder}, and
      a single tap stands in no list.
    - 0.1, before there were other trackers: `trainer.tensorboard: true` is `trainer.trackers: [tensorboard]`.

    Args:
        values: section -> key -> value, from a file.

    Returns:
        A new mapping of sections; what is not changed is shared with `values`.
    """
    values = dict(values)
    decision, model = values.get("decision"), values.get("model")
    if isinstance(decision, Mapping) and isinstance(model, Mapping) and has_class_thresholds(decision):
        values["decision"] = {**decision, "classes": decision.get("classes") or model.get("classes")}
    if isinstance(model, Mapping) and isinstance(model.get("adapter"), Mapping):
        values["model"] = {**model, "adapter": {key: _in_todays_form(x) for key, x in model["adapter"].items()}}
    trainer = values.get("trainer")
    if isinstance(trainer, Mapping) and isinstance(trainer.get("tensorboard"), bool):
        others = {key: x for key, x in trainer.items() if key != "tensorboard"}
        values["trainer"] = ({"trackers": ["tensorboard"]} if trainer["tensorboard"] else {}) | others
    return values


def has_class_thresholds(decision: Mapping[str, Any]) -> bool:
    """Whether a decision section, as plain values, holds a threshold per class."""
    gate = decision.get("gate_threshold")
    each = [decision.get("segment_threshold"), *(gate.values() if isinstance(gate, Mapping) else [gate])]
    return any(isinstance(value, list) for value in each)


def _in_todays_form(value: Any) -> Any:
    """A part of a declaration, written as before declarations were files, in the form of today."""
    if isinstance(value, list):
        parts = [_in_todays_form(x) for x in value]
        return parts[0] if len(parts) == 1 and isinstance(value[0], Mapping) and "tap" in value[0] else parts
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"out"} and isinstance(value["out"], Mapping):
        return dict(value["out"])
    if value.keys() == {"tap"} and isinstance(value["tap"], Mapping):
        return {("tap" if key == "path" else key): x for key, x in value["tap"].items()}
    if "constant" in value:
        return value
    return {key: _in_todays_form(x) for key, x in value.items()}
