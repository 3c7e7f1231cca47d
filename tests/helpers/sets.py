"""Tiny annotations of AVE, LFAV and UnAV-100, made up, and where the published ones lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

# Row 0 and 6 are one video, in train and val; rows 2 and 3 one in train; row 4 lasts no second.
AVE_ROWS = (
    "Church bell&aaaaaaaaaaa&good&0&10",
    "Male speech, man speaking&bbbbbbbbbbb&good&2&5",
    "Banjo&ccccccccccc&good&0&10",
    "Mandolin&ccccccccccc&good&0&10",
    "Bark&ddddddddddd&good&0&0",
    "Bark&-eeeeeeeeee&good&9&10",
    "Bus&aaaaaaaaaaa&good&1&4",
    "Cat&fffffffffff&good&0&3",
)
AVE_ORDERS = {"train": [0, 2, 3, 4, 1], "val": [6], "test": [7, 5]}


def write_h5(path: Path, key: str, array: np.ndarray) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file[key] = array


def write_ave_annotations(root: Path, background: int = 0) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "Annotations.txt").write_text("\n".join(AVE_ROWS) + "\n")
    for split, order in AVE_ORDERS.items():
        write_h5(root / f"{split}_order.h5", "order", np.array(order))
    if background:
        labels = np.zeros((background, 29), np.float32)
        labels[:, 28] = 1
        write_h5(root / "labels_noisy.h5", "avadataset", labels)
    return root


def write_ave(root: Path, background: int = 0) -> Path:
    """With features: audio holds the number of the row, visual maps whose mean is the number of the row."""
    write_ave_annotations(root, background)
    for rows, suffix in ((len(AVE_ROWS), ""), (background, "_noisy")):
        if rows:
            number = np.arange(rows, dtype=np.float64)
            places = np.arange(4.0).reshape(2, 2) - 1.5  # of mean 0
            maps = number[:, None, None, None, None] + np.zeros((rows, 10, 2, 2, 3)) + places[:, :, None]
            write_h5(root / f"audio_feature{suffix}.h5", "avadataset", np.tile(number[:, None, None], (1, 10, 4)))
            write_h5(root / f"visual_feature{suffix}.h5", "avadataset", maps.astype(np.float32))
    return root


LFAV_WEAK = {
    "train": {"t0": ("dog,speech", "dog, speech", "dog"), "t1": ("car", "silent", "car")},
    "val": {"v0": ("cat,cry", "cat", "cry,train"), "v1": ("dog", "", "dog")},
    "test": {"e0": ("violin", "violin", "violin")},
}
LFAV_EVENTS = {
    "val_audio": ["v0 0 6 cat", "v0 8 8 cat", "v0 9 7 cat"],
    "val_visual": ["v0 3 40000 cry", "v1 2 2 dog", "v1 2 2 dog", "x9 0 1 dog"],
    "test_audio": [],
    "test_visual": ["e0 0 3 violin"],
}
LFAV_LENGTHS = {"t0": 12, "t1": 5, "v0": 10, "v1": 4, "e0": 6}


def write_lfav_annotations(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split, videos in LFAV_WEAK.items():
        union = "train_weakly" if split == "train" else f"{split}_weak_av"
        for i, name in enumerate((union, f"{split}_audio_weakly", f"{split}_visual_weakly")):
            rows = [f"{video}\t{labels[i]}" for video, labels in videos.items()]
            (root / f"{name}.csv").write_text("\n".join(["filename\tevent_labels", *rows]) + "\n")
    for name, rows in LFAV_EVENTS.items():
        header = "filename\tonset\toffset\tevent_labels"
        (root / f"{name}.csv").write_text("\n".join([header, *("\t".join(row.split()) for row in rows)]) + "\n")
    return root


def write_lfav(root: Path) -> Path:
    write_lfav_annotations(root)
    for folder, width in (("vggish", 4), ("resnet18", 6), ("r2plus1d_18", 5)):
        (root / "feats" / folder).mkdir(parents=True)
        for video, length in LFAV_LENGTHS.items():
            x = np.random.default_rng(length).standard_normal((length, width))
            np.save(root / "feats" / folder / f"{video}.npy", x.astype(np.float32))
    return root


def write_unav_annotations(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)

    def video(subset: str, duration: float, *events: tuple[float, float, int]) -> dict[str, Any]:
        found = [{"segment": [s, e], "label": ("dog", "cat")[c], "label_id": c} for s, e, c in events]
        return {"duration": duration, "subset": subset, "annotations": found}

    videos = {f"-train{i}": video("train", 10 + i, (1.0, 4.5, i % 2)) for i in range(8)}
    videos |= {"_val": video("validation", 12.0, (0, 12, 0)), "test": video("test", 60, (3.01, 3.02, 1))}
    (root / "unav100_annotations.json").write_text(json.dumps({"version": "unav100", "database": videos}))
    return root
