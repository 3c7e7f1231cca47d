"""Synthetic features for real annotations, in the layout of their data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from coleaf_framework.data.annotation_files import find_file
from coleaf_framework.data.synthetic_joint_sets import AVESet, UnAVSet
from coleaf_framework.data.synthetic_sets import LFAVSet, LLPSet, SyntheticSet
from coleaf_framework.data.video_folder import SYNTHETIC_MARKER

_SETS: tuple[type[SyntheticSet], ...] = (LLPSet, UnAVSet, AVESet, LFAVSet)


def write_synthetic_features(
    annotations_root: Path,
    out: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    done: Callable[[int, int], None] = lambda written, total: None,
) -> dict[str, int]:
    """Write synthetic features for the published annotations of LLP, UnAV-100, AVE or LFAV, and a copy of these.

    The annotation files tell the data set. Features follow the annotated events. Where a training video has none, as in
    LLP and LFAV, they are drawn: from LLP's statistics there, and at random times for LFAV's weak labels.

    Args:
        annotations_root: Folder with the published annotation files.
        out: A new or empty folder for the features, the annotation files and a note that the features are synthetic.
        limit: Maximum number of videos of each split; all if None.
        seed: Seed of everything random.
        done: Called with the number of videos written so far and of all videos.

    Returns:
        Split -> number of videos.

    Raises:
        FileExistsError: `out` is not empty.
        FileNotFoundError: There are no annotation files.
        ImportError: AVE's files need h5py.
        ValueError: There are annotations of two data sets, or a row is malformed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists already and is not an empty folder: choose another one")
    synthetic = _set_of(annotations_root)(annotations_root, limit)
    total, written = sum(map(len, synthetic.chosen.values())), 0
    out.mkdir(parents=True, exist_ok=True)
    (out / SYNTHETIC_MARKER).write_text(f"coleaf synth: features drawn from a model, limit {limit}, seed {seed}\n")
    with synthetic.writing(out) as write:
        for split, videos in synthetic.chosen.items():
            for video in videos:
                write(split, video, np.random.default_rng([seed, written]))
                written += 1
                done(written, total)
    return {split: len(videos) for split, videos in synthetic.chosen.items()}


def _set_of(root: Path) -> type[SyntheticSet]:
    """The data set whose annotation files a folder has."""
    found = [(kind, name) for kind in _SETS for name in kind.markers if find_file(root, name) is not None]
    kinds = {kind for kind, _ in found}
    if len(kinds) > 1:
        names = [next(name for kind, name in found if kind is one) for one in _SETS if one in kinds]
        raise ValueError(f"{root}: has the annotations of several data sets ({', '.join(names)}): keep one of them")
    if not kinds:
        names = [kind.markers[0] for kind in _SETS]
        raise FileNotFoundError(
            f"{root}: no annotations of LLP, UnAV-100, AVE or LFAV ({', '.join(names)}) in it or in its folder "
            "'annotations'"
        )
    return found[0][0]
