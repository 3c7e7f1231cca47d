"""Even positions, by which published recipes pick frames and samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FRAMES_OFF = 4  # half a second at 8 frames a second, by which a track may differ from its window


def even_positions(available: int, wanted: int) -> NDArray[np.intp]:
    """Positions round(linspace(0, available - 1, wanted)), halves rounded to even.

    Args:
        available: How many frames or samples there are, n, at least 1.
        wanted: How many positions.

    Returns:
        (wanted,), each in 0 ... n - 1; some repeat where n is smaller than `wanted`.

    Example:
        >>> even_positions(82, 10).tolist()
        [0, 9, 18, 27, 36, 45, 54, 63, 72, 81]
    """
    return np.round(np.linspace(0, available - 1, wanted)).astype(np.intp)


def frame_positions(available: int, expected: int, wanted: int) -> NDArray[np.intp]:
    """Even positions of frames in a window.

    Frames that are about as many as the window should have are spread over it as published recipes do. Of a track that
    is over earlier, the last frame stands for the rest, so that the others keep their time.

    Args:
        available: How many frames there are, at least 1.
        expected: How many the window should have: seconds times frames a second.
        wanted: How many positions.

    Returns:
        (wanted,), each in 0 ... available - 1.

    Example:
        >>> frame_positions(82, 80, 4).tolist(), frame_positions(20, 80, 4).tolist()
        ([0, 27, 54, 81], [0, 19, 19, 19])
    """
    over_early = available < expected - _FRAMES_OFF
    return np.minimum(even_positions(expected if over_early else available, wanted), available - 1)
