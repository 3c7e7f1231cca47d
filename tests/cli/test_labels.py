"""Pseudo-labels on the command line: train, resume, compare, check-labels and convert-labels."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from coleaf_framework.cli.labels import ratio_settings
from coleaf_framework.record.run_record import read_record
from tests.helpers.command import Command
from tests.helpers.labels import label, write_labels

SMALL = ("--anchor", "han", "--set", "anchor.options={width: 8}", "--set", "trainer.device=cpu")
FAST = ("--set", "trainer.epochs=1", "--set", "trainer.batch_size=4")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "own")


def losses_of(run: Path) -> set[str]:
    return set(json.loads((run / "log.jsonl").read_text().splitlines()[0])["losses"])


def test_train_reads_records_and_notices_labels(coleaf: Command, data_root: Path, own: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    coleaf("train", "--data", data_root, "--labels", f"npy={own}", "--out", run, *SMALL, *FAST)
    assert "anchor/segment_labels" in losses_of(run)
    record = read_record(run)
    assert record.labels is not None
    assert (record.labels.sources[0].path, record.coleaf.segment_label_weight) == (own.as_posix(), 1)
    assert record.made_of is not None
    assert "pseudo-labels" in record.made_of.data["train"]
    assert "pseudo-labels" not in record.made_of.data["val"]
    coleaf("train", "--resume", "--out", run)
    np.save(own / "audio" / "tr05.npy", 1 - label(own, "audio", "tr05"))
    assert "the pseudo-labels of 'train' differ" in coleaf("train", "--resume", "--out", run, fails=True)
    coleaf("evaluate", run)  # which needs no labels


def test_a_labels_file_in_the_data_folder_is_read_unless_the_configuration_says_otherwise(
    coleaf: Command, data_root: Path, own: Path, tmp_path: Path
) -> None:
    (data_root / "labels.yaml").write_text(f"kind: npy\npath: {own}\nabout: made up\n")
    with_, without = tmp_path / "with", tmp_path / "without"
    coleaf("train", "--data", data_root, "--out", with_, *SMALL, *FAST)
    coleaf("train", "--data", data_root, "--out", without, "--set", "labels.sources=[]", *SMALL, *FAST)
    assert losses_of(with_) - losses_of(without) == {"anchor/segment_labels"}


def test_noise_ratios_reach_the_anchor_that_takes_them(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "ratios.npz", audio=[0.1, 0.2, 0.3], visual=[0.4, 0.5, 0.6])
    run = tmp_path / "run"
    given = ("--data", data_root, "--labels", f"jomold={tmp_path / 'ratios.npz'}", "--set", "anchor.options.width=8")
    coleaf("train", *given, "--anchor", "cmpae", "--out", run, "--set", "trainer.device=cpu", *FAST)
    assert read_record(run).anchor.options["noise_ratios"]["visual"] == [0.4, 0.5, 0.6]
    assert "han takes no noise ratios" in coleaf(
        "train", *given, "--anchor", "han", "--out", tmp_path / "x", fails=True
    )


def test_names_that_an_anchor_s_ratios_cannot_hold_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    named = {"audio": [0.1, 0.2], "visual": [0.3, 0.4]}
    np.savez(tmp_path / "ratios.npz", classes=["Dog", "Car"], **named)
    (setting,) = ratio_settings([f"jomold={tmp_path / 'ratios.npz'}"], ["cmpae"])
    assert setting.startswith("cmpae:anchor.options.noise_ratios=")
    assert "its classes, Dog, Car, are taken for the data's in this order" in caplog.text


def test_labels_that_do_not_fit_stop_a_comparison_before_it_trains(
    coleaf: Command, data_root: Path, own: Path, tmp_path: Path
) -> None:
    (own / "audio" / "tr00.npy").unlink()
    given = ("--table", 7, "--data", data_root, "--labels", f"npy={own}", "--anchors", "han", "--seeds", 1)
    told = coleaf("compare", *given, "--out", tmp_path / "grid", fails=True)
    assert "1 of the 6 videos of split 'train' have no audio labels" in told
    assert not (tmp_path / "grid").exists()


def test_table_7_needs_labels_and_there_is_no_table_6(coleaf: Command, data_root: Path) -> None:
    assert "--table 7 needs --labels KIND=PATH" in coleaf("compare", "--table", 7, "--data", data_root, fails=True)
    assert "--table 6: no such comparison" in coleaf("compare", "--table", 6, "--data", data_root, fails=True)


def test_check_labels_prints_a_table_and_writes_json(
    coleaf: Command, data_root: Path, own: Path, tmp_path: Path
) -> None:
    write_labels(own, split="va", videos=3)
    printed = coleaf("check-labels", data_root, "--labels", f"npy={own}", "--json", tmp_path / "found.json")
    assert "audio all" in printed
    assert "precision %" in printed
    assert "positive segments" in printed
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [row["class"] for row in rows if row["modality"] == "visual"] == ["Dog", "Car", "Speech", "all"]
    printed = coleaf("check-labels", data_root, "--labels", f"npy={own}", "--split", "train")
    assert "precision" not in printed  # no ground truth
    assert "outside the weak label" in printed


def test_convert_labels_says_what_it_wrote(coleaf: Command, tmp_path: Path) -> None:
    rows = [[torch.tensor(2)], []]
    (tmp_path / "lists.pkl").write_bytes(pickle.dumps([rows, [[], []]]))
    told = coleaf("convert-labels", tmp_path / "lists.pkl", "--out", tmp_path / "out")
    assert "removals.json: 1 visual and 0 audio labels to remove" in told
    assert json.loads((tmp_path / "out" / "removals.json").read_text()) == {"visual": [[2], []], "audio": [[], []]}
