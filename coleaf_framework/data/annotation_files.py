"""Reading LLP's annotation files row by row. `annotations.py` puts the rows of all files together.

TSV files with a header: `filename, event_labels` (weak labels, comma separated) for each split, and
`filename, onset, offset, event_labels` (seconds) for each modality.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coleaf_framework._config import nearest
from coleaf_framework._text import one_line
from coleaf_framework.storage import file_digest, require_file

WEAK_FILES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
DENSE_FILES = {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}

CLASSES_FILE = "classes.txt"

# Published files with known faults: digest (`file_digest`) -> line -> the right `filename`. The file here is LLP's
# AVVP_eval_audio.csv before commit fde5611 of YapengTian/AVVP-ECCV20 (2024), of which other repositories have copies.
_KNOWN_FAULTS = {
    "249122f65501d8d6": {
        930: "JfZEqeLZqWk_30_40",
        931: "JfZEqeLZqWk_30_40",
        2449: "KvIjsmANkxI_10_20",
    }
}

_TIMES = re.compile(r"_[0-9]+(\.[0-9]+)?_[0-9]+(\.[0-9]+)?$")
_SECONDS = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_LONGEST = 86_400  # seconds of a video; a longer one is taken for an error in its filename
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Interval:
    """One annotated interval.

    Args:
        onset: Start in seconds.
        offset: End in seconds.
        label: Class index.
        where: Its row, as FILE:LINE.
    """

    onset: float
    offset: float
    label: int
    where: str


def find_file(root: Path, name: str) -> Path | None:
    """Find an annotation file: `root/name` or `root/annotations/name`, or None if neither exists.

    Args:
        root: Folder of the data set.
        name: Name of the file.

    Returns:
        Path of the one that exists, or None.

    Raises:
        FileNotFoundError: `root` is not a folder.
        ValueError: both exist, or the one that exists is not a regular file.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    places = (root / name, root / "annotations" / name)
    if folder := next((path for path in places if path.is_dir()), None):
        raise ValueError(f"{folder}: is a folder, where a file was expected")
    found = [path for path in places if path.exists()]
    if len(found) > 1:
        raise ValueError(f"{found[0]} and {found[1]} both exist: remove one of them")
    if not found:
        return None
    require_file(found[0])
    return found[0]


def read_classes(root: Path) -> tuple[str, ...]:
    """Read the class names from `classes.txt`, one on each line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty or not UTF-8, lists a class twice, or has a name that no annotation can contain. The
            message names the file, and the line of a name with a control character.
    """
    path = find_file(root, CLASSES_FILE)
    if path is None:
        raise FileNotFoundError(f"{root / CLASSES_FILE}: no such file; write one class name a line, or pass classes=")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # unlike `splitlines`, keeps control characters
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: not a UTF-8 text file: {problem}") from problem
    for number, line in enumerate(lines, 1):
        if one_line(line.strip(" \t")) != line.strip(" \t"):
            raise ValueError(f"{path}:{number}: a control character in the class name {line.strip()!r}")
    names = tuple(line.strip() for line in lines if line.strip())
    if odd := next((name for name in names if "," in name or "\t" in name), None):
        raise ValueError(f"{path}: class {odd!r}: no annotation can name it, since commas and tabs divide them there")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path}: expected one class name a line, each once, found {len(names)} names")
    return names


def video_seconds(filename: str) -> tuple[int, ...]:
    """Lengths in whole seconds that fit the trailing `_start_end` of `filename`, nearest first; () if it has none."""
    times = _TIMES.search(filename)
    if times is None:
        return ()
    start, end = times.group().split("_")[1:]
    span = float(end) - float(start)
    return tuple(dict.fromkeys(n for n in (round(span), math.floor(span), math.ceil(span)) if n > 0))


def video_id(filename: str) -> str:
    """The id that names a video's feature files: `filename` without its trailing `_start_end` times.

    For LLP this is the first 11 characters.

    Raises:
        ValueError: The id is not a plain name, so that it could be a path outside the folder of features; or the times
            cannot be those of a video.
    """
    video = _TIMES.sub("", filename)
    if not _SAFE_ID.fullmatch(video):
        raise ValueError(f"filename {filename!r} is not a plain name of letters, digits, '_', '-' and '.'")
    if (times := _TIMES.search(filename)) is not None:
        start, end = map(float, times.group().split("_")[1:])
        if not start <= end <= start + _LONGEST:
            raise ValueError(f"filename {filename!r} ends with the times {start:g} to {end:g}, which no video has")
    return video


def tsv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each row of a TSV file as "FILE:LINE" and column -> cell."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = next(reader, [])
            if tuple(header) != columns:
                raise ValueError(f"{path}:1: expected the header {list(columns)}, tab separated, found {header}")
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise ValueError(f"{where}: expected {len(columns)} tab-separated cells, found {len(cells)}")
                yield where, dict(zip(columns, cells, strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(f"{path}: not a tab-separated UTF-8 text file: {problem}") from problem


def plain_name(where: str, name: str) -> str:
    """A name that may name feature files, as it is.

    Args:
        where: Its row, as FILE:LINE.
        name: The name.

    Returns:
        `name`.

    Raises:
        ValueError: it could be a path outside the folder of features.
    """
    if not _SAFE_ID.fullmatch(name):
        raise ValueError(f"{where}: {name!r} is not a plain name of letters, digits, '_', '-' and '.'")
    return name


def _id_at(where: str, filename: str) -> str:
    try:
        return video_id(filename)
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from None


def _label_at(where: str, name: str, index: Mapping[str, int]) -> int:
    if name not in index:
        raise ValueError(f"{where}: unknown class {name!r}.{nearest(name, index)} There are {len(index)} classes")
    return index[name]


def read_weak(path: Path, index: Mapping[str, int]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Read the weak labels of a split.

    Args:
        path: The TSV file.
        index: Class name -> class index.

    Returns:
        Video id -> class indices, and video id -> `filename`.

    Raises:
        ValueError: A row is malformed. The message names file and line.
    """
    videos: dict[str, tuple[int, ...]] = {}
    filenames: dict[str, str] = {}
    for where, row in tsv_rows(path, ("filename", "event_labels")):
        video = _id_at(where, row["filename"])
        if video in videos:
            raise ValueError(f"{where}: video {video!r} is listed twice in this split")
        names = [name.strip() for name in row["event_labels"].split(",") if name.strip()]
        videos[video] = tuple(sorted({_label_at(where, name, index) for name in names}))
        filenames[video] = row["filename"]
    return videos, filenames


def known_faults(path: Path) -> Mapping[int, str]:
    """Line -> the right `filename`, for a published file with known faults; empty for any other file."""
    return _KNOWN_FAULTS.get(file_digest(path), {})


def read_dense(path: Path, index: Mapping[str, int]) -> Iterator[tuple[str, Interval]]:
    """Read the intervals of a modality, with `known_faults` corrected.

    Args:
        path: The TSV file.
        index: Class name -> class index.

    Yields:
        `filename` and interval of each row.

    Raises:
        ValueError: A row is malformed. The message names file and line.
    """
    right = known_faults(path)
    for where, row in tsv_rows(path, ("filename", "onset", "offset", "event_labels")):
        row["filename"] = right.get(int(where.rpartition(":")[2]), row["filename"])
        _id_at(where, row["filename"])
        label = _label_at(where, row["event_labels"].strip(), index)
        onset, offset = (float(x) if _SECONDS.fullmatch(x) else math.nan for x in (row["onset"], row["offset"]))
        if not (math.isfinite(onset) and math.isfinite(offset) and onset >= 0 and offset >= 0):
            raise ValueError(
                f"{where}: bad interval {row['onset']!r} to {row['offset']!r}: expected seconds from the video's start"
            )
        yield row["filename"], Interval(onset, offset, label, where)
