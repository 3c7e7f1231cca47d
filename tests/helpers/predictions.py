"""Random predictions of made-up runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.record import RunRecord
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.predictions_file import write_predictions


def made_up(seed: int, *, videos: int = 6, segments: int = 5, **changes: Any) -> Predictions:
    """Random predictions of the same random videos, of different lengths."""
    same = torch.Generator().manual_seed(0)
    mask = torch.arange(segments) < torch.randint(2, segments + 1, (videos, 1), generator=same)
    truth = (torch.rand(videos, segments, 2, 3, generator=same) < 0.3) & mask[:, :, None, None]
    own = torch.Generator().manual_seed(seed)
    fields: dict[str, Any] = {
        "parser": "HAN",
        "data": "made-up",
        "split": "val",
        "ids": tuple(f"video{n}" for n in range(videos)),
        "classes": ("Dog", "Car", "Speech"),
        "decision": DecisionConfig(),
        "segment_probs": torch.rand(videos, segments, 2, 3, generator=own),
        "modality_probs": torch.rand(videos, 2, 3, generator=own),
        "video_probs": torch.rand(videos, 3, generator=own),
        "truth": truth,
        "labels": truth.any((1, 2)).float(),
        "mask": mask,
    }
    return Predictions(**(fields | changes))


def joint(seed: int, **changes: Any) -> Predictions:
    """The same with ground truth that is the same for both modalities, of segments of 0.32 s."""
    base = made_up(seed, **changes)
    both = base.known_truth.any(2, keepdim=True).expand_as(base.known_truth).clone()
    return replace(base, truth=both, truth_kind="joint", segment_seconds=0.32)


def write_record(folder: Path, config: str = "", num_classes: int = 3) -> None:
    """The record of a run that was trained, with sections and keys of `config` (YAML) in place of made-up ones."""
    record: dict[str, Any] = {
        "anchor": {"name": "han"},
        "reference": {"name": "class_token"},
        "coleaf": {},
        "model": {"streams": {"audio": {"width": 4, "modality": "audio"}}, "num_classes": num_classes, "width": 8},
        "train": {"name": "made-up", "videos": 1, "ids": "0"},
    }
    for section, values in (yaml.safe_load(config) or {}).items():
        record[section] = {**record.get(section, {}), **values}
    RunRecord.model_validate(record).write(folder)


def write_run(folder: Path, predictions: Predictions, config: str = "", log: str = "") -> Path:
    """A run folder that holds the predictions and no network."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"stands for weights")
    write_record(folder, config)
    if log:
        (folder / "log.jsonl").write_text(log)
    write_predictions(folder, predictions)
    return folder
