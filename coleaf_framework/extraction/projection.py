"""Projections of streams on few components, which are part of how a data set's features were made.

`projection.safetensors` has, for each projected stream, a tensor (1 + K, width) float32: the mean in the first row, and
K components below it. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coleaf_framework.data.layout import StreamFiles
from coleaf_framework.extraction.recipe import Array
from coleaf_framework.storage import file_digest, read_tensors


class Projection:
    """Centres streams and projects them: `(features - mean) @ components.T`.

    Args:
        path: The file.
        streams: The streams of the recipe. Those that the file does not name stay as they are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, names another stream, or a tensor does not fit the stream's width. The message names
            the file and the stream.
    """

    def __init__(self, path: Path, streams: Mapping[str, StreamFiles]) -> None:
        self.path = path
        self._parts: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self.widths = {name: files.width for name, files in streams.items()}
        for name, x in read_tensors(path).items():
            if name not in streams:
                raise ValueError(f"{path}: projects stream {name!r}, where the recipe has {', '.join(streams)}")
            if x.ndim != 2 or len(x) < 2 or x.shape[1] != streams[name].width:
                raise ValueError(
                    f"{path}: stream {name!r}: expected (1 + K, {streams[name].width}), mean and components, found "
                    f"{tuple(x.shape)}"
                )
            if not x.is_floating_point() or not torch.isfinite(x).all():
                raise ValueError(f"{path}: stream {name!r}: expected finite real numbers")
            values = x.double().numpy()
            self._parts[name] = values[0], values[1:].T
            self.widths[name] = len(x) - 1
        self.digest = file_digest(path)

    def __call__(self, features: Mapping[str, Array]) -> dict[str, Array]:
        """Project streams: stream -> (rows, width) becomes (rows, K) float32."""
        return {
            name: ((x - self._parts[name][0]) @ self._parts[name][1]).astype(np.float32) if name in self._parts else x
            for name, x in features.items()
        }
