"""Extracting the features of many files into a data folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coleaf_framework.data.recipe_file import FeatureRecipe


@dataclass(frozen=True)
class Extracted:
    """What came of an extraction.

    Args:
        recipe: What the folder's `extraction.yaml` says.
        done: Files whose features are in the folder, those of an earlier call included.
        failed: File -> why it has none, in a sentence.
        notes: Sentences about what was seen, such as a file without an audio track.
    """

    recipe: FeatureRecipe
    done: tuple[Path, ...]
    failed: dict[Path, str]
    notes: tuple[str, ...]


def extract(
    videos: Sequence[Path],
    out: Path,
    features: str | FeatureRecipe,
    *,
    projection: Path | None = None,
    weights: Path | None = None,
    window: int = 10,
    jobs: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[Path, float], None] | None = None,
) -> Extracted:
    """Write the features of media files in LLP's layout, with streams.yaml, extraction.yaml and videos.tsv.

    A file that cannot be read is named in `failed`, and the rest goes on. What the folder already holds of the same
    files by the same recipe is kept.

    Args:
        videos: The files.
        out: The folder; made if it is missing.
        features: Name of a recipe; or what an `extraction.yaml` says, which what is made here must equal.
        projection: `projection.safetensors` (stream -> mean and components), by which the streams are projected.
        weights: Folder with the recipe's weights; None for where its library keeps them.
        window: Seconds of video that make one video of the folder; longer files make several.
        jobs: Processes.
        device: Where the networks run.
        progress: Called with a file, and the seconds of it that were done since the last call.

    Raises:
        FileNotFoundError, ImportError: Weights or libraries are missing.
        ValueError: The folder holds features of another recipe; the recipe differs from what `features` says; two files
            have the same name; the recipe cannot take the window. The message says what differs.
    """
    raise NotImplementedError
