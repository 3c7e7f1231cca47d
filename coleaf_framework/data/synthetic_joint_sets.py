"""What `writing.py` needs to know of UnAV-100 and AVE; see `synthetic_sets.py`. Shape letters: see `protocol.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from coleaf_framework.data.annotation_files import CLASSES_FILE, find_file, plain_name, read_classes
from coleaf_framework.data.ave_features import BACKGROUND_FEATURES, FEATURE_FILES
from coleaf_framework.data.ave_files import (
    AVE_CLASSES,
    BACKGROUND_FILE,
    KEY,
    ORDER_FILES,
    ORDER_KEY,
    ROWS_FILE,
    SECONDS,
    background_ids,
    is_background,
    read_orders,
    read_rows,
    row_of,
)
from coleaf_framework.data.h5_files import require_h5py
from coleaf_framework.data.synthetic import Bools, Difficulty, Sensors
from coleaf_framework.data.synthetic_sets import Write
from coleaf_framework.protocol import MODALITIES, StreamSpec

if TYPE_CHECKING:
    from numpy.random import Generator


class UnAVSet:
    """UnAV-100: tokens every 0.32 s; audio rows are one more or fewer for every second video, as a reader must cut."""

    markers: ClassVar[Sequence[str]] = ("unav100_annotations.json",)
    subsets: ClassVar[Mapping[str, str]] = {"train": "train", "validation": "val", "test": "test"}
    streams: ClassVar[Mapping[str, StreamSpec]] = {
        "rgb": StreamSpec(1024, "visual"),
        "flow": StreamSpec(1024, "visual"),
        "vggish": StreamSpec(128, "audio"),
    }

    def __init__(self, root: Path, limit: int | None) -> None:
        path = find_file(root, self.markers[0])
        assert path is not None
        self.path, self.content = path, _read(path)
        self.videos: dict[str, Any] = self.content["database"]
        self.chosen: dict[str, list[str]] = {split: [] for split in self.subsets.values()}
        names: dict[int, str] = {}
        for video, about in self.videos.items():
            try:
                self.chosen[self.subsets[about["subset"].lower()]].append(plain_name(str(path), video))
                for event in about["annotations"]:
                    names[event["label_id"]] = event["label"]
                    float(event["segment"][1])
                float(about["duration"])
            except (KeyError, TypeError, AttributeError, IndexError, ValueError) as problem:
                raise ValueError(f"{path}: video {video!r} is not as UnAV-100 annotates it: {problem!r}") from problem
        self.chosen = {split: videos[:limit] for split, videos in self.chosen.items() if videos}
        given = None if find_file(root, CLASSES_FILE) is None else read_classes(root)
        if given is None and sorted(names) != list(range(len(names))):
            raise ValueError(f"{path}: its label_id leave out some numbers: put UnAV-100's {CLASSES_FILE} beside it")
        self.classes = given or tuple(names[i] for i in range(len(names)))
        self.sensors = Sensors(Difficulty(), self.streams, len(self.classes))

    @contextmanager
    def writing(self, out: Path) -> Iterator[Write]:
        """See `SyntheticSet.writing`."""
        kept = {video for videos in self.chosen.values() for video in videos}
        (out / CLASSES_FILE).write_text("\n".join(self.classes) + "\n", encoding="utf-8")
        if len(kept) == len(self.videos):
            shutil.copyfile(self.path, out / self.markers[0])
        else:
            content = {**self.content, "database": {v: about for v, about in self.videos.items() if v in kept}}
            (out / self.markers[0]).write_text(json.dumps(content), encoding="utf-8")

        def write(split: str, video: str, rng: Generator) -> None:
            features = self.sensors.observe(rng, self._truth(self.videos[video]))
            audio, more = features["vggish"], rng.integers(4) - 1  # -1, 0, 1, 2
            if more == -1 and len(audio) > 1:
                features["vggish"] = audio[:-1]
            elif more == 1:
                features["vggish"] = np.concatenate([audio, audio[-1:]])
            for stream, x in features.items():
                np.save(out / f"{video}_{stream}.npy", x)

        yield write

    def _truth(self, about: Mapping[str, Any]) -> Bools:
        """Tokens whose centre lies in an event, or the nearest one: (T,M,C)."""
        tokens = max(1, int((25 * about["duration"] - 25) // 8) + 1)
        centres = 0.32 * np.arange(tokens) + 0.48
        truth = np.zeros((tokens, len(MODALITIES), len(self.classes)), dtype=bool)
        for event in about["annotations"]:
            start, end = event["segment"]
            inside = (start <= centres) & (centres < end)
            if not inside.any():
                inside[np.abs(centres - (start + end) / 2).argmin()] = True
            truth[inside, :, event["label_id"]] = True
        return truth


class AVESet:
    """AVE: HDF5 files by row, visual features as maps of 7 x 7; background videos if `labels_noisy.h5` is there."""

    markers: ClassVar[Sequence[str]] = (ROWS_FILE,)
    streams: ClassVar[Mapping[str, StreamSpec]] = {
        "audio": StreamSpec(128, "audio"),
        "visual": StreamSpec(512, "visual"),
    }

    def __init__(self, root: Path, limit: int | None) -> None:
        path = find_file(root, ROWS_FILE)
        assert path is not None
        self.h5py = require_h5py(path)
        self.rows, self.lines = read_rows(path), path.read_text(encoding="utf-8-sig").splitlines()
        orders = {split: order[:limit] for split, order in read_orders(root, len(self.rows)).items()}
        self.kept = sorted(row for order in orders.values() for row in order)
        number = {row: i for i, row in enumerate(self.kept)}  # of a row in the copy, which has the chosen rows alone
        self.orders = {split: [number[row] for row in order] for split, order in orders.items()}
        self.background = background_ids(root)[:limit]
        self.chosen = {split: [f"row_{row}" for row in order] for split, order in self.orders.items()}
        if self.background:
            self.chosen["background"] = list(self.background)
        self.sensors = Sensors(Difficulty(), self.streams, len(AVE_CLASSES))

    @contextmanager
    def writing(self, out: Path) -> Iterator[Write]:
        """See `SyntheticSet.writing`."""
        (out / ROWS_FILE).write_text("".join(f"{self.lines[row]}\n" for row in self.kept), encoding="utf-8")
        for split, order in self.orders.items():
            self._save(out / ORDER_FILES[split], ORDER_KEY, np.array(order, dtype=np.int64))
        files = {False: (FEATURE_FILES, len(self.kept))}
        if self.background:
            labels = np.zeros((len(self.background), len(AVE_CLASSES) + 1), dtype=np.float32)
            labels[:, -1] = 1
            self._save(out / BACKGROUND_FILE, KEY, labels)
            files[True] = (BACKGROUND_FEATURES, len(self.background))
        with ExitStack() as opened:
            arrays = {}
            for background, (names, rows) in files.items():
                for stream, name in names.items():
                    file = opened.enter_context(self.h5py.File(out / name, "w"))
                    shape = (128,) if stream == "audio" else (7, 7, 512)
                    arrays[background, stream] = file.create_dataset(
                        KEY, (rows, SECONDS, *shape), dtype="f4" if stream == "audio" else "f2"
                    )

            def write(split: str, video: str, rng: Generator) -> None:
                truth = np.zeros((SECONDS, len(MODALITIES), len(AVE_CLASSES)), dtype=bool)
                if not is_background(video):
                    row = self.rows[self.kept[row_of(video)]]
                    truth[row.onset : row.offset, :, row.category] = True
                x = self.sensors.observe(rng, truth)
                places = rng.standard_normal((SECONDS, 7, 7, 512), dtype=np.float32)
                maps = x["visual"][:, None, None] + places - places.mean((1, 2), keepdims=True)
                arrays[is_background(video), "audio"][row_of(video)] = x["audio"]
                arrays[is_background(video), "visual"][row_of(video)] = maps

            yield write

    def _save(self, path: Path, key: str, array: Any) -> None:
        with self.h5py.File(path, "w") as file:
            file[key] = array


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path}: not a JSON file: {problem}") from problem
    if not isinstance(content, dict) or not isinstance(content.get("database"), dict):
        raise ValueError(f"{path}: has no object 'database', which UnAV-100's annotations have")
    return content
