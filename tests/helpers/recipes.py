"""Recipes of features without networks, which tests register by monkeypatching `RECIPES`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from coleaf_framework.data.layout import StreamFiles
from coleaf_framework.extraction import recipes
from coleaf_framework.extraction.recipe import Array
from coleaf_framework.media import Piece


class Plain:
    """Brightness of the frames, twice a second, and loudness of each second.

    Args:
        weights: A file whose name becomes the digest of the weights; "none" if None.
        device: Not used.
    """

    name: ClassVar[str] = "plain"
    version: ClassVar[int] = 1
    frame_rate: ClassVar[int] = 2
    frame_size: ClassVar[tuple[int, int] | None] = (8, 8)
    sample_rate: ClassVar[int] = 8000
    windows: ClassVar[tuple[int, int]] = (1, 20)
    streams: ClassVar[Mapping[str, StreamFiles]] = {
        "audio": StreamFiles(modality="audio", folder="feats/loudness", width=2, frames=1),
        "visual": StreamFiles(modality="visual", folder="feats/brightness", width=3, frames=2),
    }

    def __init__(self, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        self.weights: Mapping[str, str] = {"none": "none" if weights is None else weights.name}

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        return frame.mean((0, 1))

    def features(self, piece: Piece[Any]) -> dict[str, Array]:
        rows, samples = 2 * piece.seconds, piece.seconds * self.sample_rate
        frames = np.array((piece.frames + [piece.frames[-1]] * rows)[:rows] if piece.frames else [[0.0] * 3] * rows)
        sound = np.resize(np.pad(piece.samples.mean(0), (0, samples)), samples).reshape(piece.seconds, -1)
        return {
            "audio": np.stack([np.abs(sound).mean(1), sound.std(1)], 1).astype(np.float32),
            "visual": frames.astype(np.float32),
        }


class Dying(Plain):
    """Is killed by a window of three seconds, as where memory runs out."""

    name: ClassVar[str] = "dying"

    def features(self, piece: Piece[Any]) -> dict[str, Array]:
        if piece.seconds == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().features(piece)


class Slow(Plain):
    """Takes ten minutes for a window of three seconds."""

    name: ClassVar[str] = "slow"

    def features(self, piece: Piece[Any]) -> dict[str, Array]:
        if piece.seconds == 3:
            time.sleep(600)
        return super().features(piece)


class Interrupted(Plain):
    """Ctrl-C arrives at a window of three seconds."""

    name: ClassVar[str] = "plain"

    def features(self, piece: Piece[Any]) -> dict[str, Array]:
        if piece.seconds == 3:
            raise KeyboardInterrupt
        return super().features(piece)


class Infinite(Plain):
    """Gives values that are not finite."""

    name: ClassVar[str] = "infinite"

    def features(self, piece: Piece[Any]) -> dict[str, Array]:
        return {name: x * np.float32(np.nan) for name, x in super().features(piece).items()}


class Faulty(Plain):
    """Has a fault in its code."""

    name: ClassVar[str] = "faulty"

    def features(self, piece: Piece[Any]) -> dict[str, Array]:
        raise TypeError("a fault")


def register(monkeypatch: pytest.MonkeyPatch, kind: type[Plain]) -> str:
    """Let a recipe be found by its name, which is returned."""
    monkeypatch.setitem(recipes.RECIPES, kind.name, f"{kind.__module__}:{kind.__qualname__}")
    return kind.name
