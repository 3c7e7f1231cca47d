"""The features of one media file, window by window, into a folder of its own."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coleaf_framework._config import reason
from coleaf_framework.extraction.projection import Projection
from coleaf_framework.extraction.recipe import Array, Recipe
from coleaf_framework.media import Piece, decode, probe
from coleaf_framework.protocol import Modality
from coleaf_framework.storage import write_atomically

# Of an OSError: nothing can be written any more, so that no other file would fare better.
_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class FileFeatures:
    """What was written of a file.

    Args:
        windows: First second, and the one after the last, of each window.
        absent: The modality whose track the file lacks.
    """

    windows: tuple[tuple[int, int], ...]
    absent: Modality | None


def window_file(folder: Path, stream: str, start: int) -> Path:
    """Where `FileExtractor` writes a stream of the window that begins at a second."""
    return folder / stream / f"{start}.npy"


class FileExtractor:
    """Writes the features of files.

    Args:
        recipe: How they are made.
        projection: By what they are projected.
        window: Seconds of a window.
    """

    def __init__(self, recipe: Recipe, projection: Projection | None, window: int) -> None:
        self.recipe, self.projection, self.window = recipe, projection, window

    def attempt(self, file: Path, folder: Path, progress: Callable[[float], None]) -> FileFeatures | str:
        """As `extract`, but a file that cannot be read gives a sentence that says why.

        Raises:
            OSError: Nothing can be written any more, as where the disk is full.
        """
        try:
            return self.extract(file, folder, progress)
        except (ValueError, OSError, RuntimeError, MemoryError) as problem:
            if isinstance(problem, OSError) and problem.errno in _NO_PLACE:
                raise
            return reason(problem).removeprefix(f"{file}: ")

    def extract(self, file: Path, folder: Path, progress: Callable[[float], None]) -> FileFeatures:
        """Write the features of a file.

        Args:
            file: The media file.
            folder: Where its windows go, as `window_file` says.
            progress: Called with the seconds that were done since the last call.

        Raises:
            OSError, ValueError: As `decode` raises; or a feature is not finite.
        """
        info = probe(file)
        recipe, windows = self.recipe, []
        for piece in decode(
            file, window=self.window, frame_rate=recipe.frame_rate, sample_rate=recipe.sample_rate,
            prepare=recipe.prepare, frame_size=recipe.frame_size,
        ):  # fmt: skip
            start = round(piece.start)
            for stream, x in self._features(piece).items():
                _write(window_file(folder, stream, start), x)
            windows.append((start, start + piece.seconds))
            progress(piece.seconds)
        absent: Modality | None = None if info.has_audio and info.has_video else "visual" if info.has_audio else "audio"
        return FileFeatures(tuple(windows), absent)

    def _features(self, piece: Piece[object]) -> dict[str, Array]:
        features = self.recipe.features(piece)
        for stream, x in features.items():
            if not np.isfinite(x).all():
                where = f"seconds {piece.start:g} to {piece.start + piece.seconds:g}"
                raise ValueError(f"{where}: features of stream {stream!r} are not finite")
        return features if self.projection is None else self.projection(features)


def _write(path: Path, x: Array) -> None:
    content = io.BytesIO()  # a file that NumPy writes itself loses the system's reason, such as a full disk
    np.save(content, x)
    write_atomically(path, lambda to: to.write_bytes(content.getvalue()))
