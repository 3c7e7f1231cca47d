"""Checkpoints in transformers' form: where they are looked for, and that they are loaded whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from coleaf_framework.extraction.pretrained import find_folder, how_to_download, load_local, load_network
from coleaf_framework.storage import file_digest
from tests.helpers.data import Bomb
from tests.helpers.pretrained import write_tiny_clip

HUB_NAME = "openai/clip-vit-large-patch14"
PIXELS = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="needs the extra `clip-clap`")


@pytest.fixture
def clip(transformers: Any, tmp_path: Path) -> Path:
    write_tiny_clip(tmp_path / "clip", transformers)
    return tmp_path / "clip"


def seen(network: Any) -> torch.Tensor:
    with torch.no_grad():
        return network.vision_model(pixel_values=PIXELS).pooler_output  # type: ignore[no-any-return]


def test_a_model_is_found_in_the_folder_or_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transformers: Any
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert find_folder(HUB_NAME, None) is None
    assert find_folder(HUB_NAME, tmp_path) is None
    (tmp_path / "clip-vit-large-patch14").mkdir()
    assert find_folder(HUB_NAME, tmp_path) == tmp_path / "clip-vit-large-patch14"
    kept = tmp_path / "cache" / "models--openai--clip-vit-large-patch14"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc")
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "snapshots" / "abc" / "config.json").write_text("{}")
    assert find_folder(HUB_NAME, None) == kept / "snapshots" / "abc"


def test_the_command_that_downloads_puts_it_where_it_is_looked_for() -> None:
    assert how_to_download(HUB_NAME, None) == f"hf download {HUB_NAME} config.json model.safetensors"
    assert how_to_download(HUB_NAME, Path("w")).endswith(" --local-dir w/clip-vit-large-patch14")


def test_safetensors_come_before_a_pickle_and_give_the_digest(transformers: Any, clip: Path) -> None:
    torch.save(Bomb(), clip / "pytorch_model.bin")
    network, digest = load_local(transformers.CLIPModel, clip)
    assert digest == file_digest(clip / "model.safetensors")
    assert not network.training
    assert not any(x.requires_grad for x in network.parameters())
    assert not Path("exploded").exists()


def test_a_pickle_of_tensors_gives_the_same_network(transformers: Any, clip: Path) -> None:
    expected = seen(load_local(transformers.CLIPModel, clip)[0])
    torch.save(load_file(clip / "model.safetensors"), clip / "pytorch_model.bin")
    (clip / "model.safetensors").unlink()
    network, digest = load_local(transformers.CLIPModel, clip)
    assert digest == file_digest(clip / "pytorch_model.bin")
    assert torch.equal(seen(network), expected)


def test_code_in_a_pickle_is_not_run(transformers: Any, clip: Path) -> None:
    (clip / "model.safetensors").unlink()
    torch.save({"logit_scale": Bomb()}, clip / "pytorch_model.bin")
    with pytest.raises(ValueError, match="clip: no CLIPModel can be loaded from it"):
        load_local(transformers.CLIPModel, clip)
    assert not Path("exploded").exists()


def test_halves_are_loaded_as_float32(transformers: Any, clip: Path) -> None:
    halves = {
        name: x.half() if x.is_floating_point() else x for name, x in load_file(clip / "model.safetensors").items()
    }
    save_file(halves, clip / "model.safetensors", {"format": "pt"})
    assert seen(load_local(transformers.CLIPModel, clip)[0]).dtype == torch.float32


def test_weights_that_a_checkpoint_lacks_are_not_drawn(transformers: Any, clip: Path) -> None:
    weights = load_file(clip / "model.safetensors")
    for name in ("visual_projection.weight", "vision_model.post_layernorm.bias"):
        del weights[name]
    save_file(weights, clip / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"clip: lacks the weights vision_model.post_layernorm.bias and 1 more of a CLIP"
    ):
        load_network(transformers.CLIPModel, str(clip))


def test_a_folder_without_weights_is_named(transformers: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has neither model.safetensors nor pytorch_model.bin"):
        load_local(transformers.CLIPModel, tmp_path)
