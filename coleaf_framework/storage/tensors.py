"""Tensors in safetensors files with a checksum; nothing is pickled."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from coleaf_framework.storage.atomic import require_file, write_atomically

_SUM, _STATE = "checksum", "state"


def checksum(x: Tensor) -> int:
    """CRC-32 of the bytes of a contiguous tensor on the CPU."""
    return zlib.crc32(x.reshape(-1).view(torch.uint8).numpy().data if x.numel() else b"")


def _checksums(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """A checksum over the tensors' names, dtypes, shapes and bytes, followed by one over the notes."""
    total = 0
    for name in sorted(tensors):
        x = tensors[name]
        total = zlib.crc32(f"{name} {x.dtype} {tuple(x.shape)} {checksum(x)}".encode(), total)
    return f"{total:08x}{zlib.crc32(json.dumps(dict(notes), sort_keys=True).encode()):08x}"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors atomically, with a checksum.

    Args:
        path: The file.
        tensors: Tensors on any device. Tensors that share memory are written once for each name.
        notes: Texts for the file's metadata.
    """
    notes = dict(notes or {})
    tensors = {name: x.detach().cpu().clone(memory_format=torch.contiguous_format) for name, x in tensors.items()}
    payload = save(tensors, metadata={**notes, _SUM: _checksums(tensors, notes)})
    write_atomically(path, lambda file: file.write_bytes(payload))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU. If it has a checksum of `write_tensors`, that is verified.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, damaged or not safetensors. The message names it.
    """
    require_file(path)
    return _parse(path.read_bytes(), path)[0]


def _parse(content: bytes, source: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes in the content of a safetensors file; `source` names it in messages."""
    try:
        tensors: dict[str, Tensor] = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        notes = dict(header.get("__metadata__", {}))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as problem:
        raise ValueError(f"{source}: damaged or not a safetensors file: {problem}") from problem
    expected = notes.pop(_SUM, None)
    if expected is not None and expected != _checksums(tensors, notes):
        raise ValueError(f"{source}: damaged: its checksum does not fit its content")
    return tensors, notes


def write_state(path: Path, state: Any) -> None:
    """Write nested dicts and lists of tensors and plain values atomically, such as an optimiser's state.

    The tensors become a safetensors file, and the rest becomes JSON in its metadata. Nothing is pickled.
    """
    tensors: dict[str, Tensor] = {}

    def plain(x: Any) -> Any:
        if isinstance(x, Tensor):
            tensors[str(len(tensors))] = x
            return {"tensor": str(len(tensors) - 1)}
        if isinstance(x, Mapping):
            return {"items": [[key, plain(value)] for key, value in x.items()]}
        if isinstance(x, list | tuple):
            return [plain(value) for value in x]
        return x

    described = json.dumps(plain(state))
    write_tensors(path, tensors, {_STATE: described})


def parse_state(content: bytes, source: Path | str) -> Any:
    """Read what `write_state` wrote, with the tensors on the CPU. Tuples come back as lists.

    Args:
        content: Content of the file.
        source: Names the file in messages.

    Raises:
        ValueError: The content is damaged, or `write_state` did not write it. The message names `source`.
    """
    tensors, notes = _parse(content, source)

    def whole(x: Any) -> Any:
        if isinstance(x, dict):
            return tensors[x["tensor"]] if "tensor" in x else {key: whole(value) for key, value in x["items"]}
        return [whole(value) for value in x] if isinstance(x, list) else x

    try:
        return whole(json.loads(notes[_STATE]))
    except (KeyError, ValueError, TypeError, RecursionError) as problem:
        raise ValueError(f"{source}: damaged: expected a saved state, found something else") from problem
