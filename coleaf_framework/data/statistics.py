"""LLP's statistics, from which `SyntheticLLP` is drawn; measured from the published annotations by

    python -m coleaf_framework.data.statistics ANNOTATIONS_DIR > coleaf_framework/data/llp_statistics.json

Label sets come from the training split, everything about intervals from validation and test.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coleaf_framework.data.annotations import dense_labels, read_annotations
from coleaf_framework.data.folder import LLP_CLASSES
from coleaf_framework.protocol import MODALITIES

SEGMENTS = 10
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LLPStatistics:
    """Frequencies of labels and events in LLP. Each row of probabilities sums to 1.

    Args:
        label_sets: The S sets of class indices that occur in training videos.
        label_set_probs: Probability of each label set, (S,).
        type_probs: Probability that an event of a class is audible-only, visible-only or audible-visible, (C,3).
        length_probs: Probability that a run of a class lasts 1 ... 10 segments, (M,C,10).
        run_probs: Probability that an event has 1 ... 10 runs in a video, (M,10).
        same_interval: Probability that an audible-visible event is heard exactly while it is seen.
    """

    label_sets: tuple[tuple[int, ...], ...]
    label_set_probs: Floats
    type_probs: Floats
    length_probs: Floats
    run_probs: Floats
    same_interval: float

    def cooccurrence(self) -> Floats:
        """Probability that a video with class i also has class j, (C,C); 0 on the diagonal."""
        present = np.zeros((len(self.label_sets), len(self.type_probs)))
        for row, labels in zip(present, self.label_sets, strict=True):
            row[list(labels)] = 1
        joint = (present * self.label_set_probs[:, None]).T @ present
        conditional: Floats = joint / joint.diagonal()[:, None]
        np.fill_diagonal(conditional, 0)
        return conditional


def measure(root: Path) -> dict[str, Any]:
    """Count labels and events in LLP's published annotations.

    Args:
        root: Folder with the annotations.

    Returns:
        The content of llp_statistics.json, from which `llp_statistics` computes `LLPStatistics`.
    """
    annotations = read_annotations(root, LLP_CLASSES)
    sets = Counter(annotations.weak["train"].values())
    classes = len(LLP_CLASSES)
    types = np.zeros((classes, 3), dtype=int)
    lengths = np.zeros((2, classes, SEGMENTS), dtype=int)
    runs = np.zeros((2, SEGMENTS), dtype=int)
    same = 0
    for intervals in annotations.dense.values():
        truth = dense_labels(intervals, SEGMENTS, classes)
        audible, visible = np.any(truth[:, 0], axis=0), np.any(truth[:, 1], axis=0)
        for c in np.flatnonzero(np.logical_or(audible, visible)).tolist():
            types[c, 2 if audible[c] and visible[c] else int(visible[c])] += 1
            same += bool(audible[c] and visible[c] and (truth[:, 0, c] == truth[:, 1, c]).all())
            for m in range(2):
                edges = np.diff(np.pad(truth[:, m, c].astype(int), 1))
                run_lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
                if len(run_lengths):
                    runs[m, len(run_lengths) - 1] += 1
                    np.add.at(lengths[m, c], run_lengths - 1, 1)
    return {
        "source": "counts over the published LLP annotations; see coleaf_framework/data/statistics.py",
        "label_sets": [{"classes": list(labels), "count": n} for labels, n in sorted(sets.items())],
        "types": types.tolist(),
        "run_lengths": dict(zip(MODALITIES, lengths.tolist(), strict=True)),
        "runs": dict(zip(MODALITIES, runs.tolist(), strict=True)),
        "same_interval": round(same / int(types[:, 2].sum()), 4),
    }


@cache
def llp_statistics() -> LLPStatistics:
    """LLP's statistics, from the counts in llp_statistics.json."""
    text = resources.files("coleaf_framework.data").joinpath("llp_statistics.json").read_text(encoding="utf-8")
    counts = json.loads(text)

    def normalised(values: Any) -> Floats:
        # A class that never has a run in a modality gets LLP's overall lengths there.
        x = np.asarray(values, dtype=np.float64)
        total = x.sum(-1, keepdims=True)
        fallback = x.sum(-2, keepdims=True) if x.ndim > 1 else x
        x = np.where(total > 0, x, fallback)
        result: Floats = x / x.sum(-1, keepdims=True)
        return result

    return LLPStatistics(
        label_sets=tuple(tuple(entry["classes"]) for entry in counts["label_sets"]),
        label_set_probs=normalised([entry["count"] for entry in counts["label_sets"]]),
        type_probs=normalised(counts["types"]),
        length_probs=normalised([counts["run_lengths"][m] for m in MODALITIES]),
        run_probs=normalised([counts["runs"][m] for m in MODALITIES]),
        same_interval=counts["same_interval"],
    )


if __name__ == "__main__":
    json.dump(measure(Path(sys.argv[1])), sys.stdout)
    sys.stdout.write("\n")
