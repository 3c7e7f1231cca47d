"""The configuration of a run: a YAML file, changed by `--set section.key=value`, saved resolved beside the weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, field_validator, model_validator

from coleaf_framework._config import StrictConfig, nearest, shown, validated
from coleaf_framework._text import printable
from coleaf_framework.collaboration import OFFICIAL, STRONG, CoLeaFConfig
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.plugins import published_decision
from coleaf_framework.record.trainer_config import TrainerConfig as TrainerConfig
from coleaf_framework.storage import CONFIG, parse_yaml, read_yaml

Cache = Literal["none", "memory", "device"]
_MOST_SYNTHETIC = 1_000_000  # videos of a split, whose ids are kept in memory


class DataConfig(StrictConfig):
    """Which videos."""

    root: str | None = Field(None, description="folder in LLP's layout; none trains on synthetic LLP")
    standardize: bool = Field(
        False,
        description="each feature to zero mean and unit deviation, by the training split. Published networks take raw "
        "streams; for streams whose scales differ by orders of magnitude, which `coleaf check-data` tells",
    )
    cache: Cache = Field(
        "none",
        description="memory, or device such as the GPU, keeps all videos there from the first epoch on. LLP takes 7 "
        "GB, averaged 1 GB; on the device half of it with trainer.precision bf16",
    )
    average_frames: bool = Field(
        False,
        description="read the mean of each segment's frames: the same answer with less work for networks that average "
        "after a linear layer (han); others refuse (cmpae)",
    )
    synthetic_train: int | None = Field(
        None, ge=1, le=_MOST_SYNTHETIC, description="synthetic videos; none is LLP's 10,000"
    )
    synthetic_val: int | None = Field(None, ge=1, le=_MOST_SYNTHETIC, description="none is LLP's 649")
    synthetic_test: int | None = Field(None, ge=1, le=_MOST_SYNTHETIC, description="none is LLP's 1,200")
    synthetic_seed: int = Field(0, ge=0, description="another one gives other videos")


class AnchorConfig(StrictConfig):
    """Which Anchor plugin; a run with a network of the user's own has no name."""

    name: str | None = Field("han", description="`coleaf plugins` lists them")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of its constructor. A width below the published 512 costs what CoLeaF adds, since a "
        "narrower Reference learns too slowly to teach (docs/results.md)",
    )


class ReferenceConfig(StrictConfig):
    """Which Reference plugin."""

    name: str = Field("class_token", description="`coleaf plugins` lists them")
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of its constructor")


Recipe = Literal["paper", "official", "strong"]


class RunConfig(StrictConfig):
    """Everything that makes a run what it is."""

    recipe: Recipe = Field(
        "paper",
        description="paper; official: where the authors' code departs from it; strong: the paper's with what was "
        "measured to help both Anchors",
    )
    data: DataConfig = Field(default_factory=DataConfig)
    anchor: AnchorConfig = Field(default_factory=AnchorConfig)
    reference: ReferenceConfig = Field(default_factory=ReferenceConfig)
    coleaf: CoLeaFConfig = Field(default_factory=CoLeaFConfig)
    trainer: TrainerConfig = Field(default_factory=TrainerConfig)
    decision: DecisionConfig = Field(default_factory=DecisionConfig)

    @model_validator(mode="after")
    def _leave_the_anchor_some_epochs(self) -> RunConfig:
        if self.coleaf.enabled and self.coleaf.reference_head_start >= self.trainer.epochs:
            raise ValueError(
                f"coleaf.reference_head_start={self.coleaf.reference_head_start} leaves the Anchor no epoch of "
                f"trainer.epochs={self.trainer.epochs}, which counts them too"
            )
        return self

    @field_validator("recipe", mode="before")
    @classmethod
    def _known_recipe(cls, name: Any) -> Any:
        known = get_args(Recipe)
        if name not in known:
            raise ValueError(f"no recipe {name!r}.{nearest(str(name), known)} Recipes: {', '.join(known)}")
        return name


def load_config(path: Path | str | None = None, settings: Iterable[str] = (), *, trust: bool = False) -> RunConfig:
    """A run's configuration.

    Args:
        path: YAML file with any of the sections; the `config.yaml` of a run folder is one. Defaults where None.
        settings: "section.key=value" each, the value as in YAML; they win over the file.
        trust: whether the file may name code that is no plugin, "module:Class", which is imported.

    Raises:
        ValueError: an unknown section or key (names the nearest), or a value out of range; names the source. Or the
            file names code, and neither `trust` nor a setting allows it.
    """
    settings = tuple(settings)
    values: dict[str, Any] = read_yaml(Path(path)) if path is not None else {}
    source = f"{path}" if path is not None else "config"
    _require_sections(values, source)
    if not trust:
        _require_no_code(values, source, settings)
    if path is not None and "model" not in values:
        _require_class_names(values, source)
    resolved = "model" in values  # a run folder's: every value is there already
    file_recipe = values.get("recipe", "" if resolved else None)
    values = _changed(_without_notes(values), settings)
    if "recipe" in values and file_recipe not in (None, values["recipe"]):
        theirs = f"those of the recipe {file_recipe!r}" if file_recipe else "set already, by no recipe"
        raise ValueError(f"{source}: its values are {theirs}: for {values['recipe']!r}, start without it")
    return validated(RunConfig, _with_recipe(values), source)


def recorded_config(run: Path, settings: Iterable[str] = ()) -> RunConfig:
    """The configuration in a run's folder. Imports nothing, whatever the file names.

    Args:
        run: the folder.
        settings: changes to it, as for `load_config`.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is no run's; or as `load_config` does.
    """
    path = run / CONFIG
    values = read_yaml(path)
    model = values.get("model")
    if not isinstance(model, Mapping):
        raise ValueError(f"{path}: not the configuration of a run: it has no section 'model'")
    _require_sections(values, f"{path}")
    values = _without_notes(values)
    _name_classes(values.get("decision"), model)
    return validated(RunConfig, _changed(values, tuple(settings)), path)


def _require_sections(values: Mapping[str, Any], source: str) -> None:
    for section, value in values.items():
        if section in RunConfig.model_fields and section != "recipe" and not isinstance(value, Mapping):
            raise ValueError(f"{source}: {section!r} is a value, not a section: {shown(value)}")


def _without_notes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without a run folder's own notes, which follow from the other sections."""
    return {key: value for key, value in values.items() if key not in ("model", "train", "made_of")}


def _changed(values: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
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


def _require_no_code(values: Mapping[str, Any], source: str, settings: Iterable[str]) -> None:
    told = {setting.partition("=")[0] for setting in settings if isinstance(setting, str)}
    for kind in ("anchor", "reference"):
        section = values.get(kind)
        name = section.get("name") if isinstance(section, Mapping) else None
        if isinstance(name, str) and ":" in name and f"{kind}.name" not in told:
            raise ValueError(
                f"{source}: its {kind} is {name!r}, code that is no plugin and would be imported: if you know it, "
                f"name it yourself by --set {kind}.name={name}, or pass --trust where there is that option"
            )


def _require_class_names(values: Mapping[str, Any], source: str) -> None:
    decision = values.get("decision")
    if not isinstance(decision, Mapping) or decision.get("classes") is not None:
        return
    if _is_per_class(decision):
        raise ValueError(f"{source}: has thresholds per class: name the classes, in their order, as decision.classes")


def _is_per_class(decision: Mapping[str, Any]) -> bool:
    gate = decision.get("gate_threshold")
    each = [decision.get("segment_threshold"), *(gate.values() if isinstance(gate, Mapping) else [gate])]
    return any(isinstance(value, list) for value in each)


def _name_classes(decision: Any, model: Any) -> None:
    """Give thresholds per class the names of the run's classes, which older files have in `model` alone."""
    if isinstance(decision, dict) and isinstance(model, Mapping) and _is_per_class(decision):
        decision["classes"] = decision.get("classes") or model.get("classes")


def as_setting(key: str, value: str) -> str:
    """A text as a setting that says just this text, whatever it holds, such as a path that is not UTF-8."""
    return f"{key}={printable(json.dumps(value, ensure_ascii=False))}"  # YAML knows `printable`'s escapes


def with_later_keys(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A run's saved configuration, with the keys that came after it was saved, at their defaults.

    A key's default does what was done before there was the key, so an older run can go on.
    """
    filled = dict(saved)
    for name, field in RunConfig.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, StrictConfig) and isinstance(filled.get(name), Mapping):
            filled[name] = section().model_dump(mode="json") | dict(filled[name])
    _name_classes(filled.get("decision"), filled.get("model"))
    data = filled.get("data")
    if isinstance(data, dict) and isinstance(data.get("root"), str):  # older runs have it as it was written
        data["root"] = Path(data["root"]).resolve().as_posix()
    return filled


def with_absolute_root(config: RunConfig) -> RunConfig:
    """The same, with a data folder that means the same from any folder."""
    if config.data.root is None:
        return config
    data = config.data.model_copy(update={"root": Path(config.data.root).resolve().as_posix()})
    return config.model_copy(update={"data": data})


def recipe(name: Recipe, *settings: str) -> RunConfig:
    """A recipe's configuration, for use from Python: `recipe("strong").coleaf`, `.trainer` and `.decision`.

    Args:
        name: "paper", "official" or "strong".
        settings: "section.key=value" each, as for `load_config`.
    """
    return load_config(settings=(f"recipe={name}", *settings))


def _with_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe and the Anchor's published decision say, under what was given."""
    given = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    sections = ("coleaf", "trainer", "decision", "anchor")
    if any(not isinstance(given.get(section, {}), dict) for section in sections):
        return given  # validation says what is wrong
    together = given.get("coleaf", {}).get("enabled", True)
    defaults: dict[str, dict[str, Any]] = {}
    if given.get("recipe") == "strong":
        defaults["coleaf"] = dict(STRONG)
    if given.get("recipe") == "official":
        defaults["coleaf"] = dict(OFFICIAL)
        defaults["trainer"] = {"epochs": 10 if together else 20}
        if together:
            defaults["decision"] = {"gate": "modality", "gate_threshold": 0.52, "segment_threshold": 0.25}
    anchor = given.get("anchor", {}).get("name", AnchorConfig().name)
    if "decision" not in defaults and not DecisionConfig.model_fields.keys() <= given.get("decision", {}).keys():
        defaults["decision"] = published_decision(anchor) if isinstance(anchor, str) else {}
    for section, own in defaults.items():
        given[section] = own | given.get(section, {})
    return given


def _assign(values: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ValueError(f"--set {setting!r}: {part!r} is a value, not a section")
    values[path[-1]] = value


def describe() -> str:
    """Every section and key with its default, as the Markdown page docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "A YAML file with any of these sections (`coleaf train --config FILE`), changed by `--set section.key=value`.",
        "A run folder's `config.yaml` is one, resolved.",
    ]
    about = RunConfig.model_fields["recipe"]
    lines += ["", f"`recipe`, default `{about.default}`: {about.description} ([recipes](recipes.md))."]
    for section, field in RunConfig.model_fields.items():
        made = field.annotation
        if not (isinstance(made, type) and issubclass(made, StrictConfig)):
            continue
        lines += ["", f"## {section}", "", "| key | default | meaning |", "|---|---|---|"]
        for key, about in made.model_fields.items():
            default = about.get_default(call_default_factory=True)
            shown = yaml.safe_dump(list(default) if isinstance(default, tuple) else default, default_flow_style=True)
            shown = shown.replace("\n...", "").strip()
            lines.append(f"| `{key}` | `{shown}` | {about.description or ''} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(describe() + "\n")
