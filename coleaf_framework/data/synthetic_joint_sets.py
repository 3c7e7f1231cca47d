"""What `writing.py` needs to know of UnAV-100 and AVE; see `synthetic_sets.py`. Shape letters: see `protocol.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from coleaf_framework.data.annotation_files import CLASSES_FILE, find_file, read_classes
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
from coleaf_framework.data.synthetic import Difficulty, Sensors
from coleaf_framework.data.synthetic_sets import Write
from coleaf_framework.data.unav import unav_segments, unav_truth
from coleaf_framework.data.unav_annotations import UNAV_FILE, read_unav
from coleaf_framework.protocol import MODALITIES, StreamSpec

if TYPE_CHECKING:
    from numpy.random import Generator


class UnAVSet:
    """UnAV-100: tokens every 0.32 s; audio rows are one more or fewer for every second video, as a reader must cut."""

    markers: ClassVar[Sequence[str]] = (UNAV_FILE,)
    streams: ClassVar[Mapping[str, StreamSpec]] = {
        "rgb": StreamSpec(1024, "visual"),
        "flow": StreamSpec(1024, "visual"),
        "vggish": StreamSpec(128, "audio"),
    }

    def __init__(self, root: Path, limit: int | None) -> None:
        path = find_file(root, UNAV_FILE)
        assert path is not None
        self.path = path
        annotations = read_unav(path, None if find_file(root, CLASSES_FILE) is None else read_classes(root))
        self.classes = annotations.classes
        self.videos = {video: about for videos in annotations.videos.values() for video, about in videos.items()}
        self.chosen = {split: list(videos)[:limit] for split, videos in annotations.videos.items() if videos}
        self.sensors = Sensors(Difficulty(), self.streams, len(self.classes))

    @contextmanager
    def writing(self, out: Path) -> Iterator[Write]:
        """See `SyntheticSet.writing`."""
        kept = {video for videos in self.chosen.values() for video in videos}
        (out / CLASSES_FILE).write_text("\n".join(self.classes) + "\n", encoding="utf-8")
        if len(kept) == len(self.videos):
            shutil.copyfile(self.path, out / UNAV_FILE)
        else:
            content = json.loads(self.path.read_bytes())
            content["database"] = {video: about for video, about in content["database"].items() if video in kept}
            (out / UNAV_FILE).write_text(json.dumps(content), encoding="utf-8")

        def write(split: str, video: str, rng: Generator) -> None:
            about = self.videos[video]
            truth, _ = unav_truth(about, unav_segments(about.duration), len(self.classes))
            features = self.sensors.observe(rng, truth.numpy())
            audio, more = features["vggish"], rng.integers(4) - 1  # -1, 0, 1, 2
            if more == -1 and len(audio) > 1:
                features["vggish"] = audio[:-1]
            elif more == 1:
                features["vggish"] = np.concatenate([audio, audio[-1:]])
            for stream, x in features.items():
                np.save(out / f"{video}_{stream}.npy", x)

        yield write


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
