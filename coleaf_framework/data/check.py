"""What a folder in LLP's layout holds, what is missing and what is odd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from coleaf_framework.data.annotations import (
    CLASSES_FILE,
    DENSE_FILES,
    WEAK_FILES,
    find_file,
    read_annotations,
    read_classes,
)
from coleaf_framework.data.folder import LLP_CLASSES, AVVPFolder
from coleaf_framework.protocol import StreamSpec

_SHOWN = 10


class _Present(AVVPFolder):
    """The videos of a split whose files are all there."""

    def _require_features(self) -> None:
        missing = self.features.missing(self.ids)
        self.missing = [sentence for _, sentence in missing]
        gone = {video for video, _ in missing}
        self.ids = tuple(video for video in self.ids if video not in gone)
        if not self.ids:
            super()._require_features()


def check_folder(root: Path) -> Iterator[tuple[str, str]]:
    """Read everything in a folder in LLP's layout, and tell.

    Args:
        root: the folder; without a `classes.txt` its classes are LLP's.

    Yields: ("there" | "missing" | "odd", a sentence).

    Raises:
        FileNotFoundError, ValueError: annotations that are not there or cannot be read.
    """
    classes = LLP_CLASSES if find_file(root, CLASSES_FILE) is None else read_classes(root)
    for name in DENSE_FILES.values():
        if find_file(root, name) is None:
            yield "missing", f"{root / name}: no such file, so there is no ground truth to score against"
    shapes: list[Mapping[str, StreamSpec]] = []
    for split, name in WEAK_FILES.items():
        if find_file(root, name) is None:
            yield "missing", f"split {split!r}: {root / name}: no such file"
            continue
        try:
            data = _Present(root, split, classes)
        except (FileNotFoundError, ValueError) as problem:
            yield "missing", f"split {split!r}: {problem}"
            continue
        if not shapes:
            streams = ", ".join(f"{name} {s.width} wide, {s.frames} a segment" for name, s in data.streams.items())
            yield "there", f"{len(data.classes)} classes; streams: {streams}"
            yield from (("odd", f"annotations: {line}") for line in data.report.lines())
        shapes.append(data.streams)
        if data.streams != shapes[0]:
            yield "odd", f"split {split!r} has other streams: {data.streams}"
        yield from _check_split(data)
    yield from _check_overlap(root, classes)


def _check_split(data: _Present) -> Iterator[tuple[str, str]]:
    for path in data.missing[:_SHOWN]:
        yield "missing", f"split {data.split!r}: {path}"
    if len(data.missing) > _SHOWN:
        yield "missing", f"split {data.split!r}: {len(data.missing) - _SHOWN} more feature files"
    bad = 0
    for i in range(len(data)):
        try:
            data[i]
        except (ValueError, OSError) as problem:
            bad += 1
            yield "odd", str(problem)
    total = len(data.annotations.weak[data.split])
    yield "there", f"split {data.split!r}: {len(data) - bad} of {total} videos can be read"


def _check_overlap(root: Path, classes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    weak = read_annotations(root, classes).weak
    splits = list(weak)
    for i, a in enumerate(splits):
        for b in splits[i + 1 :]:
            if shared := sorted(weak[a].keys() & weak[b].keys()):
                yield "odd", f"{len(shared)} videos are in both {a!r} and {b!r}, such as {shared[0]!r}"
