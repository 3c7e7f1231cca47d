"""Made-up pseudo-labels of the tiny data set in `helpers.data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.helpers.data import CLASSES, SEGMENTS, video_names


def write_labels(
    root: Path, split: str = "tr", videos: int = 6, modalities: tuple[str, ...] = ("audio", "visual")
) -> Path:
    """Soft labels in the layout of kind npy."""
    rng = np.random.default_rng(3)
    for modality in modalities:
        (root / modality).mkdir(parents=True, exist_ok=True)
        for video in video_names(split, videos):
            labels = rng.random((SEGMENTS, len(CLASSES))).astype(np.float32)
            np.save(root / modality / f"{video}.npy", labels)
    return root


def label(root: Path, modality: str, video: str) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.load(root / modality / f"{video}.npy")
    return found
