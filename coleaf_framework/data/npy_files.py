"""Reading npy files of numbers. Nothing in a file is executed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coleaf_framework._config import reason
from coleaf_framework.storage import require_file

_LONGEST_REASON = 200


def load_array(path: Path) -> NDArray[Any]:
    """Read the array of an npy file, (rows, width) of any real dtype.

    Raises:
        FileNotFoundError, ValueError: As `array_shape` does.
    """
    return _require_rows(path, load_any_array(path))


def array_shape(path: Path) -> tuple[int, ...]:
    """The shape (rows, width) of the array in an npy file, from its header.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or has something else than a 2-D array of real numbers. The message names it.
    """
    return _require_rows(path, _read(path, lambda: np.lib.format.open_memmap(path, mode="r"))).shape


def load_any_array(path: Path) -> NDArray[Any]:
    """Read the array of an npy file, of any shape and any dtype but objects.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or holds objects. The message names it.
    """

    def read() -> NDArray[Any]:
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array

    return _read(path, read)


def _read(path: Path, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Call `read`, which reads the file; errors as of `load_any_array`."""
    require_file(path)
    try:
        try:
            return read()
        except SystemError:  # CPython 3.11 has a bug in `ast` that strikes rarely; numpy parses headers with it
            return read()
    except OSError as problem:
        raise type(problem)(f"{path}: cannot be read: {problem.strerror or problem}") from problem
    except Exception as problem:  # numpy parses headers as Python, and damaged ones raise almost anything
        why = reason(problem)
        raise ValueError(f"{path}: not a whole .npy file of numbers: {why[:_LONGEST_REASON]}") from problem


def _require_rows(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "fiu" or array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{path}: found {array.dtype} {array.shape}, expected real numbers of shape (rows, width)")
    return array
