"""Thresholds chosen on a validation split, kept beside the run, and used when it is scored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import pad

from coleaf_framework.data import AVVPDataset
from coleaf_framework.metrics import ChosenGates, DecisionConfig, ModalityThresholds, choose_gates
from coleaf_framework.protocol import AnchorOutput
from coleaf_framework.storage import read_yaml, write_yaml
from coleaf_framework.training.trainer import CoLeaFTrainer


@dataclass(frozen=True)
class Selection:
    """A decision with chosen gates, and how it was chosen.

    Args:
        decision: the thresholds.
        chosen: gates (M,C) and the column before and after.
        about: what the file says of it: data, split, column, search, and whether the test split was forced.
    """

    decision: DecisionConfig
    chosen: ChosenGates
    about: Mapping[str, Any]

    def save(self, path: Path, weights: Path | None = None) -> None:
        """Write a file that `load_decision` reads, atomically; `weights` is the file that it was chosen for."""
        about = dict(self.about) | ({"weights": digest(weights)} if weights is not None else {})
        write_yaml(path, {"decision": self.decision.model_dump(mode="json"), "chosen": about})


def select_thresholds(trainer: CoLeaFTrainer, data: AVVPDataset, *, force: bool = False, **how: Any) -> Selection:
    """Choose gates per class for a trained model; see `metrics.choose_gates`.

    Args:
        trainer: with the model, and the decision to begin with.
        data: a validation split with ground truth.
        force: allow the test split, whose scores then are no test any more.
        how: column, modalities, search and grid, as for `choose_gates`.

    Raises:
        ValueError: it is the test split, or as `choose_gates` and `CoLeaFTrainer.outputs` do.
    """
    if data.split == "test" and not force:
        raise ValueError(
            "thresholds chosen on the test split make its scores worthless: take --split val, or --force, which says so"
        )
    output, truth, mask = _collect(trainer, data)
    chosen = choose_gates(output, truth, trainer.decision, mask=mask, **how)
    audio, visual = (tuple(round(value, 6) for value in row.tolist()) for row in chosen.gates)
    thresholds = ModalityThresholds(audio=audio, visual=visual)
    about = {
        "data": data.name,
        "split": data.split,
        "videos": len(data),
        "forced": data.split == "test",
        **{key: list(value) if isinstance(value, tuple) else value for key, value in how.items()},
    }
    return Selection(trainer.decision.model_copy(update={"gate_threshold": thresholds}), chosen, about)


def _collect(trainer: CoLeaFTrainer, data: AVVPDataset) -> tuple[AnchorOutput, Tensor, Tensor]:
    """All videos of a split, padded to the longest: answers without tokens, truth, and which segments are real."""
    rows = []
    for batch, output in trainer.outputs(data, truth=True):
        truth = batch.segment_labels
        assert truth is not None
        assert output.modality_probs is not None
        mask = truth.new_ones(truth.shape[:2]) if batch.mask is None else batch.mask
        fields = (output.segment_probs, output.video_probs, output.modality_probs, truth, mask)
        rows.append([x.cpu() if x.dtype == torch.bool else x.float().cpu() for x in fields])
    longest = max(segment.shape[1] for segment, *_ in rows)
    for row in rows:
        for i in (0, 3, 4):
            row[i] = pad(row[i], (*[0, 0] * (row[i].ndim - 2), 0, longest - row[i].shape[1]))
    segment, video, modality, truth, mask = (torch.cat(column) for column in zip(*rows, strict=True))
    return AnchorOutput(segment, video, segment.new_empty(0), modality), truth, mask


def digest(weights: Path) -> str:
    """What tells one file of weights from another."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def load_decision(path: Path) -> tuple[DecisionConfig, Mapping[str, Any]]:
    """The decision that `Selection.save` wrote, and how it was chosen.

    Raises:
        FileNotFoundError, ValueError: no such file, or it is another one.
    """
    content = read_yaml(path)
    decision, chosen = (content.get(key) for key in ("decision", "chosen"))
    if not isinstance(decision, Mapping) or not isinstance(chosen, Mapping):
        raise ValueError(f"{path}: not a file that `coleaf thresholds` wrote: it has {sorted(map(str, content))}")
    try:
        return DecisionConfig(**decision), chosen
    except (TypeError, ValueError) as problem:
        reason = problem.errors()[0]["msg"] if isinstance(problem, ValidationError) else problem
        raise ValueError(f"{path}: not a decision: {reason}") from problem
