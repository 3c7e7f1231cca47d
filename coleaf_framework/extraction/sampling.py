"""Even positions, by which published recipes pick frames and samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
