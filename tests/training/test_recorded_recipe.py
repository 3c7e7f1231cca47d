"""A run knows how its training features were extracted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coleaf_framework.data import AveragedFrames, AVVPFolder, pack
from coleaf_framework.data.recipe_file import PROJECTION_FILE, RECIPE_FILE, FeatureRecipe, recipe_of
from coleaf_framework.record import load_config
from coleaf_framework.record.run_record import read_record
from coleaf_framework.storage import write_tensors
from coleaf_framework.storage.digests import file_digest
from tests.helpers.training import fit

RECIPE = FeatureRecipe(
    recipe="tiny", frame_rate=8, sample_rate=16000, weights={"efficientnet-lite0": "0" * 16}, decoder="ffmpeg 5.1"
)


@pytest.fixture
def projected(data_root: Path) -> FeatureRecipe:
    """The recipe of the data folder, whose features are projected."""
    path = data_root / PROJECTION_FILE
    write_tensors(path, {"audio": torch.ones(7, 6)})
    recipe = RECIPE.model_copy(update={"projection": file_digest(path)})
    recipe.write(data_root)
    return recipe


def test_the_record_has_the_recipe_and_the_run_the_projection(
    data_root: Path, projected: FeatureRecipe, tmp_path: Path
) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    assert read_record(tmp_path / "run").features == projected
    assert (tmp_path / "run" / PROJECTION_FILE).read_bytes() == (data_root / PROJECTION_FILE).read_bytes()


def test_a_folder_that_does_not_say_leaves_the_record_without(data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    assert read_record(tmp_path / "run").features is None
    assert not (tmp_path / "run" / PROJECTION_FILE).exists()


def test_an_overwritten_run_loses_the_projection_of_the_one_before(
    data_root: Path, projected: FeatureRecipe, tmp_path: Path
) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    (data_root / RECIPE_FILE).unlink()
    fit(data_root, tmp_path / "run", epochs=1, on_existing="overwrite")
    assert not (tmp_path / "run" / PROJECTION_FILE).exists()


def test_a_run_is_not_resumed_on_features_of_another_recipe(
    data_root: Path, projected: FeatureRecipe, tmp_path: Path
) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    RECIPE.model_copy(update={"sample_rate": 48000}).write(data_root)
    with pytest.raises(ValueError, match=r"has features.projection = .*, now it is None"):
        fit(data_root, tmp_path / "run", epochs=2, on_existing="resume")


def test_a_run_of_before_recipes_were_recorded_is_resumed_and_learns_its_own(data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    RECIPE.write(data_root)
    fit(data_root, tmp_path / "run", epochs=2, on_existing="resume")
    assert read_record(tmp_path / "run").features == RECIPE


def test_the_recipe_is_found_within_averaged_frames(data_root: Path, projected: FeatureRecipe) -> None:
    assert recipe_of(AveragedFrames(AVVPFolder(data_root, "train"))) == (projected, data_root / PROJECTION_FILE)


def test_a_packed_store_keeps_recipe_and_projection(data_root: Path, projected: FeatureRecipe, tmp_path: Path) -> None:
    pack(data_root, tmp_path / "store")
    assert recipe_of(AVVPFolder(tmp_path / "store", "train")) == (projected, tmp_path / "store" / PROJECTION_FILE)


def test_another_projection_than_the_recipe_names_is_refused(data_root: Path, projected: FeatureRecipe) -> None:
    write_tensors(data_root / PROJECTION_FILE, {"audio": torch.zeros(7, 6)})
    with pytest.raises(ValueError, match=f"its digest is .*, not {projected.projection}"):
        recipe_of(AVVPFolder(data_root, "train"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": "llp"}, "recipe is tiny, not llp"),
        ({"sample_rate": 48000}, "sample_rate is 16000, not 48000"),
        ({"weights": {"efficientnet-lite0": "1" * 16}}, f"the weights of efficientnet-lite0 are {'0' * 16}, not 1"),
        ({"weights": {}}, "the weights of efficientnet-lite0 are 0000000000000000, not none"),
        ({"projection": "ab"}, "projection is none, not ab"),
    ],
)
def test_recipes_differ_in_what_changes_features(change: dict[str, object], said: str) -> None:
    (difference,) = RECIPE.differences(RECIPE.model_copy(update=change))
    assert difference.startswith(said)


@pytest.mark.parametrize("change", [{"window": 30}, {"decoder": "PyAV 18.1.0"}])
def test_window_and_decoder_may_differ(change: dict[str, object]) -> None:
    assert RECIPE.differences(RECIPE.model_copy(update=change)) == []


def test_features_of_another_recipe_are_not_predicted_of(data_root: Path, tmp_path: Path) -> None:
    RECIPE.write(data_root)
    trainer = fit(data_root, tmp_path / "run", epochs=1)
    RECIPE.model_copy(update={"weights": {"efficientnet-lite0": "1" * 16}}).write(data_root)
    with pytest.raises(
        ValueError, match=r"extraction.yaml: .* made otherwise .*weights of efficientnet-lite0 are 1111"
    ):
        trainer.predict(AVVPFolder(data_root, "val"))


def test_features_by_another_decoder_are_predicted_of_with_a_caveat(data_root: Path, tmp_path: Path) -> None:
    RECIPE.write(data_root)
    trainer = fit(data_root, tmp_path / "run", epochs=1)
    assert not any("decoded" in caveat for caveat in trainer.predict(AVVPFolder(data_root, "val")).caveats)
    RECIPE.model_copy(update={"decoder": "PyAV 18"}).write(data_root)
    predictions = trainer.predict(AVVPFolder(data_root, "val"))
    assert "decoded by PyAV 18; the training videos were by ffmpeg 5.1, which differs slightly" in predictions.caveats


def test_features_of_longer_windows_are_predicted_of_with_a_caveat(data_root: Path, tmp_path: Path) -> None:
    RECIPE.write(data_root)
    trainer = fit(data_root, tmp_path / "run", epochs=1)
    RECIPE.model_copy(update={"window": 20}).write(data_root)
    predictions = trainer.predict(AVVPFolder(data_root, "val"))
    assert "videos are windows of up to 20 s; the training videos were of 10 s" in predictions.caveats


def test_the_record_of_a_run_is_a_configuration_for_another(data_root: Path, tmp_path: Path) -> None:
    """`coleaf train --config run/config.yaml`: how the features were made is of the data, not of the configuration."""
    RECIPE.write(data_root)
    fit(data_root, tmp_path / "run", epochs=1)
    assert load_config(tmp_path / "run" / "config.yaml").trainer.epochs == 1
