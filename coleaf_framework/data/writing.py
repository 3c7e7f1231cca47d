"""Synthetic features for real annotations, in LLP's official layout."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from coleaf_framework.data.annotation_files import DENSE_FILES, WEAK_FILES, find_file
from coleaf_framework.data.annotations import Annotations, dense_labels, read_annotations
from coleaf_framework.data.folder import LLP_CLASSES
from coleaf_framework.data.layout import LLP_LAYOUT
from coleaf_framework.data.statistics import SEGMENTS
from coleaf_framework.data.synthetic import default_sensors, draw_events
from coleaf_framework.data.video_folder import SYNTHETIC_MARKER


def write_synthetic_features(
    annotations_root: Path,
    out: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    done: Callable[[int, int], None] = lambda written, total: None,
) -> dict[str, int]:
    """Write synthetic features for LLP's published annotations, and a copy of the annotations.

    The features of validation and test videos follow their annotated intervals. Training videos have no annotated
    intervals, so theirs are drawn from LLP's statistics for their weak labels.

    Args:
        annotations_root: Folder with the published TSV files.
        out: A new or empty folder for `feats/...`, the TSV files and a note that the features are synthetic.
        limit: Maximum number of videos of each split; all if None.
        seed: Seed of everything random.
        done: Called with the number of videos written so far and of all videos.

    Returns:
        Split -> number of videos.

    Raises:
        FileExistsError: `out` is not empty.
        FileNotFoundError: There are no annotation files.
        ValueError: A row is malformed, or an interval ends after 10 s.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists already and is not an empty folder: choose another one")
    annotations = read_annotations(annotations_root, LLP_CLASSES)
    chosen = {split: list(videos)[:limit] for split, videos in annotations.weak.items()}
    for files in LLP_LAYOUT.streams.values():
        (out / files.folder).mkdir(parents=True)
    (out / SYNTHETIC_MARKER).write_text(f"coleaf synth: features drawn from a model, limit {limit}, seed {seed}\n")
    kept = {annotations.filenames[video] for videos in chosen.values() for video in videos}
    for name in (*WEAK_FILES.values(), *DENSE_FILES.values()):
        if (source := find_file(annotations_root, name)) is not None:
            _copy_rows(source, out / name, kept)
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
        for event in (event for events in annotations.dense[video].values() for event in events):
            if event.offset > SEGMENTS:
                raise ValueError(
                    f"{event.where}: bad interval {event.onset:g} to {event.offset:g}: "
                    f"synthetic videos last {SEGMENTS} s"
                )
        truth = dense_labels(annotations.dense[video], SEGMENTS, len(annotations.classes))
    for stream, x in default_sensors().observe(rng, truth).items():
        np.save(LLP_LAYOUT.streams[stream].path(out, video), x)


def _copy_rows(source: Path, target: Path, filenames: set[str]) -> None:
    with source.open(encoding="utf-8", newline="") as read, target.open("w", encoding="utf-8", newline="") as write:
        rows = csv.reader(read, delimiter="\t", quoting=csv.QUOTE_NONE)
        writer = csv.writer(write, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        writer.writerow(next(rows))
        writer.writerows(row for row in rows if row and row[0] in filenames)
