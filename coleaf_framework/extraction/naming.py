"""What the videos of a folder of extracted features are called: ids that name their feature files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from coleaf_framework.data.annotation_files import video_id, video_seconds

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]|^\.")


def file_id(file: Path) -> str:
    r"""Id of a media file: the name without its suffix, and without `_start_end` as in LLP's names.

    Characters that an id cannot have become "_".

    Example:
        >>> [file_id(Path(name)) for name in ("BjCEufrlXm4_20_30.mp4", "my holiday.mov", "VID_20240101_120000.mp4")]
        ['BjCEufrlXm4', 'my_holiday', 'VID_20240101_120000']
    """
    plain = _NOT_ALLOWED.sub("_", file.stem)
    if video_seconds(file.stem):
        try:
            return video_id(plain)
        except ValueError:
            pass  # the numbers are no times of a video
    return plain


def name_files(files: Iterable[Path]) -> dict[Path, str]:
    """The id of each file.

    Raises:
        ValueError: Two files have the same. The message names both.
    """
    ids: dict[Path, str] = {}
    first: dict[str, Path] = {}
    for file in files:
        name = ids[file] = file_id(file)
        if first.setdefault(name, file) != file:
            why = f" (an id leaves out times such as {file.stem[len(name) :]!r})" if video_seconds(file.stem) else ""
            raise ValueError(f"{first[name]} and {file} would both have the id {name!r}{why}: rename one of them")
    return ids


def window_ids(name: str, windows: Iterable[tuple[int, int]]) -> list[str]:
    """The id of each window of a file, by its first second and the one after its last.

    Example:
        >>> window_ids("a", [(0, 7)]), window_ids("a", [(0, 10), (10, 17)])
        (['a'], ['a.0-10', 'a.10-17'])
    """
    spans = list(windows)
    return [name] if len(spans) == 1 else [f"{name}.{start}-{end}" for start, end in spans]


def renamed_note(ids: dict[Path, str]) -> str | None:
    """A sentence where ids have "_" in place of characters of the files' names; None where none do."""
    changed = [(file, name) for file, name in ids.items() if _NOT_ALLOWED.search(file.stem)]
    if not changed:
        return None
    file, name = changed[0]
    return f"characters that ids cannot have became '_', as in {file.name!r}, whose id is {name!r}" + (
        f"; {len(changed)} files in all" if len(changed) > 1 else ""
    )
