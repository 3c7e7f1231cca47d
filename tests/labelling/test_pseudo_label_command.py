"""`coleaf pseudo-label` with the teacher that needs nothing, end to end on a tiny data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coleaf_framework.data import LLP_CLASSES, AVVPFolder
from coleaf_framework.labelling.choosing import Request, resolve_thresholds
from coleaf_framework.storage import read_yaml
from tests.helpers.command import Command
from tests.helpers.data import CLASSES, SEGMENTS, video_names

TEACHER = ("--teacher", "embeddings")


@pytest.fixture
def arguments(data_root: Path, tmp_path: Path) -> tuple[object, ...]:
    """Embeddings of training and validation videos, of width 5, and thresholds of 0.1."""
    rng = np.random.default_rng(0)
    (tmp_path / "embeddings").mkdir()
    for video in (*video_names("tr", 6), *video_names("va", 3)):
        np.save(tmp_path / "embeddings" / f"{video}.npy", rng.standard_normal((SEGMENTS, 5)).astype(np.float32))
    np.save(tmp_path / "text.npy", rng.standard_normal((3, 5)))
    (tmp_path / "t.yaml").write_text("".join(f"{name}: 0.1\n" for name in CLASSES))
    return ("pseudo-label", data_root, *TEACHER, "--embeddings", "embeddings", "--text", "text.npy", "--out", "pl")


def test_both_modalities_are_written_into_one_folder(
    coleaf: Command, arguments: tuple[object, ...], data_root: Path, tmp_path: Path
) -> None:
    for modality in ("visual", "audio"):
        printed = coleaf(
            *arguments, "--modality", modality, "--thresholds", "t.yaml", "--split", "train", "--split", "val"
        )
        assert "thresholds: t.yaml" in printed
        assert f"pl: {modality} labels of 6 train, 3 val videos" in printed
    record = read_yaml(tmp_path / "pl" / "labels.yaml")
    assert (record["kind"], record["intersect"], record["classes"]) == ("npy", True, list(CLASSES))
    assert record["audio"]["thresholds"] == dict.fromkeys(CLASSES, 0.1)
    assert record["audio"]["digest"] == record["visual"]["digest"]  # the same embeddings
    text = np.load(tmp_path / "text.npy")
    data = AVVPFolder(data_root, "train")
    for i, video in enumerate(data.ids):
        labels = np.load(tmp_path / "pl" / "audio" / f"{video}.npy")
        rows = np.load(tmp_path / "embeddings" / f"{video}.npy").astype(np.float64)
        cosines = rows @ text.T / np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(text, axis=1))
        assert labels.dtype == np.float32
        assert np.array_equal(labels, (cosines > 0.1) * data[i].labels.numpy())


def test_labels_are_not_written_over(coleaf: Command, arguments: tuple[object, ...]) -> None:
    again = (*arguments, "--modality", "audio", "--thresholds", "t.yaml")
    coleaf(*again)
    assert "holds labels already: remove it, or write to another --out" in coleaf(*again, fails=True)


def test_labels_of_other_classes_are_not_mixed(coleaf: Command, arguments: tuple[object, ...], tmp_path: Path) -> None:
    coleaf(*arguments, "--modality", "audio", "--thresholds", "t.yaml")
    path = tmp_path / "pl" / "labels.yaml"
    path.write_text(path.read_text().replace("- Dog", "- Cat"))
    told = coleaf(*arguments, "--modality", "visual", "--thresholds", "t.yaml", fails=True)
    assert "records labels of another kind or other classes" in told


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (
            ("--thresholds", "choose"),
            "for the highest F against the segment truth of tiny val, which they have thus seen",
        ),
        (
            ("--positive-share", 0.5),
            "exceeded by 50% of the segments of videos whose weak label has the class, tiny train",
        ),
        (("--false-positive-rate", 0.1), "whose weak label lacks the class, tiny train; no segment truth was read"),
    ],
)
def test_what_chose_the_thresholds_is_said(
    coleaf: Command, arguments: tuple[object, ...], tmp_path: Path, how: tuple[object, ...], told: str
) -> None:
    assert told in coleaf(*arguments, "--modality", "audio", *how)
    assert told in read_yaml(tmp_path / "pl" / "labels.yaml")["audio"]["thresholds_from"]


def test_centroids_of_a_stream_need_weak_labels_alone(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    """The same labels with and without the ground truth; and those of a slow implementation."""
    made = ("pseudo-label", data_root, *TEACHER, "--modality", "visual", "--embeddings", "stream:visual", "--text",
            "centroids", "--false-positive-rate", 0.25)  # fmt: skip
    assert "from the weak labels of 6 training videos; no truth was read" in coleaf(*made, "--out", "with")
    for path in data_root.glob("AVVP_eval_*.csv"):
        path.unlink()
    coleaf(*made, "--out", "without")
    data = AVVPFolder(data_root, "train")
    found = {v: np.load(tmp_path / "without" / "visual" / f"{v}.npy") for v in data.ids}
    assert all(np.array_equal(x, np.load(tmp_path / "with" / "visual" / f"{v}.npy")) for v, x in found.items())

    rows = np.stack([data[i].streams["visual"].double().numpy().reshape(SEGMENTS, 2, 8).mean(1) for i in range(6)])
    weak = np.stack([data[i].labels.numpy() for i in range(6)])
    rows = rows - rows.mean((0, 1))
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    for c in range(3):
        centroid = rows[weak[:, c] == 1].mean((0, 1)) - rows[weak[:, c] == 0].mean((0, 1))
        cosines = rows @ (centroid / np.linalg.norm(centroid))
        others = np.sort(cosines[weak[:, c] == 0].ravel())[::-1]
        expected = (cosines > others[round(0.25 * len(others))]) & (weak[:, c] == 1)[:, None]
        assert np.array_equal(np.stack([found[v][:, c] for v in data.ids]), expected)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), "the teacher embeddings needs --modality"),
        (("--modality", "video", "--positive-share", 0.5), "--modality video: expected audio or visual"),
        (("--modality", "audio"), "embeddings need thresholds: pass --thresholds FILE, choose or valor"),
        (("--modality", "audio", "--thresholds", "valor"), "is for scaled cosines: pass --scale too"),
        (("--modality", "audio", "--thresholds", "valor", "--scale", 100), "for LLP's 25 classes, not for these 3"),
        (("--modality", "audio", "--thresholds", "best"), "'best': expected a file, choose or valor"),
        (("--modality", "audio", "--thresholds", "no.yaml"), "no.yaml: no such file"),
        (("--modality", "audio", "--thresholds", "choose", "--positive-share", 0.5), "exclude each other"),
        (("--modality", "audio", "--positive-share", 1.5), "--positive-share 1.5: expected a share between 0 and 1"),
        (
            ("--modality", "audio", "--positive-share", 0.5, "--frames", "x"),
            "--frames is not for the teacher embeddings",
        ),
        (
            ("--modality", "audio", "--positive-share", 0.5, "--device", "cpu"),
            "--device is not for the teacher embeddings",
        ),
        (("--modality", "audio", "--positive-share", 0.5, "--split", "test"), "te00.npy: no such file"),
        (("--modality", "audio", "--positive-share", 0.5, "--embeddings", "stream:none"), "has no stream 'none'"),
        (("--modality", "audio", "--positive-share", 0.5, "--embeddings", "none"), "none: no such folder"),
        (
            ("--modality", "audio", "--positive-share", 0.5, "--text", "embeddings/tr00.npy"),
            "4 rows, where 3 were expected",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    coleaf: Command, arguments: tuple[object, ...], tmp_path: Path, more: tuple[object, ...], told: str
) -> None:
    assert told in coleaf(*arguments, *more, fails=True)
    assert not (tmp_path / "pl" / "labels.yaml").exists()


@pytest.mark.parametrize("own", [{"model": "mine"}, {"prompts": Path("mine.yaml")}])
def test_valors_thresholds_are_no_default_for_another_model(own: dict[str, Any]) -> None:
    clip = {"teacher": "clip", "frames": Path("frames")}
    with pytest.raises(ValueError, match="VALOR's thresholds are for its own model and prompts"):
        resolve_thresholds(Request(**clip, **own), pytest.fail, LLP_CLASSES)
    for request in (Request(**clip), Request(**clip, **own, thresholds="valor")):
        assert resolve_thresholds(request, pytest.fail, LLP_CLASSES).told == "VALOR's, for LLP's classes"


def test_a_class_in_every_weak_label_has_no_false_positives(
    coleaf: Command, arguments: tuple[object, ...], data_root: Path
) -> None:
    path = data_root / "AVVP_train.csv"
    path.write_text(path.read_text().replace("Car", "Car,Dog").replace("Speech", "Speech,Dog"))
    told = coleaf(*arguments, "--modality", "audio", "--false-positive-rate", 0.1, fails=True)
    assert "tiny train: no weak label lacks 'Dog', so this rule has no segments to choose by" in told


def test_an_unknown_teacher_is_refused(coleaf: Command, data_root: Path) -> None:
    told = coleaf("pseudo-label", data_root, "--teacher", "clop", "--out", "pl", fails=True)
    assert "--teacher clop: expected one of embeddings, clip, clap" in told


def test_thresholds_are_not_chosen_where_there_is_no_truth(
    coleaf: Command, arguments: tuple[object, ...], data_root: Path
) -> None:
    (data_root / "AVVP_eval_audio.csv").unlink()
    told = coleaf(*arguments, "--modality", "audio", "--thresholds", "choose", fails=True)
    assert "tiny val has no segment truth to choose thresholds by: pass --positive-share or" in told
