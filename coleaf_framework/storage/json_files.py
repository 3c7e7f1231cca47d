"""JSON files of plain values, with a checksum."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coleaf_framework.storage.atomic import require_file, write_text


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of plain values as JSON atomically, with its checksum under the key "checksum"."""
    text = json.dumps({"checksum": _json_checksum(content)} | dict(content))
    write_text(path, text)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of `write_json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged. The message names it.
    """
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as problem:
        raise ValueError(f"{path}: damaged: it holds no JSON object with a checksum") from problem
    if checksum != _json_checksum(content):
        raise ValueError(f"{path}: damaged: its checksum does not fit its content")
    return content  # type: ignore[no-any-return]


def _json_checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(dict(content), sort_keys=True).encode())


def to_json(content: Any, indent: int | None = None) -> str:
    """Write JSON that every parser accepts: NaN and infinity become null.

    Args:
        content: Plain values.
        indent: Spaces per level; one line if None.
    """

    def plain(x: Any) -> Any:
        if isinstance(x, Mapping):
            return {str(key): plain(value) for key, value in x.items()}
        if isinstance(x, list | tuple):
            return [plain(value) for value in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(plain(content), indent=indent, allow_nan=False)
