"""Short training of a small HAN on the tiny data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder
from coleaf_framework.storage import parse_state
from coleaf_framework.training.losslog import LossLog

SMALL = {"width": 8}
FAST = {"batch_size": 4, "device": "cpu", "monitor": ("segment/A",)}
PAST = {"anchor_warmup": 0, "reference_warmup": 0}
CONFIGS = {"paper": CoLeaFConfig(**PAST), "official": CoLeaFConfig.official(**PAST)}


def fit(
    data_root: Path,
    out: Path | None,
    *,
    recipe: str = "paper",
    on_existing: Any = "refuse",
    train: Any = None,
    trackers: Any = None,
    **settings: Any,
) -> CoLeaFTrainer:
    """Three epochs of three steps."""
    train = AVVPFolder(data_root, "train") if train is None else train
    torch.manual_seed(0)
    model = wrap("han", streams=train.streams, num_classes=3, anchor_options=SMALL, config=CONFIGS[recipe])
    config = TrainerConfig(**(FAST | {"epochs": 3, "batch_size": 2} | settings))
    trainer = CoLeaFTrainer(model, config, out=out, on_existing=on_existing, quiet=True, trackers=trackers)
    trainer.fit(train, AVVPFolder(data_root, "val"))
    return trainer


def same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def resume_state(run: Path) -> Any:
    path = run / "resume.safetensors"
    return parse_state(path.read_bytes(), path)


class Interrupted(Exception):
    pass


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Stop training in the middle of an epoch, as a kill would."""
    original, steps = LossLog.add, iter(range(10**6))

    def add(self: LossLog, *args: Any) -> None:
        if next(steps) == step:
            raise Interrupted
        original(self, *args)

    monkeypatch.setattr(LossLog, "add", add)
