"""CLIP and CLAP as teachers, by tiny random models; without the extra `teachers`, what then is said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coleaf_framework.data import Video
from coleaf_framework.extraction.clap_maps import RATE
from coleaf_framework.extraction.clip_images import clip_pixels
from coleaf_framework.labelling.clap import ClapTeacher, read_wav, windows
from coleaf_framework.labelling.clip import ClipTeacher
from coleaf_framework.storage import read_yaml
from tests.helpers.command import Command
from tests.helpers.data import CLASSES, SEGMENTS, video_names
from tests.helpers.pretrained import SIDE, write_tiny_clap, write_tiny_clip

PROMPTS = ("a dog", "a car", "people talking")
VIDEO = Video("video", {}, torch.ones(3))


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="needs the extra `teachers`")


def write_frames(folder: Path, frames: int, seed: int = 0) -> list[Any]:
    image = pytest.importorskip("PIL.Image", reason="needs the extra `teachers`")
    folder.mkdir(parents=True)
    drawn = np.random.default_rng(seed).integers(0, 256, (frames, 12, 20, 3), dtype=np.uint8)
    for i, pixels in enumerate(drawn, 1):
        image.fromarray(pixels).save(folder / f"{i:06d}.jpg", quality=95)
    return [np.array(image.open(folder / f"{i:06d}.jpg")) for i in range(1, frames + 1)]


def test_windows_are_of_equal_length() -> None:
    assert windows(103, 10)[:3] == [(0, 10), (10, 20), (21, 31)]
    assert all(last <= 103 for _, last in windows(103, 10))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_a_track_is_read_as_mono_at_48_khz(tmp_path: Path, kind: type) -> None:
    from scipy.io import wavfile

    wave = 0.5 * np.sin(2 * np.pi * 100 * np.arange(1600) / 16000)
    both = np.stack([wave, 0 * wave], 1)
    whole = {np.uint8: (127, 128), np.int16: (2**15 - 1, 0), np.int32: (2**31 - 1, 0), np.float32: (1, 0)}
    factor, shift = whole[kind]
    wavfile.write(tmp_path / "a.wav", 16000, (both * factor + shift).astype(kind))
    track = read_wav(tmp_path / "a.wav")
    expected = 0.25 * np.sin(2 * np.pi * 100 * np.arange(4800) / RATE)
    assert track.dtype == np.float32
    assert np.abs(track - expected)[200:-200].max() < 0.01


def test_what_is_no_track_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("none")
    with pytest.raises(ValueError, match="a.wav: not readable as a WAV file"):
        read_wav(tmp_path / "a.wav")
    with pytest.raises(FileNotFoundError, match="b.wav: no such file"):
        read_wav(tmp_path / "b.wav")


def test_clip_answers_with_its_own_scaled_similarities(transformers: Any, tmp_path: Path) -> None:
    model = write_tiny_clip(tmp_path / "clip", transformers)
    frames = write_frames(tmp_path / "frames" / "video", 7)
    found = ClipTeacher(tmp_path / "frames", PROMPTS, str(tmp_path / "clip")).logits(VIDEO, 3)
    tokens = transformers.CLIPTokenizer.from_pretrained(tmp_path / "clip")(
        list(PROMPTS), padding=True, return_tensors="pt"
    )
    pixels = torch.stack([clip_pixels(torch.from_numpy(frames[i]).permute(2, 0, 1), SIDE) for i in (0, 3, 6)])
    with torch.no_grad():
        expected = model(pixel_values=pixels, **tokens).logits_per_image
    assert torch.allclose(found, expected.double(), atol=1e-4)
    assert found.std() > 0.01


def test_clap_answers_with_its_own_scaled_similarities(transformers: Any, tmp_path: Path) -> None:
    """None of the windows is taken for longer than it is, as the extractor does at random."""
    from scipy.io import wavfile

    model = write_tiny_clap(tmp_path / "clap", transformers)
    (tmp_path / "wav").mkdir()
    track = (0.3 * np.random.default_rng(0).standard_normal(3 * RATE) * np.repeat([0.1, 1, 0.01], RATE)).astype(
        np.float32
    )
    wavfile.write(tmp_path / "wav" / "video.wav", RATE, track)
    teacher = ClapTeacher(tmp_path / "wav", PROMPTS, str(tmp_path / "clap"))
    found = teacher.logits(VIDEO, 3)
    assert torch.equal(found, teacher.logits(VIDEO, 3))
    extracted = transformers.ClapFeatureExtractor()(
        list(track.reshape(3, RATE)), sampling_rate=RATE, return_tensors="pt"
    )
    tokens = transformers.RobertaTokenizer.from_pretrained(tmp_path / "clap")(
        list(PROMPTS), padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        answer = model(
            input_features=extracted["input_features"], is_longer=torch.zeros(3, 1, dtype=torch.bool), **tokens
        )
    expected = answer.logits_per_audio
    assert torch.allclose(found, expected.double(), atol=1e-4)
    assert found.std() > 0.01


def test_the_command_labels_by_clip(transformers: Any, coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    write_tiny_clip(tmp_path / "clip", transformers)
    for i, video in enumerate(video_names("tr", 6)):
        write_frames(tmp_path / "frames" / video, 5, seed=i)
    printed = coleaf("pseudo-label", data_root, "--teacher", "clip", "--frames", "frames", "--model", "clip", "--out",
                     "pl", "--positive-share", 0.5)  # fmt: skip
    assert "prompts: the template 'A photo of {class}.' for every class" in printed
    record = read_yaml(tmp_path / "pl" / "labels.yaml")["visual"]
    assert record["prompts"] == {name: f"A photo of {name.lower()}." for name in CLASSES}
    assert record["scale"] == pytest.approx(14.2849, abs=1e-3)
    labels = np.load(tmp_path / "pl" / "visual" / "tr00.npy")
    assert labels.shape == (SEGMENTS, 3)
    assert not labels[:, 1:].any()  # of classes outside the weak label
    told = coleaf("pseudo-label", data_root, "--teacher", "clip", "--frames", "frames", "--model", "clip", "--out",
                  "other", fails=True)  # fmt: skip
    assert "VALOR's thresholds are for LLP's 25 classes, not for these 3" in told


def test_what_is_missing_or_broken_is_named(transformers: Any, tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="none: no such folder"):
        ClipTeacher(tmp_path / "none", PROMPTS)
    (tmp_path / "frames" / "video").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"--model .*: no CLIPModel can be loaded from it"):
        ClipTeacher(tmp_path / "frames", PROMPTS, str(tmp_path / "frames"))
    write_tiny_clip(tmp_path / "clip", transformers)
    teacher = ClipTeacher(tmp_path / "frames", PROMPTS, str(tmp_path / "clip"))
    with pytest.raises(FileNotFoundError, match="no .jpg frames of video 'video'"):
        teacher.logits(VIDEO, 3)
    (tmp_path / "frames" / "video" / "1.jpg").write_text("none")
    with pytest.raises(ValueError, match="1.jpg: not readable as an image"):
        teacher.logits(VIDEO, 3)


@pytest.mark.parametrize(("teacher", "option"), [("clip", "--frames"), ("clap", "--audio")])
def test_without_the_extra_one_sentence_says_how_to_get_it(
    coleaf: Command, data_root: Path, teacher: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    told = coleaf("pseudo-label", data_root, "--teacher", teacher, option, ".", "--out", "pl", fails=True)
    assert f"the teacher {teacher} needs transformers: pip install 'coleaf-framework[teachers]'" in told
