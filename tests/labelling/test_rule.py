"""VALOR's rule against loops, and its prompts and thresholds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from coleaf_framework.data import LLP_CLASSES, SyntheticLLP
from coleaf_framework.labelling.prompts import (
    VALOR_PROMPTS,
    VALOR_THRESHOLDS,
    default_prompts,
    read_prompts,
    read_thresholds,
    valor_thresholds,
)
from coleaf_framework.labelling.rule import label_segments, similarity_logits
from coleaf_framework.labelling.teachers import EmbeddingsTeacher, folder_of_embeddings


def slow_labels(segments: Tensor, text: Tensor, weak: Tensor, thresholds: Tensor, scale: float) -> list[list[float]]:
    labels = []
    for segment in segments.tolist():
        row = []
        for c, prompt in enumerate(text.tolist()):
            dot = sum(a * b for a, b in zip(segment, prompt, strict=True))
            lengths = math.sqrt(sum(a * a for a in segment)) * math.sqrt(sum(b * b for b in prompt))
            row.append(1.0 if weak[c] == 1 and scale * dot / lengths > thresholds[c] else 0.0)
        labels.append(row)
    return labels


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_labels_are_those_of_the_rule(segments: int, classes: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    embeddings, text = (torch.randn(n, 4, generator=draw, dtype=torch.float64) for n in (segments, classes))
    weak = (torch.rand(classes, generator=draw) < 0.6).float()
    thresholds = 40 * torch.rand(classes, generator=draw) - 10
    found = label_segments(similarity_logits(embeddings, text, 100), weak, thresholds)
    assert found.tolist() == slow_labels(embeddings, text, weak, thresholds, 100)


def test_a_threshold_must_be_exceeded() -> None:
    assert label_segments(torch.tensor([[2.0], [2.1]]), torch.ones(1), torch.tensor([2.0])).tolist() == [[0], [1]]


def test_a_segment_of_zeros_is_similar_to_nothing() -> None:
    assert similarity_logits(torch.zeros(1, 3), torch.ones(2, 3), 100).tolist() == [[0, 0]]


def test_valors_prompts_and_thresholds_are_by_llps_classes() -> None:
    for modality in ("audio", "visual"):
        assert len(VALOR_PROMPTS[modality]) == len(VALOR_THRESHOLDS[modality]) == len(LLP_CLASSES) == 25
    told = dict(zip(LLP_CLASSES, zip(VALOR_PROMPTS["visual"], VALOR_PROMPTS["audio"], strict=True), strict=True))
    assert told["Vacuum_cleaner"] == ("A photo of a vaccum cleaner.", "This is a sound of vacuum cleaner")
    assert told["Acoustic_guitar"][0] == "A photo of a acoustic guiter."
    numbers = {
        name: (visual, audio)
        for name, visual, audio in zip(LLP_CLASSES, VALOR_THRESHOLDS["visual"], VALOR_THRESHOLDS["audio"], strict=True)
    }
    assert (numbers["Speech"], numbers["Frying_(food)"], numbers["Helicopter"]) == ((20, 0), (18, -2), (16, 2))
    assert valor_thresholds(LLP_CLASSES, "visual").tolist() == list(VALOR_THRESHOLDS["visual"])


def test_other_classes_get_the_template_and_no_thresholds() -> None:
    prompts, told = default_prompts(["Lawn_mower"], "audio")
    assert prompts == ("This is a sound of lawn mower",)
    assert "template" in told
    with pytest.raises(ValueError, match="VALOR's thresholds are for LLP's 25 classes, not for these 1"):
        valor_thresholds(["Dog"], "visual")


@pytest.mark.parametrize(
    ("name", "text"), [("p.yaml", "Dog: a dog\nCar: a car\n"), ("p.tsv", "Car\ta car\n\nDog\ta dog\n")]
)
def test_prompts_are_read_by_class(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name, ["Dog", "Car"]) == ("a dog", "a car")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Dog: 1", "no threshold for 'Car', 1 of 2 classes are missing"),
        ("Dog: 1\nCar: 2\nCars: 3", "'Cars' is no class of the data. Did you mean 'Car'?"),
        ("Dog: 1\nCar: high", "the threshold of 'Car' is 'high', where a number was expected"),
        ("Dog: 1\nCar: .nan", "where a number was expected"),
        ("Dog: 1\nCar: true", "the threshold of 'Car' is True"),
    ],
)
def test_wrong_thresholds_are_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(ValueError, match="t.yaml") as raised:
        read_thresholds(tmp_path / "t.yaml", ["Dog", "Car"])
    assert told in str(raised.value)


def test_a_wrong_line_of_a_tsv_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("Dog 1\n")
    with pytest.raises(ValueError, match="line 1: expected class, tab, threshold"):
        read_thresholds(path, ["Dog"])
    path.write_text("Dog\t1\nDog\t2\n")
    with pytest.raises(ValueError, match="line 2: the class 'Dog' a second time"):
        read_thresholds(path, ["Dog"])


def test_embeddings_of_another_shape_are_refused(tmp_path: Path) -> None:
    video = SyntheticLLP("val", 1)[0]
    np.save(tmp_path / f"{video.id}.npy", np.ones((10, 3)))
    teacher = EmbeddingsTeacher("visual", torch.ones(25, 4), folder_of_embeddings(tmp_path), 1.0)
    with pytest.raises(ValueError, match="its embeddings have width 3, those of the classes 4"):
        teacher.logits(video, 10)
    with pytest.raises(ValueError, match="10 rows, where video .* has 9 segments"):
        teacher.logits(video, 9)
    np.save(tmp_path / f"{video.id}.npy", np.full((10, 4), np.nan))
    with pytest.raises(ValueError, match="holds NaN or inf"):
        teacher.logits(video, 10)
    np.save(tmp_path / f"{video.id}.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="not a whole .npy file of numbers"):
        teacher.logits(video, 10)


@pytest.mark.parametrize(("text", "scale"), [(torch.zeros(2, 3), 1.0), (torch.ones(2, 3), 0.0)])
def test_a_class_of_zeros_and_a_scale_of_zero_are_refused(text: Tensor, scale: float) -> None:
    with pytest.raises(ValueError, match="only zeros|scale of the cosines"):
        EmbeddingsTeacher("visual", text, lambda video, segments: torch.ones(segments, 3), scale)
