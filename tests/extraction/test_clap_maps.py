"""CLAP's maps: what CLAP is given of a sound, and how its answer becomes rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from coleaf_framework.extraction.clap_maps import RATE, ClapMaps, ten_seconds
from tests.helpers.pretrained import write_tiny_clap


def noise(seconds: float, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((channels, round(seconds * RATE)))
    return (0.2 * drawn).astype(np.float32)


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="needs the extra `clip-clap`")


@pytest.fixture(scope="module")
def maps(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> ClapMaps:
    folder = tmp_path_factory.mktemp("weights")
    write_tiny_clap(folder / "clap-htsat-fused", transformers, width=768)
    return ClapMaps(transformers, folder, "cpu")


def test_samples_go_through_16_bits_towards_zero() -> None:
    samples = np.resize(np.float32([0.5, -0.5, 2.0, -2.0, 1e-5]), (1, RATE))
    assert (ten_seconds(samples, 1)[:5] * 32767).tolist() == [16383, -16383, 32767, -32767, 0]


def test_channels_are_averaged() -> None:
    samples = np.stack([np.full(RATE, 0.5), np.full(RATE, 0.25)]).astype(np.float32)
    np.testing.assert_allclose(ten_seconds(samples, 1), 0.375, atol=1 / 32767)


def test_a_little_more_or_less_sound_is_stretched_by_picking_samples() -> None:
    for n in (480_321, 479_000):
        samples = np.linspace(0, 1, n, dtype=np.float32)[None]
        found = ten_seconds(samples, 10)
        picked = samples[0, np.round(np.linspace(0, n - 1, 480_000)).astype(int)]
        np.testing.assert_array_equal(found, (picked * 32767).astype(np.int16) / np.float32(32767))


def test_a_track_that_ends_early_keeps_its_time() -> None:
    found = ten_seconds(np.full((2, 4 * RATE), 0.5, np.float32), 10)
    assert found.shape == (10 * RATE,)
    assert (found != 0).sum() == 4 * RATE
    assert found[: 4 * RATE].all()
    assert not ten_seconds(np.zeros((1, 0), np.float32), 10).any()


def test_rows_are_frequency_groups_of_time_steps(maps: ClapMaps) -> None:
    samples = noise(10)
    with torch.no_grad():
        seen = maps.network(
            maps.spectrogram(ten_seconds(samples, 10)), is_longer=torch.zeros(1, 1, dtype=torch.bool)
        ).last_hidden_state.numpy()
    rows = maps(samples, 10)
    assert rows.shape == (64, 768)
    assert rows.dtype == np.float32
    for row in (0, 1, 31, 32, 63):
        np.testing.assert_allclose(rows[row], seen[0, :, row // 32, row % 32], atol=1e-5)
    assert rows.std(0).min() > 1e-3


def test_no_sound_is_taken_for_longer_than_it_is(maps: ClapMaps) -> None:
    """Fusion would change the map; transformers' extractor asks for it of one sound of each batch."""
    samples = noise(10)
    with torch.no_grad():
        fused = maps.network(
            maps.spectrogram(ten_seconds(samples, 10)), is_longer=torch.ones(1, 1, dtype=torch.bool)
        ).last_hidden_state[0].flatten(1).T.numpy()  # fmt: skip
    assert np.abs(fused - maps(samples, 10)).max() > 0.1
    np.testing.assert_array_equal(maps(samples, 10), maps(samples, 10))


def test_of_fewer_seconds_the_steps_that_are_theirs_are_kept(maps: ClapMaps) -> None:
    """Five seconds are heard twice, and half of the 32 steps are theirs."""
    five = noise(5)
    rows = maps(five, 5)
    twice = maps(np.tile(five, 2), 10).reshape(2, 32, 768)
    np.testing.assert_allclose(rows, twice[:, :16].reshape(32, 768), atol=1e-5)
    assert maps(noise(1), 1).shape == (6, 768)


def test_another_clap_is_refused(transformers: Any, tmp_path: Path) -> None:
    for i, (width, fusion, said) in enumerate([(32, True, "of width 32 with"), (768, False, "of width 768 without")]):
        write_tiny_clap(tmp_path / f"{i}", transformers, width, fusion)
        (tmp_path / f"{i}").rename(tmp_path / "clap-htsat-fused")
        with pytest.raises(ValueError, match=f"clap-htsat-fused: is a CLAP {said} fusion, where one of 768 with"):
            ClapMaps(transformers, tmp_path, "cpu")
        (tmp_path / "clap-htsat-fused").rename(tmp_path / f"{i}")


def test_one_clap_is_needed(transformers: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no CLAP. Get it by `hf download laion/clap-htsat-fused .*copy"):
        ClapMaps(transformers, tmp_path, "cpu")
    (tmp_path / "clap-htsat-fused").mkdir()
    (tmp_path / "630k-fusion-best.pt").touch()
    with pytest.raises(ValueError, match="more than one CLAP, clap-htsat-fused and 630k-fusion-best.pt: leave one"):
        ClapMaps(transformers, tmp_path, "cpu")
