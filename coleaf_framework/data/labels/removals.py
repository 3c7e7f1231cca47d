"""Lists of labels that are wrong in one modality, as MA (Wu, Yang, CVPR 2021) makes them.

Three forms of a JSON file are read; the first is MA's, with 0-based rows of the file of weak labels:

    {"visual": [[12, 40], [], ...], "audio": [[7], [], ...]}                         C lists of rows each
    {"kind": "removals", "visual": {"Dog": ["id", ...]}, "audio": {...}}             class names and ids
    {"kind": "removals", "ids": {"visual": {"Dog": ["id", ...]}, "audio": {...}}}    the same

`coleaf convert-labels` writes the first from MA's pickle, whose order is visual, audio.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coleaf_framework._config import nearest, shown
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.storage import require_file

Pair = tuple[str, int]


@dataclass(frozen=True)
class Removals:
    """Labels to remove.

    Args:
        pairs: For audio and visual, the (video id, class index) whose label is removed there.
    """

    pairs: tuple[frozenset[Pair], frozenset[Pair]]

    def __post_init__(self) -> None:
        by_video: dict[str, tuple[set[int], set[int]]] = {}
        for m, pairs in enumerate(self.pairs):
            for video, c in pairs:
                by_video.setdefault(video, (set(), set()))[m].add(c)
        object.__setattr__(self, "_by_video", by_video)

    def of(self, video: str) -> tuple[Collection[int], Collection[int]]:
        """Class indices that are removed from a video's audio and visual label."""
        found: Mapping[str, tuple[set[int], set[int]]] = self._by_video  # type: ignore[attr-defined]
        return found.get(video, (set(), set()))


def read_removals(
    path: Path, classes: Sequence[str], order: Sequence[str], weak: Mapping[str, Collection[int]]
) -> Removals:
    """Read a file of removals and hold it to the weak labels.

    Args:
        path: The JSON file.
        classes: The C class names.
        order: Ids of the rows of the file of weak labels.
        weak: Video -> class indices of its weak label.

    Returns:
        The (video id, class index) to remove, of audio and of visual.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has another form, names a row, id or class that does not exist, or removes a class that the
            weak label lacks, as lists that were made for another order of the rows do.
    """
    if path.suffix == ".pkl":
        raise ValueError(f"{path}: convert it first, by coleaf convert-labels {path} --out FOLDER")
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path}: not readable as JSON: {problem}") from problem
    if isinstance(content, dict) and isinstance(content.get("ids"), dict):
        content = content["ids"]
    if not isinstance(content, dict) or not all(isinstance(content.get(m), list | dict) for m in MODALITIES):
        raise ValueError(f"{path}: expected a JSON object with the keys audio and visual, found {shown(content)}")
    found = []
    for modality in MODALITIES:
        lists = content[modality]
        where = f"{path}: {modality}"
        named = _of_names(lists, where, classes) if isinstance(lists, dict) else _of_rows(lists, where, classes, order)
        found.append(frozenset(_checked(named, classes, weak)))
    return Removals((found[0], found[1]))


def _of_rows(lists: Any, where: str, classes: Sequence[str], order: Sequence[str]) -> Iterator[tuple[str, Any, int]]:
    """Yield (what is named, video id, class index) of lists of row numbers."""
    if len(lists) != len(classes):
        raise ValueError(f"{where} has {len(lists)} lists, the data set {len(classes)} classes")
    for c, rows in enumerate(lists):
        for row in rows if isinstance(rows, list) else [rows]:
            if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < len(order):
                raise ValueError(
                    f"{where}, class {classes[c]!r}: {shown(row)} is no row of the {len(order)} weak labels, counted "
                    "from 0"
                )
            yield f"{where}: row {row}", order[row], c


def _of_names(lists: Mapping[str, Any], where: str, classes: Sequence[str]) -> Iterator[tuple[str, Any, int]]:
    index = {name: c for c, name in enumerate(classes)}
    for name, videos in lists.items():
        if name not in index:
            raise ValueError(f"{where}: no class {name!r}.{nearest(name, classes)}")
        if not isinstance(videos, list):
            raise ValueError(f"{where}: {name!r} holds {shown(videos)}, where a list of ids was expected")
        for video in videos:
            yield where, video, index[name]


def _checked(
    named: Iterator[tuple[str, Any, int]], classes: Sequence[str], weak: Mapping[str, Collection[int]]
) -> Iterator[Pair]:
    for where, video, c in named:
        if video not in weak:
            raise ValueError(f"{where}: {shown(video)} is no video of the training split")
        if c not in weak[video]:
            raise ValueError(
                f"{where}: removes {classes[c]!r} from video {video!r}, whose weak label lacks it: these lists were "
                "made for other weak labels, or for another order of their rows"
            )
        yield video, c


def write_removals(path: Path, visual: Sequence[Sequence[int]], audio: Sequence[Sequence[int]]) -> None:
    """Write lists of rows for each class, as MA's JSON form."""
    from coleaf_framework.storage import write_text

    write_text(path, json.dumps({"visual": [sorted(x) for x in visual], "audio": [sorted(x) for x in audio]}) + "\n")
