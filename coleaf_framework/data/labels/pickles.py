"""Tensors in the pickles that LSLD and MA publish, without executing what a pickle may name.

A pickle names functions to call. Here three names are known, those of tensors on any device, and the three by which
NumPy wraps an object in an array of an npz file. None is looked up: functions of this module answer in their place, and
any other name is an error. Nothing reads a pickle but `coleaf convert-labels`.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coleaf_framework._config import reason
from coleaf_framework.storage import require_file

_LONGEST_REASON = 200


def _storage(content: bytes) -> Any:
    """A storage that `torch.save` wrote, on the CPU whatever device it was on."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor of a storage, copied."""
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride).clone()


class _Wrapped:
    """A NumPy array without axes that holds one object."""

    content: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, _, _, content = state
        if shape != () or len(content) != 1:
            raise pickle.UnpicklingError(f"an array of shape {shape}, where one object was expected")
        self.content = content[0]


class _Ignored:
    """A dtype, of which nothing is read."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _wrap(*_: Any) -> _Wrapped:
    return _Wrapped()


_TENSORS: Mapping[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("collections", "OrderedDict"): OrderedDict,
}
_ARRAYS: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _wrap,
    ("numpy._core.multiarray", "_reconstruct"): _wrap,
    ("numpy", "ndarray"): _Ignored,
    ("numpy", "dtype"): _Ignored,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, known: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file)
        self.known = known

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which a file of labels has no use for")
        return self.known[module, name]


def read_pickle(path: Path) -> Any:
    """The content of a pickle of lists, mappings, texts, numbers and tensors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or names anything else; the message says what.
    """
    require_file(path)
    with path.open("rb") as file:
        return _load(file, _TENSORS, path)


def read_object_arrays(path: Path) -> dict[str, Any]:
    """The objects of an npz file of object arrays: name -> object.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or names more than tensors need; the message says what.
    """
    require_file(path)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                content = io.BytesIO(archive.read(member))
                if np.lib.format.read_magic(content) != (1, 0):
                    raise ValueError(f"{member} is no array of a known version")
                shape, _, dtype = np.lib.format.read_array_header_1_0(content)
                if shape != () or dtype != np.dtype(object):
                    raise ValueError(f"{member} is {dtype} {shape}, where one object was expected")
                wrapped = _load(content, {**_TENSORS, **_ARRAYS}, path)
                if not isinstance(wrapped, _Wrapped):
                    raise ValueError(f"{member} holds a {type(wrapped).__name__}, where an object array was expected")
                found[member.removesuffix(".npy")] = wrapped.content
    except (zipfile.BadZipFile, ValueError, OSError) as problem:
        text = reason(problem)
        raise ValueError(text if text.startswith(str(path)) else f"{path}: not an npz of labels: {text}") from problem
    return found


def _load(file: Any, known: Mapping[tuple[str, str], Any], path: Path) -> Any:
    try:
        return _Unpickler(file, known).load()
    except Exception as problem:  # a damaged pickle raises almost anything
        raise ValueError(f"{path}: not a pickle of labels: {reason(problem)[:_LONGEST_REASON]}") from problem
