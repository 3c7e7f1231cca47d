"""The annotation file of UnAV-100 (Geng et al., CVPR 2023): reading and checking it.

{"database": {ID: {"duration": SECONDS, "subset": "train", "validation" or "test",
                   "annotations": [{"segment": [START, END], "label": NAME, "label_id": INDEX}, ...]}, ...}}
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coleaf_framework._config import nearest, shown
from coleaf_framework.storage import require_file

UNAV_FILE = "unav100_annotations.json"
SUBSETS: Mapping[str, str] = {"train": "train", "validation": "val", "test": "test"}
"""Subset as the file names it, in lower case -> split."""
KNOWN_SHA256 = "2fdfc587ad36fc405496b5520d967b5df54b2d82027d16d69e968b5cf04d3dba"
"""Of the copy in a third party's pull request to the authors' repository, ttgeng233/UnAV."""
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_SAME_EVENT = 1e-3  # seconds, as in the published evaluation


@dataclass(frozen=True)
class UnAVVideo:
    """The annotations of one video, E events.

    Args:
        duration: Seconds.
        starts: (E,) seconds, at least 0.
        ends: (E,) seconds, after the start and not after the duration.
        labels: (E,) class indices.
    """

    duration: float
    starts: tuple[float, ...]
    ends: tuple[float, ...]
    labels: tuple[int, ...]

    @property
    def classes(self) -> tuple[int, ...]:
        """The weak label: indices of the classes with an event, ascending."""
        return tuple(sorted(set(self.labels)))


@dataclass(frozen=True)
class UnAVAnnotations:
    """The annotations of every split.

    Args:
        classes: The C class names, in index order.
        videos: Split ("train", "val" or "test") -> id -> its annotations, in the file's order.
        sha256: Digest of the file.
    """

    classes: tuple[str, ...]
    videos: Mapping[str, Mapping[str, UnAVVideo]]
    sha256: str

    @property
    def provenance(self) -> str:
        """A sentence on where the file comes from, to print beside scores."""
        if self.sha256 == KNOWN_SHA256:
            return (
                "the annotations are a copy from a third party's pull request to ttgeng233/UnAV (sha256 "
                f"{KNOWN_SHA256[:12]}...): compare it with the authors' download before you quote scores on it"
            )
        return (
            f"the annotations have the sha256 {self.sha256[:12]}..., not {KNOWN_SHA256[:12]}... of the copy that the "
            "recorded scores of docs/unav100.md were made with"
        )


def read_unav(path: Path | str, classes: Sequence[str] | None = None) -> UnAVAnnotations:
    """Read and check UnAV-100's annotation file, or one of its form.

    Args:
        path: The JSON file.
        classes: Class names in index order; those of the file if None, which must then have an event of each.

    Returns:
        The classes, the videos of every split with times in seconds, and the file's digest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, a video is listed twice or is in no known subset, a segment is reversed,
            negative or ends after the video, an event is listed twice, or a label and its index do not belong together.
            The message names the file, the video and the value.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "unav100_annotations.json"
        >>> event = {"segment": [1, 2.5], "label": "dog barking", "label_id": 0}
        >>> video = {"duration": 10, "subset": "validation", "annotations": [event]}
        >>> _ = path.write_text(json.dumps({"database": {"-0BKyt8iZ1I": video}}))
        >>> annotations = read_unav(path)
        >>> annotations.classes, annotations.videos["val"]["-0BKyt8iZ1I"].ends
        (('dog barking',), (2.5,))
    """
    path = Path(path)
    require_file(path)
    content = path.read_bytes()
    database = _database(path, content)
    names: dict[int, str] = dict(enumerate(classes or ()))
    index = {name: i for i, name in names.items()}
    videos: dict[str, dict[str, UnAVVideo]] = {split: {} for split in SUBSETS.values()}
    for video, entry in database.items():
        where = f"{path}: video {video!r}"
        if not _ID.fullmatch(video):
            raise ValueError(f"{where}: its id is not a plain name of letters, digits, '_', '-' and '.'")
        split = _split(where, _field(where, entry, "subset"))
        videos[split][video] = _video(where, entry, names, index, given=classes is not None)
    if not names:
        raise ValueError(f"{path}: no video has an event, so there are no classes")
    if (gap := next((i for i in range(max(names)) if i not in names), None)) is not None:
        raise ValueError(
            f"{path}: no event has label_id {gap}, so the class has no name: write a classes.txt beside it"
        )
    ordered = tuple(names[i] for i in range(len(names)))
    return UnAVAnnotations(ordered, videos, hashlib.sha256(content).hexdigest())


def _database(path: Path, content: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"{key!r} is listed twice in one object")
            found[key] = value
        return found

    try:
        parsed = json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path}: not JSON in which each key is listed once: {problem}") from None
    database = parsed.get("database") if isinstance(parsed, dict) else None
    if not isinstance(database, dict) or not database:
        raise ValueError(f"{path}: no UnAV-100 annotations: it has no object 'database' with videos")
    return database


def _field(where: str, entry: Any, name: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise ValueError(f"{where}: it has no {name!r}: {shown(entry)}")
    return entry[name]


def _split(where: str, subset: Any) -> str:
    if not isinstance(subset, str) or subset.lower() not in SUBSETS:
        hint = nearest(subset.lower(), SUBSETS) if isinstance(subset, str) else ""
        raise ValueError(f"{where}: unknown subset {subset!r}.{hint} Known subsets: {', '.join(SUBSETS)}")
    return SUBSETS[subset.lower()]


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def _video(where: str, entry: Any, names: dict[int, str], index: dict[str, int], *, given: bool) -> UnAVVideo:
    duration, listed = _field(where, entry, "duration"), _field(where, entry, "annotations")
    if not _is_number(duration) or duration <= 0:
        raise ValueError(f"{where}: duration {shown(duration)}, where seconds above 0 were expected")
    if not isinstance(listed, list):
        raise ValueError(f"{where}: annotations {shown(listed)}, where a list of events was expected")
    events: list[tuple[float, float, int]] = []
    for event in listed:
        start, end = _segment(where, _field(where, event, "segment"), duration)
        label = _label(where, _field(where, event, "label"), _field(where, event, "label_id"), names, index, given)
        if any(label == x and abs(start - s) <= _SAME_EVENT and abs(end - e) <= _SAME_EVENT for s, e, x in events):
            raise ValueError(f"{where}: the event [{start:g}, {end:g}] of {names[label]!r} is listed twice")
        events.append((start, end, label))
    starts, ends, labels = (tuple(column) for column in zip(*events, strict=True)) if events else ((), (), ())
    return UnAVVideo(float(duration), starts, ends, labels)


def _segment(where: str, segment: Any, duration: float) -> tuple[float, float]:
    if not isinstance(segment, list) or len(segment) != 2 or not all(map(_is_number, segment)):
        raise ValueError(f"{where}: segment {shown(segment)}, where [start, end] in seconds was expected")
    start, end = map(float, segment)
    if start < 0:
        raise ValueError(f"{where}: segment {segment} begins before the video")
    if end <= start:
        raise ValueError(f"{where}: segment {segment} is reversed or empty: its end must be after its start")
    if end > duration:
        raise ValueError(f"{where}: segment {segment} ends after the video, which lasts {duration:g} s")
    return start, end


def _label(where: str, name: Any, number: Any, names: dict[int, str], index: dict[str, int], given: bool) -> int:
    if not isinstance(name, str) or not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(
            f"{where}: label {shown(name)} with label_id {shown(number)}, where a name and a whole number were expected"
        )
    if given and (name not in index or number not in names):
        raise ValueError(
            f"{where}: unknown class {name!r}, {number}.{nearest(name, index)} There are {len(index)} classes"
        )
    if names.setdefault(number, name) != name or index.setdefault(name, number) != number:
        known = (
            f"label_id {number} is {names[number]!r}" if names[number] != name else f"it has {index[name]} elsewhere"
        )
        raise ValueError(f"{where}: label {name!r} with label_id {number}, but {known}")
    return number
