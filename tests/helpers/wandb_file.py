"""Reads the records of a .wandb file, which is a log in LevelDB's format after a header of seven bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _HEADER, _FULL, _LAST = 32768, 7, 1, 4


def records(path: Path) -> Iterator[Any]:
    """The records as protocol buffers; a record may be in several parts, which no block's border cuts."""
    from wandb.proto import wandb_internal_pb2

    record: Any = wandb_internal_pb2
    content, at, parts = path.read_bytes(), _HEADER, b""
    assert content[:4] == b":W&B"
    while at + _HEADER <= len(content):
        if _BLOCK - at % _BLOCK < _HEADER:  # too little is left of the block for another part
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + _HEADER])
        parts += content[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in (_FULL, _LAST):
            yield record.Record.FromString(parts)
            parts = b""
