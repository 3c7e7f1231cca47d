"""Pseudo-labels that do not fit: one sentence each, before training begins; and pickles, which are never executed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coleaf_framework.collaboration import read_noise_ratios
from coleaf_framework.data import AVVPFolder
from coleaf_framework.data.labels import (
    LabelsConfig,
    WithPseudoLabels,
    convert_labels,
    parse_labels,
    read_labels_file,
)
from tests.helpers.data import Bomb
from tests.helpers.labels import label, write_labels


def opened(data_root: Path, kind: str, path: Path, split: str = "train", **more: Any) -> WithPseudoLabels:
    labels = LabelsConfig(sources=({"kind": kind, "path": str(path), **more},))
    return WithPseudoLabels(AVVPFolder(data_root, split), labels)


def with_value(value: float) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        labels = label(root, "audio", "tr02")
        labels[3, 1] = value
        np.save(root / "audio" / "tr02.npy", labels)

    return change


def with_array(array: Any) -> Callable[[Path], None]:
    return lambda root: np.save(root / "visual" / "tr03.npy", array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value(1.5), r"audio/tr02.npy: video 'tr02' has the label 1.5 for class 'Car' in segment 3, where"),
        (with_value(float("nan")), r"tr02.npy: video 'tr02' has the label nan"),
        (with_value(-0.1), r"has the label -0.1"),
        (with_array(np.zeros((5, 3))), r"tr03.npy: found float64 \(5, 3\), expected numbers .*\(T, C\) = \(4, 3\)"),
        (with_array(np.zeros((4, 2))), r"found float64 \(4, 2\)"),
        (with_array(np.zeros((4, 3), "U1")), r"found <U1 \(4, 3\)"),
        (lambda root: (root / "audio" / "tr01.npy").write_bytes(b"no"), r"tr01.npy: not a whole .npy file"),
        (lambda root: (root / "audio" / "tr01.npy").unlink(),
         r"1 of the 6 videos of split 'train' have no audio labels, such as 'tr01'; `partial: true`"),
        (lambda root: np.save(root / "audio" / "who.npy", np.zeros((4, 3))),
         r"labels of 1 videos in no split of tiny, such as 'who'"),
    ],
)  # fmt: skip
def test_an_array_that_does_not_fit_is_named(
    data_root: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    root = write_labels(tmp_path / "own")
    change(root)
    with pytest.raises(ValueError, match=message):
        opened(data_root, "npy", root)


def test_labels_of_no_video_at_all_are_refused_though_partial(data_root: Path, tmp_path: Path) -> None:
    root = write_labels(tmp_path / "own", split="va", videos=3)
    with pytest.raises(ValueError, match="6 of the 6 videos .* and no other labels"):
        opened(data_root, "npy", root, partial=True)


def test_a_modality_of_no_video_is_no_reason_to_refuse_the_other(data_root: Path, tmp_path: Path) -> None:
    root = write_labels(tmp_path / "own", videos=5, modalities=("visual",))
    write_labels(root, "va", 3, modalities=("audio",))  # labels of videos of another split alone
    mask = opened(data_root, "npy", root, partial=True).pseudo_labels(0).mask
    assert (bool(mask[:, 0].any()), bool(mask[:, 1].all())) == (False, True)


def test_valors_labels_outside_the_weak_label_are_of_other_data(data_root: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "own")
    for old, new in (("audio", "CLAP"), ("visual", "CLIP")):
        (tmp_path / new).mkdir()
        (tmp_path / "own" / old).rename(tmp_path / new / "segment_pseudo_labels")
    with pytest.raises(ValueError, match="labels 'Car', which the weak label of video 'tr00' lacks"):
        opened(data_root, "valor", tmp_path)


def test_a_folder_of_another_layout_is_named(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="CLAP/segment_pseudo_labels and .*no such folders"):
        opened(data_root, "valor", write_labels(tmp_path / "own"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"audio": [[1], [], []], "visual": [[], [], []]}, "audio: row 1: removes 'Dog' from video 'tr01', whose weak"),
        ({"audio": [[6], [], []], "visual": [[], [], []]}, "class 'Dog': 6 is no row of the 6 weak labels"),
        ({"audio": [[True], [], []], "visual": [[], [], []]}, "True is no row"),
        ({"audio": [[], []], "visual": [[], [], []]}, "audio has 2 lists, the data set 3 classes"),
        ({"audio": [[], [], []]}, "with the keys audio and visual"),
        ({"audio": {"Dgo": []}, "visual": {}}, "no class 'Dgo'. Did you mean 'Dog'"),
        ({"audio": {"Dog": ["va00"]}, "visual": {}}, "'va00' is no video of the training split"),
        ({"audio": {"Dog": "tr00"}, "visual": {}}, "where a list of ids was expected"),
    ],
)
def test_removals_that_do_not_fit_are_named(data_root: Path, tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "removals.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        opened(data_root, "ma", path)


@pytest.mark.parametrize(("kind", "name"), [("lsld", "final.npz"), ("ma", "lists.pkl")])
def test_a_pickle_is_to_be_converted_first(data_root: Path, tmp_path: Path, kind: str, name: str) -> None:
    bomb(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: convert it first, by coleaf convert-labels"):
        opened(data_root, kind, tmp_path / name)


def test_removals_are_of_the_training_split_alone(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of the training split, not of 'val'"):
        opened(data_root, "ma", tmp_path / "removals.json", split="val")


@pytest.mark.parametrize(
    ("text", "message"),
    [("own", "expected KIND=PATH"), ("vallor=x", "Did you mean 'valor'"), ("npy=", "expected KIND=PATH")],
)
def test_a_wrong_option_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_labels([text])


def test_a_labels_file_that_says_another_kind_wins_no_argument(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("kind: lsld\n")
    with pytest.raises(ValueError, match=r"labels.yaml says that its labels are of kind lsld"):
        parse_labels([f"npy={tmp_path}"])


def test_a_labels_file_of_several_sources_is_not_read_for_its_first_alone(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("sources: [{kind: npy, path: a}, {kind: npy, path: b}]\n")
    with pytest.raises(ValueError, match=r"labels.yaml names 2 sources: pass each by --labels KIND=PATH"):
        parse_labels([f"npy={tmp_path}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: jomold\npath: x.npz\n", "holds noise ratios and no labels"),
        ("kind: clip\n", "labels.yaml: kind: Input should be"),
        ("sources: []\n", "names no source"),
        ("kind: npy\nintersects: true\n", "Did you mean 'intersect'"),
    ],
)
def test_a_wrong_labels_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels_file(tmp_path / "labels.yaml")


def bomb(path: Path) -> None:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps([Bomb(), []]))
    else:
        np.savez(path, label_a=np.array({"x": Bomb()}), label_v=np.array({"x": Bomb()}))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lists.pkl", "final.npz"])
def test_a_pickle_that_would_execute_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    bomb(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: .*which a file of labels has no use for"):
        convert_labels(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[], [], []], r"expected a list \[visual, audio\]"),
        ([[3], []], "where a list of rows for each class was expected"),
        ([[[torch.tensor(0.5)]], [[]]], "where the number of a row was expected"),
    ],
)
def test_a_pickle_of_something_else_is_named(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "lists.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message):
        convert_labels(tmp_path / "lists.pkl", tmp_path / "out")


def test_ids_that_would_leave_the_folder_are_refused(tmp_path: Path) -> None:
    labels = np.array({"../x": torch.zeros(2, 2)})
    np.savez(tmp_path / "final.npz", label_a=labels, label_v=labels)
    with pytest.raises(ValueError, match=r"label_a: '../x' is no id of a video"):
        convert_labels(tmp_path / "final.npz", tmp_path / "out")


def test_converting_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "lists.pkl").write_bytes(pickle.dumps([[], []]))
    with pytest.raises(FileExistsError, match="holds something already"):
        convert_labels(tmp_path / "lists.pkl", tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"audio": [0.1, 0.2]}, "expected the arrays 'audio' and 'visual', one ratio per class; 'visual' is none"),
        ({"audio": [0.1, 0.2], "visual": [0.1]}, "noise ratios of 2 audio and 1 visual classes"),
        ({"audio": [0.1, 1.2], "visual": [0.1, 0.1]}, r"the audio noise ratios must be in \[0, 1\], got 1.2"),
        ({"audio": [0.1, float("nan")], "visual": [0.1, 0.1]}, "audio"),
    ],
)
def test_wrong_noise_ratios_are_named(tmp_path: Path, arrays: Any, message: str) -> None:
    np.savez(tmp_path / "ratios.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_noise_ratios(tmp_path / "ratios.npz")


def test_labels_of_other_classes_are_refused(data_root: Path, tmp_path: Path) -> None:
    root = write_labels(tmp_path / "own")
    opened(data_root, "npy", root, classes=("Dog", "Car", "Speech"))
    with pytest.raises(ValueError, match=r"its labels are of the classes \['Car', 'Dog', 'Speech'\], the data set has"):
        opened(data_root, "npy", root, classes=("Car", "Dog", "Speech"))
