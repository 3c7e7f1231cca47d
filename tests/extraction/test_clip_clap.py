"""The recipe clip-clap, by tiny random models of transformers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coleaf_framework import create_anchor
from coleaf_framework.data.extracted import COLUMNS, ExtractedVideo, ExtractedVideos
from coleaf_framework.data.layout import Layout, read_layout, resample_bicubic
from coleaf_framework.data.recipe_file import FeatureRecipe
from coleaf_framework.extraction.clip_clap import ClipClap
from coleaf_framework.extraction.clip_images import clip_pixels
from coleaf_framework.media import Piece, decode
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.storage import file_digest, write_yaml
from tests.helpers.pretrained import SIDE, write_tiny_clip, write_tiny_weights

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "examples" / "clips" / "tuxva000002.mp4"
SILENCE = np.zeros((1, 0), np.float32)


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="needs the extra `clip-clap`")


@pytest.fixture(scope="module")
def weights(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_tiny_weights(folder, transformers)
    return folder


@pytest.fixture(scope="module")
def recipe(weights: Path) -> ClipClap:
    return ClipClap(weights)


@pytest.fixture(scope="module")
def clip_features(recipe: ClipClap) -> tuple[Piece[Tensor], dict[str, Any]]:
    """The one piece of a real clip, and its features."""
    pytest.importorskip("av", reason="needs the extra `video`")
    (piece,) = decode(
        CLIP, window=10, frame_rate=recipe.frame_rate, sample_rate=recipe.sample_rate, prepare=recipe.prepare
    )
    return piece, recipe.features(piece)


def frames(recipe: ClipClap, number: int, seed: int = 0) -> list[Tensor]:
    drawn = np.random.default_rng(seed).integers(0, 256, (number, 20, 30, 3), dtype=np.uint8)
    return [recipe.prepare(frame) for frame in drawn]


def visual(recipe: ClipClap, seconds: int, seen: list[Tensor]) -> Any:
    return recipe.features(Piece(0.0, seconds, seen, SILENCE))["visual"]


def test_a_real_clip_has_features_of_the_declared_shapes(clip_features: tuple[Piece[Tensor], dict[str, Any]]) -> None:
    _, found = clip_features
    assert {name: x.shape for name, x in found.items()} == {"audio": (64, 768), "visual": (10, 768)}
    assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in found.values())
    np.testing.assert_allclose(np.linalg.norm(found["visual"], axis=1), 1, atol=1e-5)
    assert found["visual"].std(0).max() > 1e-3
    assert found["audio"].std(0).max() > 1e-3


def test_visual_features_are_clips_image_embeddings(
    transformers: Any, weights: Path, recipe: ClipClap, clip_features: tuple[Piece[Tensor], dict[str, Any]]
) -> None:
    piece, found = clip_features
    model = transformers.CLIPModel.from_pretrained(weights / "clip-vit-large-patch14").eval()
    positions = np.round(np.linspace(0, len(piece.frames) - 1, 10)).astype(int)
    for row, at in enumerate(positions):
        with torch.no_grad():
            one = model.get_image_features(pixel_values=piece.frames[at][None])
        embedding = one if isinstance(one, Tensor) else one.pooler_output
        expected = torch.nn.functional.normalize(embedding)[0].numpy()
        np.testing.assert_allclose(found["visual"][row], expected, atol=1e-5)


def test_a_frame_is_kept_as_clip_takes_it(recipe: ClipClap) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    frame.flags.writeable = False
    kept = recipe.prepare(frame)
    assert torch.equal(kept, clip_pixels(torch.from_numpy(frame.copy()).permute(2, 0, 1), SIDE))
    assert kept.untyped_storage().nbytes() == 3 * SIDE * SIDE * 4  # nothing of the whole frame


def test_frames_are_taken_from_the_first_to_the_last(recipe: ClipClap) -> None:
    seen = frames(recipe, 82)
    one_by_one = np.concatenate([visual(recipe, 1, [seen[i]] * 8) for i in (0, 9, 18, 27, 36, 45, 54, 63, 72, 81)])
    np.testing.assert_allclose(visual(recipe, 10, seen), one_by_one, atol=1e-5)


def test_a_track_that_ends_early_keeps_its_time(recipe: ClipClap) -> None:
    """Of four seconds of frames the last stands for the other six; a little less is stretched."""
    seen = frames(recipe, 32)
    found = visual(recipe, 10, seen)
    np.testing.assert_allclose(found[:4], visual(recipe, 10, [*seen, *frames(recipe, 48, seed=1)])[:4], atol=1e-5)
    np.testing.assert_allclose(found[4:], np.tile(visual(recipe, 1, seen[-1:] * 8), (6, 1)), atol=1e-5)
    most = frames(recipe, 78)
    np.testing.assert_allclose(visual(recipe, 10, most)[-1:], visual(recipe, 1, most[-1:] * 8), atol=1e-5)
    assert np.abs(visual(recipe, 10, most)[-1] - visual(recipe, 10, most)[-2]).max() > 1e-3


def test_a_missing_track_is_black_or_silent(recipe: ClipClap) -> None:
    black = [recipe.prepare(np.zeros((90, 160, 3), np.uint8))] * 24
    silent = np.zeros((2, 3 * recipe.sample_rate), np.float32)
    nothing = recipe.features(Piece(0.0, 3, [], SILENCE))
    dark = recipe.features(Piece(0.0, 3, black, silent))
    assert nothing["visual"].shape == (3, 768)
    for name, x in nothing.items():
        np.testing.assert_allclose(x, dark[name], atol=1e-5)


def test_the_digests_are_those_of_the_files(recipe: ClipClap, weights: Path) -> None:
    assert recipe.weights == {
        "clip": file_digest(weights / "clip-vit-large-patch14" / "model.safetensors"),
        "clap": file_digest(weights / "clap-htsat-fused" / "model.safetensors"),
    }


def test_the_streams_are_those_of_valors_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "anchors" / "valor.md").read_text()
    block = page.split("\n\n    streams:\n")[1].split("\n\n")[0]
    (tmp_path / "streams.yaml").write_text(f"    streams:\n{block}\n")
    published = read_layout(tmp_path / "streams.yaml").streams
    for name, files in ClipClap.streams.items():
        assert files.model_copy(update={"width": None}) == published[name]


def test_valor_reads_a_folder_of_these_features(
    recipe: ClipClap, clip_features: tuple[Piece[Tensor], dict[str, Any]], tmp_path: Path
) -> None:
    _, found = clip_features
    write_yaml(tmp_path / "streams.yaml", Layout(streams=dict(recipe.streams)).model_dump(exclude_none=True))
    (tmp_path / "videos.tsv").write_text("\t".join(COLUMNS) + "\n" + ExtractedVideo("a", "a.mp4", 0, 10).row())
    FeatureRecipe(
        recipe=recipe.name, version=1, frame_rate=8, sample_rate=48_000, weights=dict(recipe.weights), decoder="x"
    ).write(tmp_path)
    for name, files in recipe.streams.items():
        (tmp_path / files.folder).mkdir(parents=True)
        np.save(files.path(tmp_path, "a"), found[name])
    data = ExtractedVideos(tmp_path, ("Dog", "Car"))
    assert data.streams == {"audio": StreamSpec(768, "audio"), "visual": StreamSpec(768, "visual")}
    streams = data[0].streams
    groups = torch.from_numpy(found["audio"]).view(2, 32, 768).mean(0)
    torch.testing.assert_close(streams["audio"].float(), resample_bicubic(groups, 10))
    torch.testing.assert_close(streams["visual"].float(), torch.from_numpy(found["visual"]))
    net: Any = create_anchor("valor", num_classes=2, streams=data.streams, width=8, hidden=16).eval()
    output = net(**{name: x[None].float() for name, x in streams.items()})
    assert output.segment_probs.shape == (1, 10, 2, 2)


def test_what_is_missing_is_named_with_the_way_to_get_it(transformers: Any, tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="none: no folder"):
        ClipClap(tmp_path / "none")
    said = f"{tmp_path}: has no CLIP. Get it by `hf download openai/clip-vit-large-patch14 config.json"
    with pytest.raises(FileNotFoundError, match=re.escape(said)):
        ClipClap(tmp_path)
    write_tiny_clip(tmp_path / "clip-vit-large-patch14", transformers)
    with pytest.raises(ValueError, match="clip-vit-large-patch14: is a CLIP of width 6, where 768 was expected"):
        ClipClap(tmp_path)


def test_without_transformers_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"the recipe clip-clap needs transformers: .*\[clip-clap\]"):
        ClipClap(tmp_path)
