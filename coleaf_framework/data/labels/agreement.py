"""How far pseudo-labels agree with the ground truth of a split, and with its weak labels.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coleaf_framework.data.labels.attached import WithPseudoLabels
from coleaf_framework.losses.segment_labels import HARD_THRESHOLD
from coleaf_framework.protocol import MODALITIES


@dataclass(frozen=True)
class Agreement:
    """Counts over the segments of a split of which the pseudo-labels say something; a label above 0.5 is positive.

    Args:
        classes: The C class names.
        split: The split.
        videos: Number of videos.
        said: (M,C), segments of which the labels say something.
        positive: (M,C), positive ones of them.
        outside: (M,C), positive ones of a class that the video's weak label lacks.
        weak: (M,C), videos whose weak label has the class and of which the labels say something.
        confirmed: (M,C), those of them with a positive segment.
        true_positive: (M,C), positive segments that are so in the ground truth; None without it.
        truth: (M,C), segments that the ground truth has the class in, among `said`; None without it.
    """

    classes: tuple[str, ...]
    split: str
    videos: int
    said: Tensor
    positive: Tensor
    outside: Tensor
    weak: Tensor
    confirmed: Tensor
    true_positive: Tensor | None
    truth: Tensor | None

    def rows(self) -> list[dict[str, Any]]:
        """One row per modality and class, and one per modality of all classes ("all"): counts, and scores in percent.

        Keys: modality, class, labels, positive, outside, weak_videos, confirmed_videos; with ground truth also true,
        correct, precision, recall and f, the scores None where there is nothing to divide by.
        """
        rows = []
        for m, modality in enumerate(MODALITIES):
            for c, name in enumerate(self.classes):
                rows.append(self._row(modality, name, m, slice(c, c + 1)))
            rows.append(self._row(modality, "all", m, slice(None)))
        return rows

    def _row(self, modality: str, name: str, m: int, at: slice) -> dict[str, Any]:
        def count(x: Tensor) -> int:
            return int(x[m, at].sum())

        row: dict[str, Any] = {
            "modality": modality,
            "class": name,
            "labels": count(self.said),
            "positive": count(self.positive),
            "outside": count(self.outside),
            "weak_videos": count(self.weak),
            "confirmed_videos": count(self.confirmed),
        }
        if self.true_positive is not None and self.truth is not None:
            correct, positive, true = count(self.true_positive), row["positive"], count(self.truth)
            row |= {
                "true": true,
                "correct": correct,
                "precision": _percent(correct, positive),
                "recall": _percent(correct, true),
                "f": _percent(2 * correct, positive + true),
            }
        return row

    def sentences(self) -> list[str]:
        """What the counts say of the weak labels: the share of positives outside, and classes never confirmed."""
        lines = []
        for m, modality in enumerate(MODALITIES):
            if not int(self.said[m].sum()):
                lines.append(f"{modality}: no labels")
                continue
            positive, outside = int(self.positive[m].sum()), int(self.outside[m].sum())
            share = 100 * outside / max(1, positive)
            text = (
                f"{modality}: {outside:,} of {positive:,} positive segments ({share:.1f} %) are outside the weak label"
            )
            never = [
                name for c, name in enumerate(self.classes) if int(self.weak[m, c]) and not int(self.confirmed[m, c])
            ]
            confirmed, weak = int(self.confirmed[m].sum()), int(self.weak[m].sum())
            text += f"; {confirmed:,} of {weak:,} weak labels have a positive segment"
            lines.append(text + (f"; never: {', '.join(never)}" if never else ""))
        return lines

    def as_dict(self) -> Mapping[str, Any]:
        """All rows as plain values."""
        return {"split": self.split, "videos": self.videos, "threshold": HARD_THRESHOLD, "rows": self.rows()}


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def check_labels(data: WithPseudoLabels) -> Agreement:
    """Count how far the pseudo-labels of a split agree with its ground truth, if it has any, and its weak labels.

    Args:
        data: The split; every video is read.

    Returns:
        Counts (M,C) int64, and the number of videos.
    """
    shape = len(MODALITIES), len(data.classes)
    counts = {
        name: torch.zeros(shape, dtype=torch.int64)
        for name in ("said", "positive", "outside", "weak", "confirmed", "true_positive", "truth")
    }
    for index in range(len(data)):
        video, found = data.dataset[index], data.pseudo_labels(index)
        positive = (found.labels > HARD_THRESHOLD) & found.mask
        weak = (video.labels > 0) & found.mask.any(0)
        counts["said"] += found.mask.sum(0)
        counts["positive"] += positive.sum(0)
        counts["outside"] += (positive & (video.labels == 0)).sum(0)
        counts["weak"] += weak
        counts["confirmed"] += weak & positive.any(0)
        if video.segment_labels is not None:
            counts["true_positive"] += (positive & video.segment_labels).sum(0)
            counts["truth"] += (video.segment_labels & found.mask).sum(0)
    if not data.has_ground_truth:
        true: dict[str, Tensor | None] = {"true_positive": None, "truth": None}
        return Agreement(data.classes, data.split, len(data), **{**counts, **true})  # type: ignore[arg-type]
    return Agreement(data.classes, data.split, len(data), **counts)
