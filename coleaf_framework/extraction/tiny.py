"""The recipe `tiny`: EfficientNet-Lite0 and log-mel statistics, offline on any machine; it made TuxAV's features.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from coleaf_framework.data.layout import StreamFiles
from coleaf_framework.extraction.efficientnet import NAME, WIDTH, EfficientNetLite0
from coleaf_framework.extraction.log_mel import BANDS, SAMPLE_RATE, log_mel
from coleaf_framework.extraction.recipe import Array
from coleaf_framework.media import Piece

_FRAMES, _KEPT = 8, (2, 6)  # frames a second, and those of them that the stream "visual" has
_SIZE = 160
_ST_WIDTH = 512


class Tiny:
    """The recipe `tiny`; see `Recipe`.

    Streams of a window of n seconds:
        audio: (n,128): mean, then standard deviation (population), of each of 64 log-mel bands over a second's first 96
            frames. Several channels are averaged.
        visual: (2n,1280): EfficientNet-Lite0's features of the third and the seventh of each second's eight frames.
        visual_st: (n,512): mean, standard deviation (population) and mean absolute difference of neighbours of the
            features of a second's eight frames, times a fixed random matrix.

    Args:
        weights: Folder with EfficientNet-Lite0's weights file; that of its package if None.
        device: Where the network runs.

    Raises:
        FileNotFoundError, ImportError, ValueError: As `EfficientNetLite0` does.
    """

    name: ClassVar[str] = "tiny"
    version: ClassVar[int] = 1
    frame_rate: ClassVar[int] = _FRAMES
    frame_size: ClassVar[tuple[int, int] | None] = (_SIZE, _SIZE)
    sample_rate: ClassVar[int] = SAMPLE_RATE
    windows: ClassVar[tuple[int, int]] = (1, 600)  # 600 s of frames are 370 MB
    streams: ClassVar[Mapping[str, StreamFiles]] = {
        "audio": StreamFiles(modality="audio", folder="feats/vggish", width=2 * BANDS, frames=1),
        "visual": StreamFiles(modality="visual", folder="feats/res152", width=WIDTH, frames=len(_KEPT)),
        "visual_st": StreamFiles(modality="visual", folder="feats/r2plus1d_18", width=_ST_WIDTH, frames=1),
    }

    def __init__(self, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        self._network = EfficientNetLite0(weights, device)
        self.weights: Mapping[str, str] = {NAME: self._network.digest}

    def prepare(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame itself, (160,160,3)."""
        return frame

    def features(self, piece: Piece[NDArray[np.uint8]]) -> dict[str, Array]:
        """See `Recipe.features`."""
        frames = self._frames(piece).reshape(piece.seconds, _FRAMES, WIDTH)
        return {
            "audio": _audio(piece.samples, piece.seconds),
            "visual": frames[:, _KEPT].reshape(-1, WIDTH),
            "visual_st": (_temporal_statistics(frames) @ _matrix()).astype(np.float32),
        }

    def _frames(self, piece: Piece[NDArray[np.uint8]]) -> Array:
        """Features of 8 n frames: the last repeated where there are fewer, those past the end left out."""
        wanted = _FRAMES * piece.seconds
        frames = piece.frames[:wanted] or [np.zeros((_SIZE, _SIZE, 3), np.uint8)]
        made = self._network(np.stack(frames))
        return np.concatenate([made, made[-1:].repeat(wanted - len(made), 0)])


def _audio(samples: Array, seconds: int) -> Array:
    """(n,128) of (channels,samples), with silence where they are fewer."""
    wanted = seconds * SAMPLE_RATE
    mono = samples.mean(0, dtype=np.float64)[:wanted]
    padded = np.pad(mono, (0, wanted - len(mono))).reshape(seconds, SAMPLE_RATE)
    bands = np.stack([log_mel(second) for second in padded])
    return np.concatenate([bands.mean(1), bands.std(1)], 1).astype(np.float32)


def _temporal_statistics(frames: Array) -> NDArray[np.float64]:
    """(n,3840) of (n,8,1280)."""
    x = frames.astype(np.float64)
    return np.concatenate([x.mean(1), x.std(1), np.abs(np.diff(x, axis=1)).mean(1)], 1)


@cache
def _matrix() -> NDArray[np.float64]:
    """(3840,512), the same on every machine."""
    matrix: NDArray[np.float64] = np.random.RandomState(0).randn(3 * WIDTH, _ST_WIDTH) / np.sqrt(WIDTH)
    return matrix
