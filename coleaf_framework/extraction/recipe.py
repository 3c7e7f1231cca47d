"""What a recipe of features is. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from coleaf_framework.data.layout import StreamFiles
from coleaf_framework.media import Piece

Array = NDArray[np.float32]


class Recipe(Protocol):
    """A recipe: how the frames and samples of a stretch of video become its streams.

    A class that `recipes.RECIPES` lists by its `name`.

    Args:
        name: What `--features` calls it.
        version: Raised whenever the recipe's features change.
        frame_rate: Frames a second that it wants decoded.
        frame_size: (width, height) that FFmpeg scales frames to; None for the file's own.
        sample_rate: Samples a second that it wants decoded.
        windows: The shortest and the longest window in seconds that it can take.
        streams: Name of a stream -> where its files lie, with width, and how rows lie in time (`streams.yaml`).
        weights: Name of a network -> first 16 hex digits of the SHA-256 of the file that it was loaded from.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    frame_rate: ClassVar[int]
    frame_size: ClassVar[tuple[int, int] | None]
    sample_rate: ClassVar[int]
    windows: ClassVar[tuple[int, int]]
    streams: ClassVar[Mapping[str, StreamFiles]]
    weights: Mapping[str, str]

    def __init__(self, weights: Path | None, device: torch.device | str) -> None:
        """Load the networks.

        Args:
            weights: Folder with the weights; None for where the recipe's library keeps them.
            device: Where the networks run.

        Raises:
            FileNotFoundError: Weights are missing.
            ImportError: A library is missing; says how to install it.
            ValueError: Weights are not those that the recipe names.
        """

    def prepare(self, frame: NDArray[np.uint8]) -> Any:
        """What is kept of a frame (H,W,3) RGB until its window is complete: small arrays, whatever its size."""
        ...

    def features(self, piece: Piece[Any]) -> dict[str, Array]:
        """The streams of a window: stream name -> (rows, width) float32, finite.

        Where there is no video track the features are those of black frames, and of silence without audio.
        """
        ...
