"""What the videos of a folder of extracted features are called: ids that name their feature files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from coleaf_framework.data.annotation_files import video_id, video_seconds

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]|^\.")
_LATEST = 86_400.0  # second of a video at which a clip of it ends; a larger number is a date


def file_id(file: Path) -> str:
    r"""Id of a media file: the name without its suffix, and without `_start_end` as in LLP's names.

    Characters that an id cannot have become "_".

    Example:
        >>> [file_id(Path(name)) for name in ("BjCEufrlXm4_20_30.mp4", "my holiday.mov", "VID_20240101_120000.mp4")]
        ['BjCEufrlXm4', 'my_holiday', 'VID_20240101_120000']
    """
    plain = _NOT_ALLOWED.sub("_", file.stem)
    if video_seconds(file.stem) and float(plain.rpartition("_")[2]) <= _LATEST:
        try:
            return video_id(plain)
        except ValueError:
            pass  # the name is nothing but times
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
            why = " (an id leaves out the times at the end)" if _has_times(file, name) else ""
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


def renamed_notes(ids: Mapping[Path, str]) -> list[str]:
    """Sentences about ids that are not the names of their files."""
    return [
        *_note("characters that ids cannot have became '_'", {f: x for f, x in ids.items() if _has_others(f)}),
        *_note("ids leave out the times at the end of names", {f: x for f, x in ids.items() if _has_times(f, x)}),
    ]


def _has_others(file: Path) -> bool:
    return _NOT_ALLOWED.search(file.stem) is not None


def _has_times(file: Path, name: str) -> bool:
    return len(name) < len(file.stem)


def _note(clause: str, ids: Mapping[Path, str]) -> list[str]:
    if not ids:
        return []
    file, name = next(iter(ids.items()))
    all_told = f"; {len(ids)} files in all" if len(ids) > 1 else ""
    return [f"{clause}, as in {file.name!r}, whose id is {name!r}{all_told}"]
