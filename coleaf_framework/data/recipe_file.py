"""How the features of a data folder were extracted: `extraction.yaml`, and the projection beside it.

    recipe: tiny
    version: 1
    frame_rate: 8
    sample_rate: 16000
    window: 10                 # seconds of video that make one set of features
    weights: {efficientnet-lite0: 57934424...}   # name -> first 16 hex digits of the SHA-256
    decoder: PyAV 18.1.0, FFmpeg 8.1.2
    projection: null           # digest of projection.safetensors beside this file

A run keeps the content in its record and copies the projection, so that `coleaf parse` makes the features of a new
video as those were made that it was trained on.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from coleaf_framework._config import StrictConfig, validated
from coleaf_framework.data.dataset import innermost
from coleaf_framework.storage import read_yaml, require_file, write_yaml
from coleaf_framework.storage.digests import file_digest

RECIPE_FILE, PROJECTION_FILE = "extraction.yaml", "projection.safetensors"
_COMPARED = ("recipe", "version", "frame_rate", "sample_rate", "weights", "projection")


class FeatureRecipe(StrictConfig):
    """How features were extracted."""

    recipe: str = Field(description="tiny, llp or clip-clap")
    version: int = Field(1, ge=1, description="changes whenever the recipe's features change")
    frame_rate: int = Field(ge=1, description="frames a second that are decoded")
    sample_rate: int = Field(ge=1, description="samples a second that are decoded")
    window: int = Field(10, ge=1, description="seconds of video that make one set of features")
    weights: dict[str, str] = Field(description="name of a network -> first 16 hex digits of its file's SHA-256")
    decoder: str = Field(description="what decoded the videos; others differ slightly")
    projection: str | None = Field(
        None, description="digest of projection.safetensors, by which streams were projected"
    )

    def differences(self, other: FeatureRecipe) -> list[str]:
        """What tells the two apart, as clauses; window and decoder may differ.

        Example:
            >>> own = FeatureRecipe(recipe="x", frame_rate=8, sample_rate=16000, weights={"net": "0a"}, decoder="y")
            >>> own.differences(own.model_copy(update={"sample_rate": 48000, "weights": {}}))
            ['sample_rate is 16000, not 48000', 'the weights of net are 0a, not none']
        """
        found = []
        for name in _COMPARED:
            own, others = getattr(self, name), getattr(other, name)
            if isinstance(own, dict):
                found += [
                    f"the weights of {key} are {own.get(key, 'none')}, not {others.get(key, 'none')}"
                    for key in sorted(own.keys() | others.keys())
                    if own.get(key) != others.get(key)
                ]
            elif own != others:
                found.append(f"{name} is {own or 'none'}, not {others or 'none'}")
        return found

    def write(self, folder: Path) -> None:
        """Write `extraction.yaml`, atomically."""
        write_yaml(folder / RECIPE_FILE, self.model_dump())


def read_recipe(path: Path) -> FeatureRecipe:
    """Read an `extraction.yaml`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is malformed. The message names the file and the field.
    """
    return validated(FeatureRecipe, read_yaml(path), path)


def projection_of(folder: Path, recipe: FeatureRecipe) -> Path | None:
    """The projection in a folder, by which a recipe's streams are projected; None where they are not.

    Args:
        folder: Folder of the features.
        recipe: What the folder's `extraction.yaml` says.

    Returns:
        The file, whose digest is the one in the recipe; or None.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is another one than the recipe names.
    """
    if recipe.projection is None:
        return None
    path = folder / PROJECTION_FILE
    require_file(path)
    if (found := file_digest(path)) != recipe.projection:
        raise ValueError(
            f"{path}: its digest is {found}, not {recipe.projection} as the recipe of the features names it"
        )
    return path


def recipe_of(dataset: object) -> tuple[FeatureRecipe, Path | None] | None:
    """How a data set's features were extracted, and the projection; None where its folder does not say.

    Args:
        dataset: A data set on disk, also within `AveragedFrames` and the like.

    Returns:
        The recipe, and the file of its projection or None; None where the data set has no folder with features.

    Raises:
        FileNotFoundError, ValueError: as `read_recipe` and `projection_of` do.
    """
    root = _root_of(dataset)
    if root is None:
        return None
    recipe = read_recipe(root / RECIPE_FILE)
    return recipe, projection_of(root, recipe)


def require_same_features(dataset: object, trained: FeatureRecipe | None) -> tuple[str, ...]:
    """Check that a data set's features were made as those that a network was trained on, as far as both are known.

    Args:
        dataset: As for `recipe_of`.
        trained: How the training features were made; None where it is not known.

    Returns:
        Sentences where another decoder made them, of which they differ slightly, or windows are longer or shorter.

    Raises:
        ValueError: They were made otherwise. The message says what differs.
    """
    root = _root_of(dataset)
    if trained is None or root is None:
        return ()
    recipe = read_recipe(root / RECIPE_FILE)
    if differences := recipe.differences(trained):
        raise ValueError(
            f"{root / RECIPE_FILE}: these features were made otherwise than those that the run was trained on "
            f"({'; '.join(differences)}): take `coleaf extract --features FOLDER`, with the folder it was trained on"
        )
    told = []
    if recipe.decoder != trained.decoder:
        told.append(
            f"decoded by {recipe.decoder}; the training videos were by {trained.decoder}, which differs slightly"
        )
    if recipe.window != trained.window:
        told.append(f"videos are windows of up to {recipe.window} s; the training videos were of {trained.window} s")
    return tuple(told)


def _root_of(dataset: object) -> Path | None:
    """The folder of a data set that says how its features were extracted."""
    root = getattr(innermost(dataset), "root", None)
    return root if isinstance(root, Path) and (root / RECIPE_FILE).exists() else None
