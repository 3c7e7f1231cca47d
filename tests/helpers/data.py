"""A tiny data set on disk, in LLP's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CLASSES = ("Dog", "Car", "Speech")
WIDTHS = {"vggish": (1, 6), "res152": (2, 8), "r2plus1d_18": (1, 4)}
SEGMENTS = 4


class Bomb:
    """Whoever unpickles it leaves a file "exploded"."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def video_names(split: str, n: int) -> list[str]:
    return [f"{split}{i:02d}" for i in range(n)]


def write_features(root: Path, video: str, segments: int = SEGMENTS, seed: int = 0) -> None:
    rng = np.random.default_rng([seed, sum(map(ord, video))])
    for folder, (frames, width) in WIDTHS.items():
        path = root / "feats" / folder / f"{video}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.standard_normal((frames * segments, width)).astype(np.float16))


def last(root: Path, video: str, segments: int) -> None:
    """Let a video of `write_data_set` last so many segments, in its features and in its filename."""
    write_features(root, video, segments)
    for path in root.glob("AVVP_*.csv"):
        path.write_text(path.read_text().replace(f"{video}_0_{SEGMENTS}", f"{video}_0_{segments}"))


def write_tsv(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join(["\t".join(header.split()), *["\t".join(row.split()) for row in rows]]) + "\n")


def write_data_set(root: Path, segments: int = SEGMENTS, classes: tuple[str, ...] = CLASSES) -> Path:
    root.mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(classes) + "\n")
    weak = "filename event_labels"
    for split, name, n in (("tr", "train", 6), ("va", "val_pd", 3), ("te", "test_pd", 3)):
        videos = video_names(split, n)
        write_tsv(root / f"AVVP_{name}.csv", weak, [f"{v}_0_4 {classes[i % 3]}" for i, v in enumerate(videos)])
        for video in videos:
            write_features(root, video, segments)
    dense = [f"{v}_0_4 1 3 {classes[i]}" for s in ("va", "te") for i, v in enumerate(video_names(s, 3))]
    write_tsv(root / "AVVP_eval_audio.csv", "filename onset offset event_labels", dense)
    write_tsv(root / "AVVP_eval_visual.csv", "filename onset offset event_labels", dense[::2])
    return root
