"""Published label files that hold pickles, converted to plain arrays and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coleaf_framework._config import shown
from coleaf_framework.data.labels.config import LABELS_FILE
from coleaf_framework.data.labels.pickles import read_object_arrays, read_pickle
from coleaf_framework.data.labels.removals import write_removals
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.storage import make_folder, require_file, write_yaml

REMOVALS_FILE = "removals.json"
_LSLD_KEYS = {"audio": "label_a", "visual": "label_v"}


def convert_labels(path: Path, out: Path) -> str:
    """Convert LSLD's npz to `out/audio/<id>.npy` and `out/visual/<id>.npy`, or MA's pickle to `out/removals.json`.

    Nothing in the files is executed, and tensors of any device are read on the CPU. A `labels.yaml` beside the arrays
    says their kind.

    Args:
        path: The npz or pickle.
        out: Folder to write; it must be empty or not exist.

    Returns:
        A sentence on what was written.

    Raises:
        FileNotFoundError: There is no such file.
        FileExistsError: The folder holds files.
        ValueError: The file is damaged or holds something else. The message names it.
    """
    require_file(path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: holds something already; take another --out")
    if path.suffix == ".npz":
        return _convert_arrays(path, out)
    if path.suffix == ".pkl":
        return _convert_removals(path, out)
    raise ValueError(f"{path}: expected LSLD's .npz or MA's .pkl")


def _convert_arrays(path: Path, out: Path) -> str:
    found = read_object_arrays(path)
    if set(found) != set(_LSLD_KEYS.values()):
        raise ValueError(f"{path}: holds {sorted(found)}, where {sorted(_LSLD_KEYS.values())} were expected")
    arrays = {modality: _arrays(found[key], f"{path}: {key}") for modality, key in _LSLD_KEYS.items()}
    for modality, by_video in arrays.items():
        make_folder(out / modality)
        for video, array in by_video.items():
            np.save(out / modality / f"{video}.npy", array)
    write_yaml(out / LABELS_FILE, {"kind": "lsld", "about": {"converted_from": path.name}})
    return f"{out}: labels of {' and '.join(f'{len(x)} videos ({m})' for m, x in arrays.items())}"


def _arrays(content: Any, where: str) -> dict[str, np.ndarray[Any, Any]]:
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{where} is {shown(content)}, where a mapping of ids to tensors was expected")
    arrays = {}
    for video, x in content.items():
        plain = isinstance(video, str) and video not in ("", ".", "..") and not set("/\\\0") & set(video)
        if not plain:
            raise ValueError(f"{where}: {shown(video)} is no id of a video")
        if not isinstance(x, Tensor) or x.ndim != 2:
            raise ValueError(f"{where}: video {video!r} has {shown(x)}, where a tensor (T, C) was expected")
        arrays[video] = x.float().numpy()
    return arrays


def _convert_removals(path: Path, out: Path) -> str:
    content = read_pickle(path)
    if not isinstance(content, list) or len(content) != len(MODALITIES):
        raise ValueError(f"{path}: expected a list [visual, audio], found {shown(content)}")
    visual, audio = ([[_row(row, path) for row in rows] for rows in _lists(lists, path)] for lists in content)
    make_folder(out)
    write_removals(out / REMOVALS_FILE, visual, audio)
    counts = sum(map(len, visual)), sum(map(len, audio))
    return f"{out / REMOVALS_FILE}: {counts[0]} visual and {counts[1]} audio labels to remove"


def _lists(lists: Any, path: Path) -> Sequence[Sequence[Any]]:
    if not isinstance(lists, list) or not all(isinstance(rows, list) for rows in lists):
        raise ValueError(f"{path}: {shown(lists)}, where a list of rows for each class was expected")
    return lists


def _row(row: Any, path: Path) -> int:
    if isinstance(row, Tensor) and row.ndim == 0 and not row.is_floating_point() and row.dtype != torch.bool:
        return int(row)
    if isinstance(row, int) and not isinstance(row, bool):
        return row
    raise ValueError(f"{path}: {shown(row)}, where the number of a row was expected")
