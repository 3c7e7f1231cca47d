"""A run's record as one level of keys, without the folders of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from coleaf_framework._text import without_folders
from coleaf_framework.tracking.protocol import Plain


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Plain]:
    """Plain values on one level, a list as JSON; of an absolute path the last part alone.

    Args:
        values: plain values.
        prefix: of every key.

    Example:
        >>> flat({"trainer": {"epochs": 15, "monitor": ["segment/A"]}, "data": {"root": "/home/me/llp"}})
        {'trainer.epochs': 15, 'trainer.monitor': '["segment/A"]', 'data.root': 'llp'}
        >>> flat({"accepted": ["its data are /home/me/llp, not as before"]})
        {'accepted': '["its data are llp, not as before"]'}
    """
    found: dict[str, Plain] = {}
    for key, value in values.items():
        name = prefix + _without_folder(str(key))
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            found[name] = json.dumps(_plain(value), ensure_ascii=False)
        elif isinstance(value, str):
            found[name] = _without_folder(value)
        else:
            found[name] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_without_folder(str(key)): _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    return _without_folder(value) if isinstance(value, str) else value


def _without_folder(text: str) -> str:
    """The last part of an absolute path, spaces included; of paths within a sentence the same."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute():
            return kind(text).name or text
    return without_folders(text)
