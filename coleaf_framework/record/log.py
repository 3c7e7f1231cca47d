"""A run's log: one line of JSON per epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coleaf_framework.protocol import MODALITIES
from coleaf_framework.storage import to_json, write_text

LOG = "log.jsonl"


def write_log(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one line per epoch, atomically."""
    write_text(path, "".join(to_json(entry) + "\n" for entry in history))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the epochs that `write_log` wrote; an empty list if there is no such file.

    Raises:
        ValueError: the log is damaged; names the line.
    """
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            entry = json.loads(line)
            kinds = [entry[kind] for kind in ("losses", "theta") if kind in entry]
            sound = isinstance(entry["epoch"], int) and "losses" in entry
            sound = sound and all(isinstance(x, float | int) for kind in kinds for x in kind.values())
            sound = sound and isinstance(entry.get("val", {}), dict)
            sound = sound and ("theta" not in entry or entry["theta"].keys() == set(MODALITIES))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise ValueError(f"{path}, line {number}: not an epoch that training logged: {line[:60]!r}")
        entries.append(entry)
    return entries
