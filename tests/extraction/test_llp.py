"""The recipe llp: what its networks see, in which order, and that torchvision's networks are used as LLP used them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coleaf_framework.extraction import llp
from coleaf_framework.extraction.llp import LLPRecipe
from coleaf_framework.extraction.llp_inputs import Prepared, prepare_frame, sampled, spectrograms
from coleaf_framework.extraction.log_mel import SILENCE, log_mel
from coleaf_framework.media import Piece

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "extraction"
BESIDE = Path(sys.prefix) / "torchvision"


def tone(seconds: float, hertz: float = 440.0) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000).astype(np.float32)[None] * 0.5


def plain(value: int) -> Prepared:
    """A frame of one colour: red, green and blue are value, value + 1 and value + 2."""
    pixel = np.array([value, value + 1, value + 2], np.uint8)
    return np.tile(pixel, (224, 224, 1)), np.tile(pixel, (112, 112, 1))


class Averages(nn.Module):
    """Stands in for a network: the mean over the last two dimensions, and how many inputs it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(x))
        return x.mean((-2, -1)).flatten(1)


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> LLPRecipe:
    networks = {name: Averages() for name in llp.WEIGHTS}
    monkeypatch.setattr(llp, "load_networks", lambda folder, device: (networks, dict.fromkeys(networks, "0" * 16)))
    return LLPRecipe()


def test_frames_are_prepared_to_the_byte() -> None:
    pytest.importorskip("PIL", reason="needs the extra `llp`")
    check = np.load(DATA / "frame_check.npz", allow_pickle=False)
    image, small = prepare_frame(check["image"])
    np.testing.assert_array_equal(image, check["res152_uint8"])
    np.testing.assert_array_equal(small, check["r2plus1d_uint8"])
    assert image.nbytes + small.nbytes == 188_160
    assert image.base is None  # nothing of the whole frame is kept
    assert small.base is None


def test_82_frames_are_sampled_as_llps_were() -> None:
    numbers: Any = list(range(82))
    assert sorted(set(numbers) - set(sampled(numbers, 80))) == [20, 61]


def test_few_frames_repeat_and_halves_go_to_the_even_one() -> None:
    numbers: Any = [0, 1, 2, 3]
    assert np.array_equal(sampled(numbers, 8), [0, 0, 1, 1, 2, 2, 3, 3])
    assert np.array_equal(sampled(numbers, 3), [0, 2, 3])  # of 0, 1.5, 3


def test_frames_of_a_track_that_is_over_early_keep_their_time() -> None:
    numbers: Any = list(range(16))  # two seconds of a window of ten
    assert np.array_equal(sampled(numbers, 80), [*range(16), *[15] * 64])


def test_the_first_second_is_the_published_one() -> None:
    """But for the rounding to 16 bits."""
    n = np.arange(16000)
    t = n / 16000
    samples = (0.5 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 3000 * t**2)).astype(np.float32)
    found = spectrograms(samples[None], 1)[0][0].astype(float)
    expected = np.load(DATA / "log_mel_check.npz", allow_pickle=False)["log_mel"]
    np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=0.005)  # magnitudes, of up to 70
    rounded = np.round(samples.astype(float) * 32768) / 32768
    np.testing.assert_allclose(found, log_mel(rounded), atol=1e-6)


def test_each_second_is_treated_alone() -> None:
    samples = np.concatenate([tone(1), tone(1, 2000.0), tone(1)], axis=1)
    first, second, third = spectrograms(samples, 3)
    np.testing.assert_array_equal(first, spectrograms(tone(1), 1)[0])
    np.testing.assert_array_equal(second, spectrograms(tone(1, 2000.0), 1)[0])
    np.testing.assert_array_equal(third, first)
    assert first.shape == (1, 96, 64)
    assert first.dtype == np.float32


def test_samples_are_rounded_to_16_bits_before_channels_are_averaged() -> None:
    """A sample of 0.4 / 32768 is 0 in a WAV file of 16 bits; the mean of 1 and 0 steps is half a step."""
    assert spectrograms(tone(1) * (0.8 / 32768), 1)[0] == pytest.approx(SILENCE)
    step = np.sign(tone(1)) / 32768
    stereo = np.concatenate([step, np.zeros_like(step)])
    half = np.exp(spectrograms(stereo, 1)[0].astype(float)) - 0.01
    whole = np.exp(spectrograms(step, 1)[0].astype(float)) - 0.01
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)
    assert whole.max() > 1e-3


def test_samples_beyond_the_range_are_clipped_as_in_a_file() -> None:
    loud = tone(1) * 4
    np.testing.assert_array_equal(spectrograms(loud, 1)[0], spectrograms(np.clip(loud, -1, 32767 / 32768), 1)[0])


def test_silence_follows_where_samples_end_early_and_more_are_left_out() -> None:
    short = spectrograms(tone(1.25), 3)
    assert short[2] == pytest.approx(SILENCE)
    assert short[1][0, 40:] == pytest.approx(SILENCE)
    np.testing.assert_array_equal(spectrograms(tone(2.3), 2)[1], spectrograms(tone(2), 2)[1])


def test_clip_i_is_of_frames_8i_to_8i_plus_7(recipe: LLPRecipe) -> None:
    """Channels are red, green and blue, each with its own mean and deviation."""
    piece = Piece(0.0, 3, [plain(8 * i) for i in range(24)], tone(3))
    found = recipe.features(piece)
    pixels = np.array([[8 * i + c for c in range(3)] for i in range(24)]) / 255
    of_images = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    of_clips = (pixels - [0.43216, 0.394666, 0.37645]) / [0.22803, 0.22145, 0.216989]
    np.testing.assert_allclose(found["visual"], of_images, atol=1e-4)
    np.testing.assert_allclose(found["visual_st"].reshape(3, 3, 8), of_clips.reshape(3, 8, 3).swapaxes(1, 2), atol=1e-4)


def test_batches_are_bounded(recipe: LLPRecipe) -> None:
    recipe.features(Piece(0.0, 20, [plain(0)] * 160, tone(20)))
    for name, network in recipe.networks.items():
        assert max(network.batches) <= llp.BATCHES[name], name
        assert sum(network.batches) == (160 if name == "resnet152" else 20), name


def test_without_tracks_frames_are_black_and_seconds_silent(recipe: LLPRecipe) -> None:
    found = recipe.features(Piece(0.0, 2, [], np.zeros((1, 0), np.float32)))
    black = recipe.features(
        Piece(0.0, 2, [(x * 0, y * 0) for x, y in [plain(0)] * 16], np.zeros((2, 32000), np.float32))
    )
    assert {name: x.shape[0] for name, x in found.items()} == {"audio": 2, "visual": 16, "visual_st": 2}
    for name, x in found.items():
        np.testing.assert_array_equal(x, black[name])
    assert found["audio"] == pytest.approx(SILENCE)


def refused(problem: Exception) -> Callable[[str], Any]:
    def import_module(name: str) -> Any:
        raise problem

    return import_module


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (
            ModuleNotFoundError("No module named 'torchvision'", name="torchvision"),
            "the recipe llp needs torchvision, which is not installed: pip install 'coleaf-framework[llp]'",
        ),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            f"installed but does not load beside PyTorch {torch.__version__}: RuntimeError: operator torchvision::nms "
            "does not exist; install the build of it that belongs to this PyTorch",
        ),
    ],
)
def test_torchvision_that_is_missing_or_does_not_load_is_told(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, message: str
) -> None:
    monkeypatch.setattr(importlib, "import_module", refused(problem))
    with pytest.raises(ImportError) as error:
        LLPRecipe()
    assert message in str(error.value)


def test_weights_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makers: Mapping[str, Callable[[], nn.Module]] = {"resnet152": nn.Identity, "r2plus1d_18": nn.Identity}
    monkeypatch.setattr(llp, "_torchvision_networks", lambda: makers)
    with pytest.raises(FileNotFoundError) as error:
        LLPRecipe(tmp_path)
    for name in ("vggish-10086976.pth", "resnet152-b121ed2d.pth", "resnet152-394f9c45.pth", "r2plus1d_18-91a641e6.pth"):
        assert name in str(error.value)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, NDArray[Any]]:
    """What `tests/helpers/llp_worker.py` wrote."""
    pytest.importorskip("av", reason="needs the extra `video`")
    if not BESIDE.is_dir() and find_spec("torchvision") is None:
        pytest.skip(f"needs torchvision, installed or in {BESIDE}")
    out = tmp_path_factory.mktemp("llp")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "tests.helpers.llp_worker", str(out)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out / "answers.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.slow
def test_a_real_clip_has_features_of_llps_shapes(answers: Mapping[str, NDArray[Any]]) -> None:
    """With random weights: two seconds, decoded, prepared and answered."""
    for name, rows in {"audio": 2, "visual": 16, "visual_st": 2}.items():
        found = answers[f"recipe/{name}"]
        assert found.shape == (rows, LLPRecipe.streams[name].width), name
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert len(np.unique(found, axis=0)) == rows, name  # seconds and frames differ


@pytest.mark.slow
@pytest.mark.parametrize("name", ["visual", "visual_st"])
def test_features_are_what_the_last_layer_of_torchvisions_network_is_given(
    answers: Mapping[str, NDArray[Any]], name: str
) -> None:
    """Of frames that torchvision's transforms prepared, and of clips of frames 8i to 8i + 7."""
    expected = answers[f"torchvision/{name}"]
    np.testing.assert_allclose(answers[f"recipe/{name}"], expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LLPRecipe.streams))
def test_the_batch_size_does_not_matter(answers: Mapping[str, NDArray[Any]], name: str) -> None:
    expected = answers[f"recipe/{name}"]
    np.testing.assert_allclose(answers[f"smaller/{name}"], expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.slow
def test_frames_of_any_shape_are_prepared_as_torchvision_does(answers: Mapping[str, NDArray[Any]]) -> None:
    sizes = [name for name in answers if name.startswith("own/")]
    assert len(sizes) == 12
    for name in sizes:
        np.testing.assert_array_equal(answers[name], answers[name.replace("own/", "torchvision/")], name)


@pytest.mark.slow
def test_the_digests_of_the_weights_are_recorded(answers: Mapping[str, NDArray[Any]]) -> None:
    for name in llp.WEIGHTS:
        digest = str(answers[f"weights/{name}"])
        assert len(digest) == 16
        assert digest.startswith(str(answers[f"named/{name}"]))
