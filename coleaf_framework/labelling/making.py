"""Hard pseudo-labels of segments by a teacher, written as a folder that training reads.

DIR/audio/<id>.npy, DIR/visual/<id>.npy     (T,C) float32 in {0,1}, of the modality that the teacher hears or sees
DIR/labels.yaml                             kind npy, the classes, and how each modality's labels were made

Shape letters: see `protocol.py`; S segments of all videos of a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coleaf_framework.data import AVVPDataset
from coleaf_framework.labelling.rule import label_segments
from coleaf_framework.labelling.teachers import Teacher
from coleaf_framework.labelling.thresholds import (
    thresholds_by_false_positives,
    thresholds_by_share,
    thresholds_by_truth,
)
from coleaf_framework.labelling.weak import weak_label
from coleaf_framework.protocol import MODALITIES, Modality
from coleaf_framework.storage import make_folder, read_yaml, write_atomically, write_yaml

LABELS = "labels.yaml"
Show = Callable[[Sequence[int]], Iterable[int]]
"""Gives the same numbers, and shows how far they have come."""


@dataclass(frozen=True)
class Judged:
    """A teacher's logits for every segment of a split.

    Args:
        data: The split.
        logits: (T,C) for each video.
        weak: (N,C) in {0,1}, what labels are confined to.
        truth: (S,C) bool, the modality's segment truth; None where the split has none.
    """

    data: AVVPDataset
    logits: tuple[Tensor, ...]
    weak: Tensor
    truth: Tensor | None

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        """Logits and weak label of every segment, (S,C) each."""
        lengths = torch.tensor([len(x) for x in self.logits])
        return torch.cat(self.logits), self.weak.repeat_interleave(lengths, 0)


def judge(data: AVVPDataset, teacher: Teacher, show: Show = iter) -> Judged:
    """Let a teacher judge every video of a split.

    Raises:
        FileNotFoundError, ValueError: As `Teacher.logits` does, or its logits are of another shape or not finite.
    """
    logits, weak, truth = [], [], []
    for i in show(range(len(data))):
        video, segments = data[i], data.segments(i)
        found = teacher.logits(video, segments)
        if found.shape != (segments, len(data.classes)) or not torch.isfinite(found).all():
            raise ValueError(
                f"video {video.id!r}: the teacher's logits are {tuple(found.shape)}, where finite "
                f"({segments}, {len(data.classes)}) were expected"
            )
        logits.append(found)
        weak.append(weak_label(video, teacher.modality))
        if video.segment_labels is not None:
            truth.append(video.segment_labels[:, MODALITIES.index(teacher.modality)])
    whole = torch.cat(truth) if len(truth) == len(logits) else None
    return Judged(data, tuple(logits), torch.stack(weak), whole)


@dataclass(frozen=True)
class Thresholds:
    """Thresholds per class.

    Args:
        values: (C,).
        told: A sentence that says where they come from and what was looked at.
    """

    values: Tensor
    told: str


def choose_by_truth(judged: Judged) -> Thresholds:
    """Thresholds with the highest F against the segment truth of a validation split.

    Raises:
        ValueError: The split has no truth.
    """
    where = f"{judged.data.name} {judged.data.split}"
    if judged.truth is None:
        raise ValueError(
            f"{where} has no segment truth to choose thresholds by: pass --positive-share or --false-positive-rate, "
            "which need none"
        )
    values, common = thresholds_by_truth(*judged.rows, judged.truth)
    told = f"chosen per class for the highest F against the segment truth of {where}, which they have thus seen"
    if common:
        names = ", ".join(judged.data.classes[c] for c in common)
        told += f"; true in no segment there, so with the threshold of all classes together: {names}"
    return Thresholds(values, told)


def choose_without_truth(
    judged: Judged, positive_share: float | None = None, false_positive_rate: float | None = None
) -> Thresholds:
    """Thresholds that one of two shares of the segments exceeds; see `thresholds.py`. Reads weak labels alone.

    Raises:
        ValueError: Not exactly one share is given, or it is out of range; or a class has no video to count on.
    """
    if (positive_share is None) == (false_positive_rate is None):
        raise ValueError("pass one of --positive-share and --false-positive-rate")
    where = f"{judged.data.name} {judged.data.split}"
    has = judged.weak > 0.5
    counted, verb = (has, "has") if positive_share is not None else (~has, "lacks")
    if none := [
        name for name, any_video in zip(judged.data.classes, counted.any(0).tolist(), strict=True) if not any_video
    ]:
        raise ValueError(f"{where}: no weak label {verb} {none[0]!r}, so this rule has no segments to choose by")
    if positive_share is not None:
        values, share = thresholds_by_share(*judged.rows, positive_share), positive_share
    else:
        assert false_positive_rate is not None
        values, share = thresholds_by_false_positives(*judged.rows, false_positive_rate), false_positive_rate
    told = f"exceeded by {100 * share:g}% of the segments of videos whose weak label {verb} the class, {where}"
    return Thresholds(values, f"{told}; no segment truth was read")


def require_new(out: Path, modality: Modality) -> None:
    """Check that labels of a modality can be written into a folder.

    Raises:
        FileExistsError: There are files of that modality already, which might not be replaced.
    """
    folder = out / modality
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: holds labels already: remove it, or write to another --out")


def write_pseudo_labels(
    out: Path, judged: Sequence[Judged], teacher: Teacher, thresholds: Thresholds, about: Mapping[str, Any]
) -> Tensor:
    """Write one modality's labels of some splits; the other modality's in the same folder stay.

    `labels.yaml` comes last, so that it never names labels that are not there.

    Args:
        out: The folder.
        judged: Splits of one data set, at least one.
        teacher: Who judged them.
        thresholds: What its logits must exceed.
        about: More for the record, such as prompts.

    Returns:
        (C,) in [0,1], the share of positive segments in videos whose weak label has the class; NaN without such.

    Raises:
        FileExistsError: There are labels of that modality already.
        ValueError: The folder has labels of other classes.
    """
    modality, classes = teacher.modality, list(judged[0].data.classes)
    require_new(out, modality)
    before = _read_record(out / LABELS, classes)
    make_folder(out / modality)
    digest = hashlib.sha256()
    positive, possible = torch.zeros(2, len(classes), dtype=torch.float64)
    for split in judged:
        for video, logits, weak in zip(split.data.ids, split.logits, split.weak, strict=True):
            labels = label_segments(logits, weak, thresholds.values)
            positive, possible = positive + labels.sum(0), possible + len(labels) * weak
            digest.update(f"{video}\n".encode() + labels.numpy().tobytes())
            _write_array(out / modality / f"{video}.npy", labels)
    record = {
        **teacher.about,
        **about,
        "thresholds": dict(zip(classes, thresholds.values.tolist(), strict=True)),
        "thresholds_from": thresholds.told,
        "data": judged[0].data.name,
        "videos": {split.data.split: len(split.data) for split in judged},
        "digest": digest.hexdigest()[:16],
    }
    write_yaml(out / LABELS, {"kind": "npy", "intersect": True, "classes": classes, **before, modality: record})
    shares: Tensor = positive / possible
    return shares


def _read_record(path: Path, classes: list[str]) -> dict[str, Any]:
    """The records of the modalities in a `labels.yaml`; empty where there is none."""
    if not path.exists():
        return {}
    record = read_yaml(path)
    if record.get("kind") != "npy" or record.get("classes") != classes:
        raise ValueError(f"{path}: records labels of another kind or other classes: write to another --out")
    return {modality: record[modality] for modality in MODALITIES if modality in record}


def _write_array(path: Path, labels: Tensor) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, labels.numpy(), allow_pickle=False)

    write_atomically(path, write)
