"""From a YAML file and `--set section.key=value` to a run's configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from coleaf_framework._config import shown, validated
from coleaf_framework._text import printable
from coleaf_framework.adapters import is_declaration_file, read_declaration
from coleaf_framework.collaboration import OFFICIAL, STRONG
from coleaf_framework.data.labels import LABELS_FILE, LabelsConfig, read_labels_file
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.plugins import published_decision, published_training
from coleaf_framework.record.config import SYSTEM_RECIPES, AnchorConfig, Recipe, RunConfig
from coleaf_framework.record.migration import has_class_thresholds, migrated
from coleaf_framework.storage import parse_yaml, read_yaml


def load_config(path: Path | str | None = None, settings: Iterable[str] = (), *, trust: bool = False) -> RunConfig:
    """A run's configuration.

    Args:
        path: YAML file with any of the sections; the `config.yaml` of a run folder is one. Defaults where None. If
            `anchor.name` is a declaration file, here or in `settings`, its content takes its place. So does that of
            a `labels.yaml` in `data.root` take the place of the section `labels`, where that is left out.
        settings: "section.key=value" each, the value as in YAML; they win over the file.
        trust: whether the file may name code that is no plugin, "module:Class", which is imported.

    Returns:
        The configuration, with every key that was not given at its recipe's value or its default.

    Raises:
        ValueError: an unknown section or key (names the nearest), or a value out of range; names the source. Or the
            file names code, and neither `trust` nor a setting allows it.
    """
    settings = tuple(settings)
    values: dict[str, Any] = read_yaml(Path(path)) if path is not None else {}
    source = f"{path}" if path is not None else "config"
    require_sections(values, source)
    values = migrated(values)
    _require_whole(values, source)
    told = {setting.partition("=")[0] for setting in settings if isinstance(setting, str)}
    values, settings, named = _with_declaration(values, settings, source)
    if not trust:
        _require_no_code(values, source, told, ("reference",) if named else ("anchor", "reference"))
    if path is not None and "model" not in values:
        _require_class_names(values, source)
    resolved = "model" in values  # a run folder's: every value is there already
    file_recipe = values.get("recipe", "" if resolved else None)
    values = apply_settings(_without_record(values), settings)
    if "recipe" in values and file_recipe not in (None, values["recipe"]):
        theirs = f"those of the recipe {file_recipe!r}" if file_recipe else "set already, by no recipe"
        raise ValueError(f"{source}: its values are {theirs}: for {values['recipe']!r}, start without it")
    if not resolved:
        values = _with_labels_of_data(values)
    return validated(RunConfig, _with_recipe(values), source)


def require_sections(values: Mapping[str, Any], source: str) -> None:
    """Check that every section of `RunConfig` is a mapping.

    Args:
        values: section -> key -> value.
        source: for the message.

    Raises:
        ValueError: one is a value; names `source` and the section.
    """
    for section, value in values.items():
        if section in RunConfig.model_fields and section != "recipe" and not isinstance(value, Mapping):
            raise ValueError(f"{source}: {section!r} is a value, not a section: {shown(value)}")


def _without_record(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run folder's record without the sections that are written when a model is made or trained."""
    return {key: value for key, value in values.items() if key not in ("model", "train", "features", "made_of")}


def apply_settings(values: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Sections of plain values, changed in place by settings.

    Args:
        values: section -> key -> value.
        settings: "section.key=value" each, the value as in YAML.

    Returns:
        `values`.

    Raises:
        ValueError: a setting has another form, or its value is not YAML; names it.
    """
    for setting in settings:
        if not isinstance(setting, str):
            raise ValueError(f"{shown(setting)}: expected a text section.key=value, such as 'trainer.epochs=3'")
        key, equals, text = setting.partition("=")
        if not equals or ("." not in key and key != "recipe") or not all(key.split(".")):
            raise ValueError(f"--set {setting!r}: expected section.key=value, such as trainer.epochs=3")
        try:
            value = parse_yaml(text)
        except (yaml.YAMLError, RecursionError) as problem:
            raise ValueError(f"--set {setting!r}: the value is not readable as YAML: {problem}") from problem
        _assign(values, key.split("."), value, setting)
        if key.startswith("decision.gate_threshold") and isinstance(values["decision"], dict):
            values["decision"].pop("chosen_on", None)  # which is said of those that were chosen
    return values


def _require_whole(values: Mapping[str, Any], source: str) -> None:
    """Check that the record of a run holds all that its Anchor was wrapped with."""
    model, anchor = values.get("model"), values.get("anchor")
    if not isinstance(model, Mapping) or not isinstance(anchor, Mapping) or anchor.get("name") is None:
        return
    for what in ("adapter", "loss"):
        if model.get(what) is True:
            raise ValueError(
                f"{source}: its Anchor was wrapped with {what}=<code> that no file can hold: train it from Python"
            )


def _with_declaration(
    values: dict[str, Any], settings: tuple[str, ...], source: str
) -> tuple[dict[str, Any], tuple[str, ...], bool]:
    """Put the content of a declaration file in the place of its name.

    Args:
        values: section -> key -> value, from a file.
        settings: "section.key=value" each.
        source: of the values, for messages.

    Returns:
        The values; the settings, without one that names a declaration file; and whether a setting did, so that the
        code in that file is named by the user.

    Raises:
        FileNotFoundError, ValueError: as `read_declaration` does.
    """
    section = values.get("anchor", {})
    telling = [x for x in settings if isinstance(x, str) and x.partition("=")[0] == "anchor.name"]
    name = apply_settings({}, telling[-1:])["anchor"]["name"] if telling else section.get("name")
    if telling and name != section.get("name"):  # the declaration in the file is another network's
        section = {key: x for key, x in section.items() if key != "declaration"}
    if not is_declaration_file(name):
        return ({**values, "anchor": section} if "anchor" in values else values), settings, False
    if more := [] if telling else sorted(section.keys() - {"name", "options"}):
        raise ValueError(f"{source}: anchor.name is the declaration file {name}, so anchor.{more[0]} belongs into it")
    file, options = read_declaration(name), section.get("options", {})
    if not isinstance(options, Mapping):
        raise ValueError(f"{source}: 'anchor.options' is a value, not a section: {shown(options)}")
    # What is named on the command line wins over the file of the configuration, which wins over what it names.
    options = {**options, **file.arguments} if telling else {**file.arguments, **options}
    made = {"name": file.network, "options": options, "declaration": file.declared.model_dump()}
    return {**values, "anchor": made}, tuple(x for x in settings if x not in telling), bool(telling)


def _require_no_code(values: Mapping[str, Any], source: str, told: Collection[str], kinds: Sequence[str]) -> None:
    """Check that code is named only by the user, by a setting whose key is in `told`."""
    for kind in kinds:
        section = values.get(kind)
        name = section.get("name") if isinstance(section, Mapping) else None
        if isinstance(name, str) and ":" in name and f"{kind}.name" not in told:
            raise ValueError(
                f"{source}: its {kind} is {name!r}, code that is no plugin and would be imported: if you know it, "
                f"name it yourself by --set {kind}.name={name}, or pass --trust where there is that option"
            )
    if "anchor" not in kinds:
        return
    anchor = values.get("anchor")
    declaration = anchor.get("declaration") if isinstance(anchor, Mapping) else None
    if not isinstance(declaration, Mapping):
        return
    for key in ("adapter", "loss"):
        if declaration.get(key) is not None and f"anchor.declaration.{key}" not in told:
            raise ValueError(
                f"{source}: its anchor's {key} is {declaration[key]!r}, code that would be imported: if you know it, "
                "name its declaration file yourself by --anchor, or pass --trust where there is that option"
            )


def _require_class_names(values: Mapping[str, Any], source: str) -> None:
    decision = values.get("decision")
    if not isinstance(decision, Mapping) or decision.get("classes") is not None:
        return
    if has_class_thresholds(decision):
        raise ValueError(f"{source}: has thresholds per class: name the classes, in their order, as decision.classes")


def as_setting(key: str, value: str) -> str:
    """A setting with a text as its value, quoted as needed, such as a path that is not UTF-8."""
    return f"{key}={printable(json.dumps(value, ensure_ascii=False))}"  # YAML knows `printable`'s escapes


def recipe(name: Recipe, *settings: str) -> RunConfig:
    """A recipe's configuration, for use from Python: `recipe("strong").coleaf`, `.trainer` and `.decision`.

    Args:
        name: "paper", "official" or "strong".
        settings: "section.key=value" each, as for `load_config`.

    Returns:
        The configuration, complete and checked.
    """
    return load_config(settings=(f"recipe={name}", *settings))


def _with_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """The given values, completed by those of the recipe and of the Anchor's published decision."""
    given = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    sections = ("coleaf", "trainer", "decision", "anchor")
    if any(not isinstance(given.get(section, {}), dict) for section in sections):
        return given  # validation says what is wrong
    recipe = given.get("recipe")
    if recipe in SYSTEM_RECIPES:
        given["anchor"] = {"name": recipe} | given.get("anchor", {})
        _require_anchor_of(str(recipe), given["anchor"])
    anchor = given.get("anchor", {}).get("name", AnchorConfig().name)
    together = given.get("coleaf", {}).get("enabled", True)
    defaults: dict[str, dict[str, Any]] = {}
    if given.get("recipe") == "strong":
        defaults["coleaf"] = dict(STRONG)
    if given.get("recipe") == "official":
        defaults["coleaf"] = dict(OFFICIAL)
        defaults["trainer"] = {"epochs": 10 if together else 20}
        if together:
            defaults["decision"] = {"gate": "modality", "gate_threshold": 0.52, "segment_threshold": 0.25}
    if recipe == "published" or recipe in SYSTEM_RECIPES:
        defaults["coleaf"] = {"enabled": False}
        defaults["trainer"] = _published_schedule(anchor)
    _weigh_labels(given, defaults)
    if "decision" not in defaults and not DecisionConfig.model_fields.keys() <= given.get("decision", {}).keys():
        defaults["decision"] = published_decision(anchor) if isinstance(anchor, str) else {}
    for section, own in defaults.items():
        given[section] = own | given.get(section, {})
    return given


def _require_anchor_of(recipe: str, anchor: Mapping[str, Any]) -> None:
    """Check that the recipe of one system gets no other Anchor."""
    if anchor.get("name") != recipe:
        raise ValueError(
            f"recipe {recipe} trains the Anchor {recipe!r}, not {shown(anchor.get('name'))}: leave out anchor.name, or "
            "take the recipe published, which is any Anchor's own"
        )


def _published_schedule(anchor: Any) -> dict[str, Any]:
    """The `trainer` section that an Anchor was published with.

    Raises:
        ValueError: it has none.
    """
    schedule = published_training(anchor) if isinstance(anchor, str) and not is_declaration_file(anchor) else {}
    if not schedule:
        raise ValueError(
            f"recipe published: the Anchor {shown(anchor)} has no published schedule (an attribute published_training, "
            "as `han` has)"
        )
    return schedule


def _weigh_labels(given: Mapping[str, Any], defaults: dict[str, dict[str, Any]]) -> None:
    """Give labels of segments the weight 1 if no weight is set for a loss that reads them."""
    labels = given.get("labels")
    sources = labels.get("sources") if isinstance(labels, Mapping) else None
    told = {"segment_label_weight", "modality_label_weight"} & given.get("coleaf", {}).keys()
    if told or not isinstance(sources, list | tuple):
        return
    if any(isinstance(source, Mapping) and source.get("kind") != "ma" for source in sources):
        defaults.setdefault("coleaf", {})["segment_label_weight"] = 1.0


def _with_labels_of_data(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with the section `labels` of the data folder's `labels.yaml` where they have none of their own."""
    data = values.get("data")
    root = data.get("root") if isinstance(data, Mapping) else None
    if "labels" in values or not isinstance(root, str):
        return values
    if not os.path.isfile(Path(root) / LABELS_FILE):  # not `Path.is_file`, which fails on a name that is too long
        return values
    return {**values, "labels": read_labels_file(Path(root) / LABELS_FILE).model_dump()}


def labels_settings(labels: LabelsConfig) -> list[str]:
    """Settings that put the sources of pseudo-labels into a configuration; none where there are none."""
    sources = [source.model_dump() for source in labels.sources]
    return [f"labels.sources={printable(json.dumps(sources, ensure_ascii=False))}"] if sources else []


def _assign(values: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ValueError(f"--set {setting!r}: {part!r} is a value, not a section")
    values[path[-1]] = value
