"""Distributions that declare plugins, in a folder on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def install(folder: Path, distribution: str, entry: str, group: str = "coleaf_framework.anchors") -> None:
    """Declare plugins in a folder on the path, "name = module:Class", one a line."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


def make_site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a folder, in which distributions can then be installed, on the path."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder
