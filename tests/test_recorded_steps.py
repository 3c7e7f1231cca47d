"""Training steps hold the numbers that were recorded before the step's code was last reorganised.

`tests/data/recorded_steps.json` has, of each run below, every epoch's loss terms, learning rate and weights theta. An
epoch is one step, or two where the run says so. Weights come from NumPy and nothing is dropped, so the numbers do not
hang on a version of torch's generator. A change that is meant to change numbers records them again, and says so:

    python -m tests.test_recorded_steps
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder
from tests.helpers.data import write_data_set

RECORDED = Path(__file__).parent / "data/recorded_steps.json"
QUIET = {"dropout": 0.0}
CMPAE = {"absence_dropout": 0.0, "visual_dropout": 0.0, "noise_ratios": {"audio": 0.5, "visual": 0.5}}
RUNS: dict[str, dict[str, Any]] = {
    "paper": {"config": CoLeaFConfig()},
    "official": {"anchor": "cmpae", "config": CoLeaFConfig.official(), "options": CMPAE},
    "head start and moving average": {"config": CoLeaFConfig(reference_head_start=2, reference_ema=0.9)},
    "accumulate": {"config": CoLeaFConfig(anchor_warmup=0, reference_warmup=0), "trainer": {"accumulate": 2}},
    "official, accumulate": {
        "anchor": "cmpae",
        "config": CoLeaFConfig.official(anchor_warmup=0, reference_warmup=1, reference_ema=0.9),
        "options": CMPAE,
        "trainer": {"accumulate": 2, "batch_size": 4, "epochs": 3},
    },
    "alone": {"config": CoLeaFConfig(enabled=False), "trainer": {"weight_decay": 0.1, "label_smoothing": 0.1}},
}


def set_weights(model: nn.Module) -> None:
    """Draw every weight anew, from NumPy's generator."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, x in model.named_parameters():
            if not name.startswith("teacher"):
                scale = 0.5 if x.ndim > 1 else 0.1
                x.copy_(torch.from_numpy(scale * rng.standard_normal(tuple(x.shape))) + (x.ndim == 1) * 0.5)
        if model.teacher is not None:
            model.teacher.average.load_state_dict(model.reference.state_dict())


def train(name: str, root: Path) -> list[dict[str, Any]]:
    """A run's epochs: "losses", "lr" and "theta" of each."""
    run, data = RUNS[name], AVVPFolder(root, "train")
    model = wrap(
        run.get("anchor", "han"),
        streams=data.streams,
        num_classes=3,
        config=run["config"],
        anchor_options={"width": 8} | QUIET | run.get("options", {}),
        reference_options=QUIET,
    )
    set_weights(model)
    settings = {"epochs": 7, "batch_size": 6, "lr_step": 2, "device": "cpu"} | run.get("trainer", {})
    history = CoLeaFTrainer(model, TrainerConfig(**settings), quiet=True).fit(data)
    return [{key: entry[key] for key in ("losses", "lr", "theta") if key in entry} for entry in history]


@pytest.mark.parametrize("name", RUNS)
def test_steps_are_those_recorded(name: str, data_root: Path) -> None:
    recorded = json.loads(RECORDED.read_text())[name]
    trained = train(name, data_root)
    assert len(trained) == len(recorded)
    for now, before in zip(trained, recorded, strict=True):
        assert now.keys() == before.keys()
        assert now["lr"] == before["lr"]
        for kind in ("losses", "theta"):
            assert now.get(kind, {}) == pytest.approx(before.get(kind, {}), rel=1e-6, abs=1e-9)


def test_the_recorded_steps_exercise_every_part() -> None:
    recorded = json.loads(RECORDED.read_text())
    official = set(recorded["official"][-1]["losses"])
    assert official > {"anchor/contrast", "anchor/cooccurrence", "anchor/mutual", "reference/self_modality"}
    assert any(0 < x < 1 for run in recorded.values() for entry in run for x in entry.get("theta", {}).values())
    assert set(recorded["head start and moving average"][0]["losses"]) == {"reference/video", "reference/class_tokens"}


def main() -> None:
    """Record."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = write_data_set(Path(folder) / "tiny")
        RECORDED.write_text(json.dumps({name: train(name, root) for name in RUNS}, indent=1) + "\n")


if __name__ == "__main__":
    main()
