"""Other streams than LLP's, in videos of unequal length, through wrapping, training, resuming, compiling and loading.

Several ranks are in `test_distributed.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from coleaf_framework import CoLeaF, CoLeaFConfig, CoLeaFTrainer, TrainerConfig, describe, load_anchor, wrap
from coleaf_framework.data import collate
from tests.helpers.training import Interrupted, interrupt_at, resume_state, same_weights
from tests.helpers.videos import UNAV_LIKE, RandomVideos

LENGTHS = [5, 9, 2, 7, 3, 4]
OPTIONS: dict[str, dict[str, Any]] = {
    "han": {"width": 8},
    "cmpae": {"width": 8, "noise_ratios": {"audio": 0.0, "visual": 0.0}},
}
EVERY_TERM = CoLeaFConfig(anchor_warmup=0, reference_warmup=0)


def make(name: str, **options: Any) -> CoLeaF:
    torch.manual_seed(0)
    anchor_options = OPTIONS[name] | options
    return wrap(name, streams=UNAV_LIKE, num_classes=4, anchor_options=anchor_options, config=EVERY_TERM,
        reference_options=options)  # fmt: skip


def trained(model: CoLeaF, out: Path | None = None, on_existing: Any = "refuse", **settings: Any) -> CoLeaFTrainer:
    config = TrainerConfig(
        **({"epochs": 2, "batch_size": 2, "device": "cpu", "monitor": (), "bucket_by_length": True} | settings)
    )
    trainer = CoLeaFTrainer(model, config, out=out, on_existing=on_existing, quiet=True)
    trainer.fit(RandomVideos("train", LENGTHS), RandomVideos("val", [3, 6]))
    return trainer


@pytest.mark.parametrize("name", list(OPTIONS))
def test_the_anchor_of_a_run_answers_as_in_it(name: str, tmp_path: Path) -> None:
    """Loaded from its folder alone, for videos of unequal length."""
    trainer = trained(make(name), tmp_path / "run")
    data = RandomVideos("val", [3, 6])
    batch = collate([data[0], data[1]], data.streams)
    anchor = load_anchor(tmp_path / "run")
    with torch.no_grad():
        expected = trainer.model.eval().infer(batch)
        answer = anchor(mask=batch.mask, **batch.streams)
    torch.testing.assert_close(answer.segment_probs, expected.segment_probs)


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(make("cmpae"), tmp_path / "whole", checkpoint_steps=1)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(Interrupted):
            trained(make("cmpae"), tmp_path / "run", checkpoint_steps=1)
    trained(make("cmpae"), tmp_path / "run", on_existing="resume", checkpoint_steps=1)
    assert same_weights(resume_state(tmp_path / "run")["model"], resume_state(tmp_path / "whole")["model"])


@pytest.mark.slow
def test_compiled_networks_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """With masks, and a backend that needs no compiler."""
    original, losses = nn.Module.compile, []
    monkeypatch.setattr(nn.Module, "compile", lambda net, **how: original(net, backend="aot_eager", **how))
    for compiled in (False, True):
        config = TrainerConfig(epochs=1, batch_size=3, device="cpu", monitor=(), compile=compiled)
        trainer = CoLeaFTrainer(make("han", dropout=0.0), config, quiet=True)
        losses.append(trainer.fit(RandomVideos("train", [2, 3, 1]))[-1]["losses"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_inspect_proposes_each_stream_by_its_own_name(name: str) -> None:
    found = describe(make(name).strip(), streams=UNAV_LIKE, num_classes=4)
    assert found.call is not None, found.problem
    assert "inputs" not in found.call
