"""Synthetic features for real annotations, in LLP's official layout; and a check of what a folder holds."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from coleaf_framework.data.annotations import (
    DENSE_FILES,
    WEAK_FILES,
    Annotations,
    dense_labels,
    find_annotations,
    read_annotations,
)
from coleaf_framework.data.folder import FOLDERS, LLP_CLASSES, AVVPFolder
from coleaf_framework.data.statistics import SEGMENTS
from coleaf_framework.data.synthetic import default_sensors, draw_events


def write_synthetic_features(
    annotations_root: Path,
    out: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    done: Callable[[int, int], None] = lambda written, total: None,
) -> dict[str, int]:
    """Write synthetic features and the annotation files for LLP's published annotations.

    Validation and test videos get features of their annotated intervals; training videos, whose intervals
    nobody knows, of intervals drawn from LLP's statistics for their weak labels.

    Args:
        annotations_root: folder with the published TSV files.
        out: an empty or new folder; gets `feats/...` and the TSV files.
        limit: at most so many videos of each split.
        seed: of everything random.
        done: called with videos written and videos in all.

    Returns: split -> number of videos.

    Raises:
        FileExistsError: `out` holds features already.
    """
    if (out / "feats").exists():
        raise FileExistsError(f"{out / 'feats'} exists already: choose another folder, or remove it")
    annotations = read_annotations(annotations_root, LLP_CLASSES)
    chosen = {split: list(videos)[:limit] for split, videos in annotations.weak.items()}
    for folder, _ in FOLDERS.values():
        (out / "feats" / folder).mkdir(parents=True)
    source = find_annotations(annotations_root)
    kept = {annotations.filenames[video] for videos in chosen.values() for video in videos}
    for name in (*WEAK_FILES.values(), *DENSE_FILES.values()):
        if (source / name).is_file():
            _copy_rows(source / name, out / name, kept)
    total = sum(map(len, chosen.values()))
    written = 0
    for split, videos in chosen.items():
        for video in videos:
            _write_video(annotations, split, video, out, np.random.default_rng([seed, written]))
            written += 1
            done(written, total)
    return {split: len(videos) for split, videos in chosen.items()}


def _write_video(annotations: Annotations, split: str, video: str, out: Path, rng: np.random.Generator) -> None:
    truth = draw_events(rng, annotations.weak[split][video])
    if video in annotations.dense:
        truth = dense_labels(annotations.dense[video], SEGMENTS, len(annotations.classes))
    for stream, x in default_sensors().observe(rng, truth).items():
        np.save(out / "feats" / FOLDERS[stream][0] / f"{video}.npy", x)


def _copy_rows(source: Path, target: Path, filenames: set[str]) -> None:
    with source.open(encoding="utf-8", newline="") as read, target.open("w", encoding="utf-8", newline="") as write:
        rows = csv.reader(read, delimiter="\t", quoting=csv.QUOTE_NONE)
        writer = csv.writer(write, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        writer.writerow(next(rows))
        writer.writerows(row for row in rows if row and row[0] in filenames)


def check_folder(root: Path, classes: tuple[str, ...] | None) -> Iterator[tuple[str, str]]:
    """What a folder in LLP's layout holds, what is missing and what is odd, reading every file.

    Args:
        root: the folder.
        classes: class names; from `classes.txt` where None.

    Yields: ("there" | "missing" | "odd", a sentence).
    """
    splits = []
    for split in WEAK_FILES:
        try:
            splits.append(AVVPFolder(root, split, classes))
        except (FileNotFoundError, ValueError) as problem:
            yield "missing", f"split {split!r}: {problem}"
    if not splits:
        return
    shape = ", ".join(f"{name} {spec.width} x {spec.frames} a segment" for name, spec in splits[0].streams.items())
    yield "there", f"{len(splits[0].classes)} classes; streams: {shape}"
    for line in splits[0].report.lines():
        yield "odd", f"annotations: {line}"
    for data in splits:
        if data.streams != splits[0].streams:
            yield "odd", f"split {data.split!r} has other streams: {data.streams}"
        bad = 0
        for i in range(len(data)):
            try:
                data[i]
            except (ValueError, OSError) as problem:
                bad += 1
                yield "odd", str(problem)
        yield "there", f"split {data.split!r}: {len(data) - bad} of {len(data)} videos can be read"
