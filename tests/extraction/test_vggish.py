"""VGGish against a slow second implementation, and against its published answer to silence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from coleaf_framework.extraction.log_mel import SILENCE
from coleaf_framework.extraction.vggish import VGGISH_WEIGHTS, VGGish
from coleaf_framework.extraction.weights import find_weights, load_network

ANSWER = Path(__file__).parents[1] / "data" / "extraction" / "vggish_of_silence.npy"


def slow_vggish(state: dict[str, torch.Tensor], spectrogram: NDArray[np.float64]) -> NDArray[np.float64]:
    """(96,64) -> (128,), in float64 and with channels last, as TensorFlow's network has them."""
    weights = {name: x.double().numpy() for name, x in state.items()}
    maps = spectrogram[:, :, None]
    for layer in (0, 3, 6, 8, 11, 13):
        kernel, bias = weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"]
        height, width, _ = maps.shape
        padded = np.pad(maps, ((1, 1), (1, 1), (0, 0)))
        maps = np.zeros((height, width, len(bias))) + bias
        for y in range(3):
            for x in range(3):
                maps += padded[y : y + height, x : x + width] @ kernel[:, :, y, x].T
        maps = np.maximum(maps, 0)
        if layer in (0, 3, 8, 13):
            maps = np.maximum(
                np.maximum(maps[::2, ::2], maps[1::2, ::2]), np.maximum(maps[::2, 1::2], maps[1::2, 1::2])
            )
    values = maps.reshape(-1)  # row by row of time, in it frequency, in it channels
    for layer in (0, 2, 4):
        values = np.maximum(weights[f"embeddings.{layer}.weight"] @ values + weights[f"embeddings.{layer}.bias"], 0)
    return values


@pytest.fixture(scope="module")
def network() -> VGGish:
    with torch.device("meta"):
        made = VGGish()
    generator = torch.Generator().manual_seed(3)
    drawn = {
        name: torch.randn(x.shape, generator=generator) * (0.1 if x.ndim == 1 else (2 / x[0].numel()) ** 0.5)
        for name, x in made.state_dict().items()
    }
    made.load_state_dict(drawn, assign=True)
    return made.eval()


def test_the_network_is_the_described_one(network: VGGish) -> None:
    spectrograms = np.random.default_rng(0).normal(-2, 1.5, (2, 96, 64))
    with torch.inference_mode():
        answers = network(torch.from_numpy(spectrograms).float()[:, None])
    assert answers.shape == (2, 128)
    assert 0.2 < (answers == 0).float().mean() < 0.8  # the last ReLU cuts some, and not all
    for answer, spectrogram in zip(answers, spectrograms, strict=True):
        np.testing.assert_allclose(answer, slow_vggish(network.state_dict(), spectrogram), rtol=1e-4, atol=1e-4)


def test_parameters_are_named_as_in_the_published_file(network: VGGish) -> None:
    layers = [f"features.{n}" for n in (0, 3, 6, 8, 11, 13)] + [f"embeddings.{n}" for n in (0, 2, 4)]
    assert set(network.state_dict()) == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert sum(x.numel() for x in network.parameters()) == 72_141_184


def test_silence_is_answered_as_published() -> None:
    """With the published weights, from COLEAF_TEST_WEIGHTS or torch hub's cache."""
    given = os.environ.get("COLEAF_TEST_WEIGHTS")
    try:
        path = find_weights({"vggish": VGGISH_WEIGHTS}, Path(given) if given else None)["vggish"]
    except FileNotFoundError as problem:
        pytest.skip(f"needs the published weights: {problem}")
    network, _ = load_network(VGGish, path)
    with torch.inference_mode():
        answer = network(torch.full((2, 1, 96, 64), SILENCE))
    np.testing.assert_allclose(answer, np.load(ANSWER, allow_pickle=False), rtol=0, atol=1e-5)
