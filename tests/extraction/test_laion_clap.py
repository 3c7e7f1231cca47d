"""Checkpoints of laion-clap: its own spectrogram and map, recorded once, and what is no such checkpoint.

`clap_check.npz` is what version 1.1.7 makes of `recorded_sound`, with torchaudio 2.11: samples 1000 to 1099 after 16
bits, every 50th frame of `get_mel`, and every 16th value of the 64 rows that reach the tagger of its HTSAT-tiny with
fusion, in evaluation mode with the weights of `drawn_audio`. `laion_htsat.state_dict.json` has that network's shapes.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coleaf_framework.extraction.clap_maps import ClapMaps, ten_seconds
from coleaf_framework.extraction.laion_clap import load_laion_audio, renamed
from coleaf_framework.storage import file_digest
from tests.helpers.data import Bomb
from tests.helpers.parity import zoo_weight

DATA = Path(__file__).parents[1] / "data" / "extraction"
NAME = "630k-fusion-best.pt"


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="needs the extra `clip-clap`")


def drawn_audio() -> dict[str, Tensor]:
    """Every entry of the package's audio network; the positions in windows of 8 x 8 as Swin counts them."""
    entries = json.loads((DATA / "laion_htsat.state_dict.json").read_text())
    y, x = np.divmod(np.arange(64), 8)
    positions = torch.from_numpy(15 * (y[:, None] - y + 7) + x[:, None] - x + 7)
    return {
        name: positions if name.endswith("relative_position_index") else zoo_weight(name, tuple(entry["shape"]))
        for name, entry in entries.items()
    }


def write_checkpoint(path: Path, audio: dict[str, Tensor]) -> None:
    """As laion-clap's are: trained on several GPUs, with a side of texts and numbers of NumPy 1 beside weights."""
    branch = {f"module.audio_branch.{name}": x for name, x in audio.items()}
    state = {**branch, "module.text_branch.pooler.dense.bias": torch.zeros(3), "module.logit_scale_a": torch.ones(())}
    torch.save({"epoch": 7, "best": np.float64(0.5), "state_dict": state}, path.with_suffix(".new"))
    with zipfile.ZipFile(path.with_suffix(".new")) as new, zipfile.ZipFile(path, "w") as old:
        for name in new.namelist():
            content = new.read(name)
            as_old = content.replace(b"numpy._core.", b"numpy.core.") if name.endswith("data.pkl") else content
            old.writestr(name, as_old)


def recorded_sound() -> np.ndarray[Any, np.dtype[np.float32]]:
    t = np.arange(480_000) / 48_000
    wave = 0.5 * np.sin(2 * np.pi * 440 * t) * (t < 5) + 0.3 * np.sin(2 * np.pi * 300 * t**2)
    return (wave + 0.2 * np.sin(2 * np.pi * 60 * t)).astype(np.float32)[None] * np.float32(1.4)


@pytest.mark.slow
def test_a_checkpoint_answers_as_the_package_does(transformers: Any, tmp_path: Path) -> None:
    recorded = np.load(DATA / "clap_check.npz", allow_pickle=False)
    write_checkpoint(tmp_path / NAME, drawn_audio())
    maps = ClapMaps(transformers, tmp_path, "cpu")
    assert maps.digest == file_digest(tmp_path / NAME)
    samples = recorded_sound()
    assert np.abs(samples).max() > 1  # some are clipped
    sound = ten_seconds(samples, 10)
    np.testing.assert_array_equal(sound[1000:1100], recorded["quantised"])
    mel = maps.spectrogram(sound)
    assert mel.shape == (1, 4, 1001, 64)
    assert torch.equal(mel, mel[:, :1].expand(-1, 4, -1, -1))
    difference = np.abs(mel[0, 0, ::50].numpy() - recorded["mel"])  # decibels; theirs are of float32
    assert difference.mean() < 0.01
    assert difference.max() < 0.2
    np.testing.assert_allclose(maps(samples, 10)[:, ::16], recorded["map"], atol=1e-3)
    assert recorded["map"].std(0).min() > 0.1


def test_what_is_another_checkpoint_is_named(transformers: Any, tmp_path: Path) -> None:
    wrong = {"audio_branch.norm.weight": torch.zeros(32)}
    broken = {
        "text.pt": ({"state_dict": {"text_branch.x": torch.zeros(2)}}, r"has no weights audio_branch.\*"),
        "list.pt": ([torch.zeros(2)], r"has no weights audio_branch.\*"),
        "wrong.pt": (wrong, r"HTSAT-tiny with fusion: \d+ weights are missing, unknown or of another shape"),
        "bomb.pt": ({"state_dict": Bomb()}, "not readable as a checkpoint without running code"),
    }
    for name, (content, said) in broken.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(ValueError, match=f"{name}: .*{said}"):
            load_laion_audio(transformers, tmp_path / name)
    (tmp_path / "text").write_text("none")
    with pytest.raises(ValueError, match="text: not readable as a checkpoint"):
        load_laion_audio(transformers, tmp_path / "text")
    assert not Path("exploded").exists()


def test_queries_keys_and_values_are_taken_apart() -> None:
    found = renamed({"layers.0.blocks.1.attn.qkv.bias": torch.arange(6), "head.bias": torch.zeros(2)})
    prefix = "audio_encoder.layers.0.blocks.1.attention.self"
    assert {name: x.tolist() for name, x in found.items()} == {
        f"{prefix}.query.bias": [0, 1], f"{prefix}.key.bias": [2, 3], f"{prefix}.value.bias": [4, 5]
    }  # fmt: skip
