"""One process of tests/training/test_distributed.py, started by torchrun or alone; writes its losses and scores.

python rank_worker.py DATA OUT
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPDataset, AVVPFolder
from coleaf_framework.storage import write_tensors
from tests.helpers.videos import RandomVideos

PAST = {"anchor_warmup": 0, "reference_warmup": 0}
QUIET = {"dropout": 0.0}
RUNS: dict[str, dict[str, Any]] = {
    "paper": {"config": CoLeaFConfig(**PAST)},
    "official": {"config": CoLeaFConfig.official(**PAST)},
    "accumulated": {"config": CoLeaFConfig(**PAST), "accumulate": 2},
    "official, accumulated": {"config": CoLeaFConfig.official(**PAST), "accumulate": 2},
    "warming up": {"config": CoLeaFConfig(anchor_loss="video", anchor_warmup=1)},
    "label teacher": {
        "config": CoLeaFConfig(**PAST, segment_label_weight=1.0, label_teacher_ema=0.5, label_teacher_warmup=0),
        "data": "random",
    },
    "valor": {
        "config": CoLeaFConfig(**PAST, segment_label_weight=1.0),
        "data": "random",
        "anchor": "valor",
        "accumulate": 2,
    },
    "mm_pyramid": {
        "config": CoLeaFConfig(**PAST),
        "anchor": "mm_pyramid",
        "options": {"levels": 2, "attention_dropout": 0.0, **QUIET},
        "data": "random",
    },
    "ma": {"config": CoLeaFConfig(**PAST), "anchor": "ma", "accumulate": 2},
    "jomold": {
        "config": CoLeaFConfig(**PAST),
        "anchor": "jomold",
        "options": {
            **QUIET,
            "visual_dropout": 0.0,
            "noise_ratios": {"audio": 0, "visual": 0},
        },  # others are ranked on each rank
    },
    "ave": {"config": CoLeaFConfig(**PAST), "anchor": "ave", "options": {}, "data": "random"},
    "avsdn": {"config": CoLeaFConfig(**PAST), "anchor": "avsdn", "options": {}, "data": "random"},
    "other streams": {"config": CoLeaFConfig(**PAST), "data": "random", "accumulate": 2},
}
for name in ("ma", "jomold", "mm_pyramid", "valor", "ave", "avsdn"):
    RUNS[f"{name}, official"] = RUNS[name] | {"config": CoLeaFConfig.official(**PAST)}


def data_sets(root: Path, kind: str) -> tuple[AVVPDataset, AVVPDataset]:
    """Training and validation split: LLP's streams from the folder, or UnAV's names in memory."""
    if kind == "random":
        return RandomVideos("train", [5, 9, 2, 7, 3, 4], pseudo=True), RandomVideos("val", [3, 6, 4])
    return AVVPFolder(root, "train"), AVVPFolder(root, "val")


def main() -> None:
    root, out = Path(sys.argv[1]), Path(sys.argv[2])
    rank = os.environ.get("RANK", "0")
    for name, run in RUNS.items():
        train, val = data_sets(root, run.get("data", "folder"))
        torch.manual_seed(0)
        model = wrap(
            run.get("anchor", "han"), streams=train.streams, num_classes=len(train.classes), config=run["config"],
            anchor_options={"width": 8} | run.get("options", QUIET), reference_options=QUIET,
        )  # fmt: skip
        for module in model.modules():  # so that every parameter has a gradient worth comparing
            if isinstance(module, nn.LayerNorm):
                nn.init.normal_(module.weight, 1, 0.5)
        # Steps too small to move anything: the last gradient is that of the first weights.
        config = TrainerConfig(
            epochs=1, batch_size=4, learning_rate=1e-12, device="cpu", accumulate=run.get("accumulate", 1),
            monitor=("segment/A",),
        )  # fmt: skip
        trainer = CoLeaFTrainer(model, config, out=out / name, quiet=True)
        history = trainer.fit(train, val)
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        write_tensors(out / f"{name}-{rank}.gradients", gradients)
        predictions = trainer.predict(val, truth=True)
        result = {"losses": history[0]["losses"], "val": history[0]["val"], "test": predictions.scores()}
        result["lengths"] = dict(zip(predictions.ids, predictions.mask.sum(1).tolist(), strict=True))
        (out / f"{name}-{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
