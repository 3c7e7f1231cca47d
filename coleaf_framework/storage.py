"""Files that are whole or not there, and are never executed: safetensors, YAML, atomic writes."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk and rename it to `path`.

    Whatever happens, `path` holds its old content or the new one. A temporary file of a failed write is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's is private to the user; a run folder is shared with colleagues
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of plain values as YAML, atomically, keys in their own order.

    Raises:
        ValueError: a value is not plain; names it.
    """
    try:
        text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as problem:
        raise ValueError(f"{path}: holds a value that YAML cannot: {problem}") from problem
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML or not a mapping; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path}: not readable as YAML: {problem}") from problem
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a YAML mapping of sections, found {type(content).__name__}")
    return content


def to_json(content: Any, indent: int | None = None) -> str:
    """JSON that any program can read: a score without a value, NaN, is null."""

    def plain(x: Any) -> Any:
        if isinstance(x, Mapping):
            return {str(key): plain(value) for key, value in x.items()}
        if isinstance(x, list | tuple):
            return [plain(value) for value in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(plain(content), indent=indent, allow_nan=False)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically; tied ones are written once each."""
    payload = save({name: x.detach().cpu().clone(memory_format=torch.contiguous_format) for name, x in tensors.items()})
    write_atomically(path, lambda file: file.write_bytes(payload))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors (CPU) from a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated or not safetensors; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return load_file(path)
    except SafetensorError as problem:
        raise ValueError(f"{path}: damaged or not a safetensors file: {problem}") from problem
