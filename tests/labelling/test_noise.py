"""Noise ratios of a run, as a command writes and training reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from coleaf_backbones.cmpae_output import CMPAEOutput
from torch import Tensor

from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.collaboration import read_noise_ratios
from coleaf_framework.data import AVVPFolder, collate
from coleaf_framework.labelling.noise import estimate_noise_ratios
from tests.helpers.command import Command
from tests.helpers.training import SMALL, fit


def slow_ratios(labels: Tensor, probs: Tensor) -> list[list[float]]:
    """Of one batch."""
    found = []
    for m, (target, threshold) in enumerate(((1, 0.6), (0.95, 1.8))):
        mean = probs[:, m].mean(0)
        found.append([])
        for c in range(labels.shape[1]):
            positive = [i for i in range(len(labels)) if labels[i, c] == 1]
            noise = sum(bool(probs[i, m, c] * target / mean[c] < threshold) for i in positive)
            found[-1].append(noise / len(positive))
    return found


def test_a_network_without_cross_attention_forward_answers_by_its_own_probabilities(data_root: Path) -> None:
    data = AVVPFolder(data_root, "train")
    batch = collate([data[i] for i in range(6)], data.streams)
    for name in ("han", "cmpae"):
        ratios = {"noise_ratios": {"audio": 0, "visual": 0}} if name == "cmpae" else {}
        model = wrap(name, streams=data.streams, num_classes=3, anchor_options=SMALL | ratios).eval()
        found = estimate_noise_ratios(CoLeaFTrainer(model, TrainerConfig(device="cpu", batch_size=4), quiet=True), data)
        with torch.no_grad():
            output = model.infer(batch)
        own = output.unimodal if isinstance(output, CMPAEOutput) else output
        assert isinstance(output, CMPAEOutput) == (name == "cmpae")
        assert found.tolist() == slow_ratios(batch.labels, own.modality_probs)


def test_the_command_writes_what_training_reads(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    assert "shares of wrong labels among those of 6 videos of tiny" in coleaf(
        "noise-ratios", "run", "--data", data_root, "--out", "r.npz"
    )
    ratios = read_noise_ratios(tmp_path / "r.npz")
    assert ratios.classes == ("Dog", "Car", "Speech")
    with np.load(tmp_path / "r.npz") as file:
        assert file["audio"].dtype == np.float64
        assert file["visual"].tolist() == list(ratios.visual)
    tiny = ("--data", data_root, "--set", "trainer.epochs=2", "--set", "trainer.device=cpu", "--set",
            "anchor.options.width=8", "--set", "trainer.batch_size=4", "--set", "trainer.monitor=[]")  # fmt: skip
    coleaf("train", *tiny, "--out", "again", "--set", "coleaf.labels=denoised", "--set", "coleaf.noise_ratios=r.npz")
    (tmp_path / "r.npz").unlink()
    coleaf("evaluate", "again", "--split", "val")
    coleaf("train", "--out", "again", "--resume", "--set", "trainer.epochs=3")


def test_the_published_file_is_read(published_noise_ratios: Path) -> None:
    ratios = read_noise_ratios(published_noise_ratios)
    assert ratios.visual[0] == pytest.approx(0.994, abs=5e-4)  # Speech
    assert all(0.016 <= ratio <= 0.0745 for ratio in ratios.audio)
    assert len(ratios.audio) == len(ratios.visual) == 25


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"audio": [0.1]}, "'visual' is none"),
        ({"audio": [[0.1]], "visual": [0.1]}, "'audio' is none"),
        ({"audio": [0.1], "visual": [1.5]}, "the visual noise ratios must be in [0, 1], got 1.5"),
        ({"audio": [0.1], "visual": [0.1, 0.2]}, "noise ratios of 1 audio and 2 visual classes"),
        ({"audio": [0.1], "visual": [0.1], "classes": ["a", "b"]}, "with 2 names"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, arrays: dict[str, object], told: str) -> None:
    np.savez(tmp_path / "r.npz", **{name: np.array(x) for name, x in arrays.items()})
    with pytest.raises(ValueError, match="r.npz") as raised:
        CoLeaFConfig(labels="denoised", noise_ratios=str(tmp_path / "r.npz"))
    assert told in str(raised.value)


@pytest.mark.parametrize("content", [b'{"audio": []}', b"", b"PK\x03\x04 cut off"])
def test_a_file_of_another_kind_is_not_advised_to_be_unpickled(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "removals.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"removals.json: not readable as an \.npz file .*of another kind$"):
        read_noise_ratios(tmp_path / "removals.json")


def test_what_is_no_npz_and_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.npz").write_text("none")
    with pytest.raises(ValueError, match="r.npz: not readable as an .npz file"):
        read_noise_ratios(tmp_path / "r.npz")
    with pytest.raises(FileNotFoundError, match="s.npz: no such file"):
        read_noise_ratios(tmp_path / "s.npz")


def test_ratios_of_other_classes_are_refused_before_training(data_root: Path, tmp_path: Path) -> None:
    ratios = {"audio": [0.1] * 3, "visual": [0.1] * 3, "classes": ["Dog", "Speech", "Car"]}
    data = AVVPFolder(data_root, "train")
    config = CoLeaFConfig(labels="denoised", noise_ratios=ratios)
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options=SMALL, config=config)
    with pytest.raises(ValueError, match="class number 1, from 0, is 'Speech'; the data's is 'Car'"):
        CoLeaFTrainer(model, TrainerConfig(device="cpu", monitor=()), quiet=True).fit(data)
    short = CoLeaFConfig(labels="denoised", noise_ratios={"audio": [0.1], "visual": [0.1]})
    with pytest.raises(ValueError, match="noise_ratios are for 1 classes, the data has 3"):
        wrap("han", streams=data.streams, num_classes=3, anchor_options=SMALL, config=short)
