"""Configuration: defaults of the paper, files, --set, and wrong keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from coleaf_framework import CoLeaFConfig, TrainerConfig
from coleaf_framework.record import RunConfig, load_config
from coleaf_framework.record.settings import as_setting


def test_defaults_are_the_papers() -> None:
    c = RunConfig()
    t = c.trainer
    assert (t.epochs, t.batch_size, t.learning_rate, t.lr_step, t.lr_gamma) == (15, 128, 5e-4, 6, 0.25)
    assert (c.coleaf.temperature, c.coleaf.threshold) == (0.2, 0.5)
    weights = (c.coleaf.contrast_weight, c.coleaf.cooccurrence_weight, c.coleaf.self_modality_weight)
    assert weights == (1, 1, 1)
    assert (c.coleaf.anchor_warmup, c.coleaf.reference_warmup) == (1, 3)
    assert (c.decision.segment_threshold, c.decision.gate, c.decision.gate_threshold) == (0.5, "video", 0.5)


def test_settings_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("trainer: {epochs: 3, seed: 7}\nmodel: {written: by a run}\n")
    config = load_config(path, ["trainer.epochs=5", "anchor.options.layers=2", "coleaf.enabled=false"])
    assert (config.trainer.epochs, config.trainer.seed) == (5, 7)
    assert config.anchor.options == {"layers": 2}
    assert not config.coleaf.enabled


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.epoch=3", "trainer: TrainerConfig has no key 'epoch'. Did you mean 'epochs'"),
        ("trainers.epochs=3", "RunConfig has no key 'trainers'. Did you mean 'trainer'"),
        ("trainer.epochs=0", "trainer.epochs: Input should be greater than or equal to 1, got 0"),
        ("data.synthetic_val=1000000000000", "data.synthetic_val: Input should be less than or equal to 1000000, got"),
        ("trainer.epochs=many", "trainer.epochs: Input should be a valid integer.*got 'many'"),
        ("trainer.monitor=[segment/Ab]", "trainer.monitor: monitor: no column 'segment/Ab'. Did you mean 'segment/A"),
        ("coleaf.contrast=triplet", "coleaf.contrast: Input should be 'event_aware', 'nce', 'bce' or 'none'"),
        ("decision.gate_threshold=.inf", "decision.gate_threshold"),
        ("epochs=3", r"--set 'epochs=3': expected section\.key=value"),
        ("trainer.epochs=[", "not readable as YAML"),
        ("trainer.trackers=[wanb]", "trainer.trackers: no tracker 'wanb'. Did you mean 'wandb'"),
        ("trainer.trackers=wandb", r"trainer.trackers: expected a list, \[wandb\]"),
        ("trainer.tensorboard=true", r"trainer: tensorboard is spelt trackers=\[tensorboard\] now"),
        ("trainer.epochs.x=1", "trainer.epochs: Input should be a valid integer"),
    ],
)
def test_wrong_settings_are_named(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(settings=[setting])


@pytest.mark.parametrize("text", ["- a\n- b\n", "trainer: [", "\x00"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"c\.yaml: "):
        load_config(path)
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml: no such file"):
        load_config(tmp_path / "gone.yaml")


def test_a_section_that_is_a_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("trainer: 3\n")
    with pytest.raises(ValueError, match="'trainer' is a value, not a section"):
        load_config(path, ["trainer.epochs=1"])


def test_a_wrong_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("coleaf: {contrast_wieght: 1}\n")
    with pytest.raises(ValueError, match=r"c\.yaml: coleaf: CoLeaFConfig has no key .* Did you mean 'contrast_weight'"):
        load_config(path)


def test_python_arguments_are_checked_alike() -> None:
    with pytest.raises(ValidationError, match="Did you mean 'epochs'"):
        TrainerConfig(epoch=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        CoLeaFConfig(temperature=0)


def test_a_runs_config_without_a_recipe_cannot_be_relabelled(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model: {}\ncoleaf: {update: together}\n")
    assert load_config(path).recipe == "paper"
    with pytest.raises(ValueError, match="set already, by no recipe: for 'official', start without it"):
        load_config(path, ["recipe=official"])


def test_an_option_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive_in_denominator is for the paper's form"):
        load_config(settings=["recipe=official", "coleaf.positive_in_denominator=true"])


keys = st.sampled_from(
    ["trainer", "data", "coleaf", "anchor", "options", "epochs", "seed", "name", "recipe", "model", "x"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.integers(), inner, max_size=4),
    max_leaves=10,
)
contents = (
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | values.map(lambda x: yaml.safe_dump(x).encode())
)
settings_ = st.lists(st.builds("{}.{}={}".format, keys, keys, st.text(max_size=5)) | st.text(max_size=8), max_size=2)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=contents, given_settings=settings_)
@example(content=b"{}", given_settings=["anchor.name=A"])
def test_any_configuration_is_read_or_refused_in_a_sentence(
    tmp_path: Path, content: bytes, given_settings: list[str]
) -> None:
    """And by nothing but a ValueError, or an ImportError of a plugin that is not there."""
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    try:
        config = load_config(path, given_settings)
    except ValueError as problem:
        told = str(problem)
        assert str(path) in told or "--set" in told or "plugin" in told or told.startswith("no anchor is called")
    else:
        assert isinstance(config, RunConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yes: 1\n", "RunConfig has the key True, which is no text"),
        ("trainer: {1: 2}\n", "trainer: TrainerConfig has the key 1, which is no text"),
        ("null: 1\n", "RunConfig has the key None, which is no text"),
    ],
)
def test_a_key_that_is_no_text_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"config.yaml: {message}"):
        load_config(tmp_path / "config.yaml")


@given(st.text(st.characters(codec=None, exclude_categories=())))
@example("x" * 300)  # longer than the name of a file may be
def test_a_setting_says_just_the_text_that_it_was_made_of(text: str) -> None:
    assert load_config(settings=[as_setting("data.root", text)]).data.root == text


def test_a_file_with_the_former_key_of_tensorboard_is_read(tmp_path: Path) -> None:
    for value, trackers in (("true", ("tensorboard",)), ("false", ())):
        (tmp_path / "old.yaml").write_text(f"trainer: {{tensorboard: {value}}}\n")
        assert load_config(tmp_path / "old.yaml").trainer.trackers == trackers
