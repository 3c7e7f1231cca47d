"""Libraries that only some commands need, each in an extra of the package."""

from __future__ import annotations

import importlib
from typing import Any


def require_library(name: str, needed_by: str, extra: str) -> Any:
    """Import a library of an extra.

    Args:
        name: Of a module, such as "PIL.Image".
        needed_by: What needs it, such as "the teacher clip".
        extra: Which extra brings it.

    Raises:
        ImportError: It is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise ImportError(
            f"{needed_by} needs {name.partition('.')[0]}: pip install 'coleaf-framework[{extra}]'"
        ) from problem
