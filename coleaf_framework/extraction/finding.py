"""Media files that a user names, one by one or by their folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from coleaf_framework.storage import require_file

ENDINGS = frozenset({
    ".3gp", ".aac", ".avi", ".flac", ".flv", ".m2ts", ".m4a", ".m4v", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg",
    ".mts", ".oga", ".ogg", ".ogv", ".opus", ".ts", ".wav", ".webm", ".wma", ".wmv",
})  # fmt: skip
"""Endings, in small letters, by which media files are found in folders."""


def find_media(paths: Iterable[Path]) -> list[Path]:
    """The files among `paths`, and every file below its folders that ends as media files do, in order of their names.

    Hidden files and folders are left out.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: A folder has no media files, or a path is neither file nor folder.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            require_file(path)
            found.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if _is_media(file.relative_to(path)) and file.is_file())
        if not inside:
            raise ValueError(f"{path}: no media files in it or below (known endings: {' '.join(sorted(ENDINGS))})")
        found += inside
    return found


def _is_media(name: Path) -> bool:
    return name.suffix.lower() in ENDINGS and not any(part.startswith(".") for part in name.parts)
