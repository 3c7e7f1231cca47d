"""The recipes that train a system as it was published: `published`, and those of one system each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coleaf_framework.plugins import find_plugin
from coleaf_framework.record import load_config
from coleaf_framework.record.config import SYSTEM_RECIPES, TrainerConfig
from tests.helpers.command import Command

SCHEDULE = {"epochs": 7, "batch_size": 3, "learning_rate": 0.002}


@pytest.fixture
def systems(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every Anchor has the schedule `SCHEDULE`, plugin or not; the list of the Anchors that were asked for one."""
    asked: list[object] = []

    def schedule(anchor: object) -> dict[str, Any]:
        asked.append(anchor)
        return dict(SCHEDULE)

    monkeypatch.setattr("coleaf_framework.record.settings.published_training", schedule)
    monkeypatch.setattr("coleaf_framework.record.settings.published_decision", lambda anchor: {"gate": "modality"})
    return asked


def test_published_takes_the_anchors_schedule_and_trains_alone() -> None:
    config = load_config(settings=["recipe=published", "anchor.name=han"])
    own = find_plugin("anchor", "han").published_training
    assert (own["epochs"], own["batch_size"], own["lr_step"]) == (40, 16, 10)
    assert {key: getattr(config.trainer, key) for key in own} == own
    assert not config.coleaf.enabled
    assert config.recipe == "published"
    for key in set(TrainerConfig.model_fields) - set(own):  # and nothing else
        assert getattr(config.trainer, key) == getattr(TrainerConfig(), key)


def test_what_the_user_sets_wins_whether_by_setting_or_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: published\ntrainer: {batch_size: 5, seed: 3}\n")
    config = load_config(path, ["trainer.epochs=2", "coleaf.enabled=true"])
    assert (config.trainer.epochs, config.trainer.batch_size, config.trainer.seed) == (2, 5, 3)
    assert config.trainer.learning_rate == 3e-4  # HAN's; ours is 5e-4
    assert config.coleaf.enabled


@pytest.mark.parametrize("name", ["cmpae", "1", "[han]"])
def test_an_anchor_without_a_schedule_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"recipe published: the Anchor .* has no published schedule .* as `han` has"):
        load_config(settings=["recipe=published", f"anchor.name={name}"])


def test_the_refusal_reaches_the_user_in_a_sentence(tmp_path: Path, coleaf: Command) -> None:
    (tmp_path / "c.yaml").write_text("recipe: published\nanchor: {name: cmpae}\n")
    told = coleaf("train", "--config", "c.yaml", fails=True)
    assert "the Anchor 'cmpae' has no published schedule" in told
    assert "Traceback" not in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", SYSTEM_RECIPES)
def test_the_recipe_of_a_system_names_its_anchor(name: str, systems: list[object]) -> None:
    labels = ["labels.sources=[{kind: npy, path: labels}]"] if name == "valor" else []
    config = load_config(settings=[f"recipe={name}", "trainer.epochs=2", *labels])
    assert config.anchor.name == name
    assert set(systems) == {name}
    assert (config.trainer.epochs, config.trainer.batch_size, config.trainer.learning_rate) == (2, 3, 0.002)
    assert not config.coleaf.enabled
    assert config.decision.gate == "modality"
    same = load_config(settings=[f"recipe={name}", f"anchor.name={name}", "anchor.options.width=8", *labels])
    assert same.anchor.options == {"width": 8}


@pytest.mark.parametrize("name", SYSTEM_RECIPES)
@pytest.mark.parametrize("other", ["han", "mypackage:MyNet", "[1]"])
def test_the_recipe_of_a_system_with_another_anchor_is_refused(name: str, other: str, systems: list[object]) -> None:
    with pytest.raises(ValueError, match=f"recipe {name} trains the Anchor '{name}', not .*: leave out anchor.name"):
        load_config(settings=[f"recipe={name}", f"anchor.name={other}"])
    assert systems == []


def test_so_is_it_in_a_file(tmp_path: Path, systems: list[object]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: ma\nanchor: {name: han}\n")
    with pytest.raises(ValueError, match="recipe ma trains the Anchor 'ma', not 'han'"):
        load_config(path)
    assert load_config(path, ["anchor.name=ma"]).anchor.name == "ma"
