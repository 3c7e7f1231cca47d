"""Label files of single videos: `<id>.npy`, (T,C) in [0,1]. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coleaf_framework.data.npy_files import load_any_array


def read_label_array(path: Path, video: str, segments: int, classes: Sequence[str]) -> Tensor:
    """The labels in a file, (T,C) float32 in [0,1].

    Args:
        path: The file; its numbers may be of any real dtype, or bool.
        video: Id of the video, for messages.
        segments: T of the video.
        classes: The C class names.

    Returns:
        (T,C) float32 in [0,1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, has another shape, or holds NaN or a value outside [0,1]. The message names file,
            video, and class and segment of the value.
    """
    array = load_any_array(path)
    expected = segments, len(classes)
    if array.dtype.kind not in "fiub" or array.shape != expected:
        raise ValueError(
            f"{path}: found {array.dtype} {array.shape}, expected numbers of shape (T, C) = {expected}, the segments "
            f"of video {video!r} and the data set's classes"
        )
    wrong = np.argwhere(~((array >= 0) & (array <= 1)))  # NaN too
    if len(wrong):
        segment, c = wrong[0]
        raise ValueError(
            f"{path}: video {video!r} has the label {array[segment, c]} for class {classes[c]!r} in segment {segment}, "
            "where a number in [0, 1] was expected"
        )
    return torch.from_numpy(array.astype(np.float32))


def ids_in(folder: Path) -> set[str]:
    """Ids of the videos that a folder has a file of; empty where there is no such folder."""
    return {path.stem for path in folder.iterdir() if path.suffix == ".npy"} if folder.is_dir() else set()
