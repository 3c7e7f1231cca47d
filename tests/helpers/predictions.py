"""Random predictions of made-up runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.results.predictions import Predictions, write_predictions


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


def write_run(folder: Path, predictions: Predictions, config: str = "", log: str = "") -> Path:
    """A run folder with predictions, without a network."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"stands for weights")
    config = config or "anchor: {name: han}\n"
    (folder / "config.yaml").write_text(config + ("" if "model:" in config else "model: {}\ntrain: {}\n"))
    if log:
        (folder / "log.jsonl").write_text(log)
    write_predictions(folder, predictions)
    return folder
