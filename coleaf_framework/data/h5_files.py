"""Reading arrays from HDF5 files, which takes h5py, the extra `h5`.

A file is opened for each read and closed again, so that processes that read for a training share no open file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coleaf_framework._config import reason
from coleaf_framework.storage import require_file

_LONGEST_REASON = 200


def require_h5py(path: Path) -> Any:
    """The module h5py.

    Args:
        path: The file that needs it, for the message.

    Returns:
        The module.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    try:
        import h5py
    except ImportError as problem:
        raise ImportError(f"{path}: AVE's files need h5py: pip install 'coleaf-framework[h5]'") from problem
    return h5py


@contextmanager
def _dataset(path: Path, key: str) -> Iterator[Any]:
    """The data set `key` of an HDF5 file while it is open."""
    require_file(path)
    h5py = require_h5py(path)
    try:
        file = h5py.File(path, "r")
    except OSError as problem:
        raise ValueError(f"{path}: not a whole HDF5 file: {reason(problem)[:_LONGEST_REASON]}") from problem
    with file:
        found = file.get(key)
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{path}: has no data set {key!r}; it has {sorted(file)}")
        if found.dtype.kind not in "fiu":
            raise ValueError(f"{path}: {key!r} holds {found.dtype}, where numbers were expected")
        try:
            yield found
        except OSError as problem:
            raise ValueError(f"{path}: {key!r} cannot be read: {reason(problem)[:_LONGEST_REASON]}") from problem


def h5_shape(path: Path, key: str) -> tuple[int, ...]:
    """The shape of the array `key` of an HDF5 file.

    Args:
        path: The file.
        key: Name of the array.

    Returns:
        Sizes, one per dimension.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged, or holds no array of numbers of that name. The message names it.
    """
    with _dataset(path, key) as found:
        return tuple(int(n) for n in found.shape)


def h5_array(path: Path, key: str) -> NDArray[Any]:
    """The whole array `key` of an HDF5 file. Errors as in `h5_shape`."""
    with _dataset(path, key) as found:
        return np.asarray(found[()])


def h5_row(path: Path, key: str, row: int) -> NDArray[Any]:
    """Row `row` of the array `key` of an HDF5 file; the rest is not read. Errors as in `h5_shape`."""
    with _dataset(path, key) as found:
        return np.asarray(found[row])
