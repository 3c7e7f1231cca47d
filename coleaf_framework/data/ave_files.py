"""AVE's annotation files, read one by one, and what is odd in them. `ave.py` puts them together."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coleaf_framework._config import nearest
from coleaf_framework.data.annotation_files import find_file, plain_name
from coleaf_framework.data.h5_files import h5_array

AVE_CLASSES = (
    "Church bell", "Male speech, man speaking", "Bark", "Fixed-wing aircraft, airplane", "Race car, auto racing",
    "Female speech, woman speaking", "Helicopter", "Violin, fiddle", "Flute", "Ukulele", "Frying (food)", "Truck",
    "Shofar", "Motorcycle", "Acoustic guitar", "Train horn", "Clock", "Banjo", "Goat", "Baby cry, infant cry", "Bus",
    "Chainsaw", "Cat", "Horse", "Toilet flush", "Rodents, rats, mice", "Accordion", "Mandolin",
)  # fmt: skip
"""AVE's 28 classes, in the order of the columns of its label files. Column 28, background, is no class here."""

ROWS_FILE = "Annotations.txt"
ORDER_FILES = {"train": "train_order.h5", "val": "val_order.h5", "test": "test_order.h5"}
BACKGROUND_FILE = "labels_noisy.h5"
KEY = "avadataset"
ORDER_KEY = "order"
SECONDS = 10
_BACKGROUND = "background_"


@dataclass(frozen=True)
class Row:
    """A row of `Annotations.txt`.

    Args:
        category: Class index.
        video: Id of the video, which may occur in several rows.
        onset: First second of the event.
        offset: The second after its last.
    """

    category: int
    video: str
    onset: int
    offset: int


@dataclass
class AVEIssues:
    """Everything odd in AVE's annotations.

    Args:
        repeated: Video id -> its rows, where it has several.
        shared: Two splits -> ids of the videos that have a row in both.
        within: Split -> ids of the videos that have several rows in it.
        empty: Split -> rows whose event lasts no second.
        rows: All rows.
        background: A sentence about background videos that were left out, or "".
    """

    repeated: dict[str, list[int]]
    shared: dict[tuple[str, str], list[str]]
    within: dict[str, list[str]]
    empty: dict[str, list[int]]
    rows: Sequence[Row]
    background: str = ""

    def lines(self) -> list[str]:
        """One sentence for each kind of fault that occurs."""
        found = []
        if self.repeated:
            video, rows = next(iter(self.repeated.items()))
            names = " and ".join(repr(AVE_CLASSES[self.rows[row].category]) for row in rows)
            found.append(
                f"{len(self.repeated)} video ids occur in several rows, such as {video!r} as {names}, so that "
                f"{len(self.rows)} rows are {len({row.video for row in self.rows})} videos and the labels contradict"
            )
        return [*found, *self.faults(), *([self.background] if self.background else [])]

    def faults(self, split: str | None = None) -> list[str]:
        """Faults that touch scores on a split; of all splits if None."""
        found = [
            f"{len(videos)} videos are in both {a!r} and {b!r}, such as {videos[0]!r}, under different categories"
            for (a, b), videos in self.shared.items()
            if videos and split in (None, a, b)
        ]
        found += [
            f"{len(videos)} videos occur in {name!r} more than once, such as {videos[0]!r}, under different categories"
            for name, videos in self.within.items()
            if videos and split in (None, name)
        ]
        for name, rows in self.empty.items():
            if rows and split in (None, name):
                row = self.rows[rows[0]]
                found.append(
                    f"{len(rows)} rows of {name!r} last no second, such as {row.video!r}, and are background "
                    f"throughout, while their weak label is a class ({AVE_CLASSES[row.category]!r})"
                )
        return found


def read_rows(path: Path) -> tuple[Row, ...]:
    """Read `Annotations.txt`: category & video id & quality & start & end, one row a line, without a header.

    Raises:
        ValueError: A row is malformed. The message names file and line.
    """
    index = {name: i for i, name in enumerate(AVE_CLASSES)}
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: not a UTF-8 text file: {problem}") from problem
    for number, line in enumerate(lines, 1):
        where, cells = f"{path}:{number}", line.rstrip("\r").split("&")
        if len(cells) != 5:
            raise ValueError(f"{where}: expected category&video&quality&start&end, found {len(cells)} cells")
        name, video, _, start, end = cells
        if name not in index:
            raise ValueError(f"{where}: unknown category {name!r}.{nearest(name, index)} AVE has {len(index)}")
        if not (start.isdecimal() and end.isdecimal() and int(start) <= int(end) <= SECONDS):
            raise ValueError(f"{where}: bad times {start!r} to {end!r}: expected whole seconds from 0 to {SECONDS}")
        rows.append(Row(index[name], plain_name(where, video), int(start), int(end)))
    return tuple(rows)


def read_order(path: Path, rows: int) -> tuple[int, ...]:
    """Read the row numbers of a split, from 0, in its order.

    Args:
        path: Such as `train_order.h5`, with the key `order`.
        rows: Number of rows of `Annotations.txt`.

    Returns:
        Row numbers from 0, each once, at least one.

    Raises:
        ImportError: h5py is not installed.
        ValueError: it holds something else, a row twice, or a row that `Annotations.txt` has not.
    """
    order = h5_array(path, ORDER_KEY)
    if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
        raise ValueError(f"{path}: {ORDER_KEY!r} is {order.dtype} {order.shape}, where row numbers were expected")
    if order.min() < 0 or order.max() >= rows:
        odd = order[(order < 0) | (order >= rows)][0]
        raise ValueError(f"{path}: row {odd}, where {ROWS_FILE} has the rows 0 to {rows - 1}")
    found = tuple(order.tolist())
    if len(set(found)) < len(found):
        raise ValueError(f"{path}: row {Counter(found).most_common(1)[0][0]} is in the split twice")
    return found


def read_orders(root: Path, rows: int) -> dict[str, tuple[int, ...]]:
    """Split -> its row numbers, of the splits that have a file; errors as in `read_order`.

    Args:
        root: Folder of the data set.
        rows: Number of rows of `Annotations.txt`.

    Returns:
        Split -> row numbers from 0.

    Raises:
        ValueError: a row is in two splits.
    """
    paths = {split: find_file(root, name) for split, name in ORDER_FILES.items()}
    orders = {split: read_order(path, rows) for split, path in paths.items() if path is not None}
    for a, b in itertools.combinations(orders, 2):
        if both := set(orders[a]) & set(orders[b]):
            raise ValueError(f"{paths[b]}: row {min(both)} is in {ORDER_FILES[a]} too")
    return orders


def find_issues(rows: Sequence[Row], orders: Mapping[str, Sequence[int]]) -> AVEIssues:
    """Look for what is odd in AVE's annotations."""
    of_video: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        of_video.setdefault(row.video, []).append(i)
    counts = {split: Counter(rows[i].video for i in order) for split, order in orders.items()}
    return AVEIssues(
        repeated={video: places for video, places in of_video.items() if len(places) > 1},
        shared={(a, b): sorted(counts[a].keys() & counts[b].keys()) for a, b in itertools.combinations(counts, 2)},
        within={split: sorted(v for v, n in count.items() if n > 1) for split, count in counts.items()},
        empty={split: [i for i in order if rows[i].onset == rows[i].offset] for split, order in orders.items()},
        rows=rows,
    )


def sample_id(row: int, video: str) -> str:
    """Id of the sample of a row: `VIDEO_ROW`, since a video may have several rows."""
    return f"{video}_{row}"


def background_ids(root: Path) -> tuple[str, ...]:
    """Ids of the background videos, whose own ids are lost: `background_0`, ... by rows of `labels_noisy.h5`.

    Raises:
        ImportError: h5py is not installed.
        ValueError: The file has a label other than background.
    """
    path = find_file(root, BACKGROUND_FILE)
    if path is None:
        return ()
    labels = h5_array(path, KEY)
    if labels.ndim != 2 or labels.shape[1] != len(AVE_CLASSES) + 1 or labels[:, :-1].any() or not labels[:, -1].all():
        raise ValueError(f"{path}: {KEY!r} {labels.shape} is not background, the last of 29 columns, in every row")
    return tuple(f"{_BACKGROUND}{i}" for i in range(len(labels)))


def is_background(sample: str) -> bool:
    """Whether a sample is one of the background videos."""
    return sample.startswith(_BACKGROUND)


def row_of(sample: str) -> int:
    """Row of a sample, in `Annotations.txt` or in the files of background videos."""
    return int(sample.rpartition("_")[2])
