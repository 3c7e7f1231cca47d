"""What the API pages, docs/api/*.md, document."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"


def found(name: str) -> Any:
    """The object of a full name."""
    home, _, attribute = name.rpartition(".")
    return getattr(import_module(home), attribute)


def documented() -> list[str]:
    """The full name of everything that docs/api/*.md document."""
    names = []
    for page in sorted((DOCS / "api").glob("*.md")):
        text = page.read_text()
        for module, inside in re.findall(r"^\.\. symbols:: (\S+)\n\n((?: {3}\S+\n)+)", text, re.MULTILINE):
            names += [f"{module}.{name}" for name in inside.split()]
        names += re.findall(r"^\.\. py:data:: (\S+)$", text, re.MULTILINE)
    return names
