"""What of a run is published: nothing that names this machine, and all that its scores' caveats need."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from coleaf_framework._text import without_folders
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.record.log import read_log, write_log
from coleaf_framework.record.publishing import publishable, write_published
from coleaf_framework.record.run_record import RunRecord, read_record
from coleaf_framework.results.caveats import caveats_of_run
from coleaf_framework.storage import file_digest, read_yaml, write_tensors, write_yaml
from tests.helpers.predictions import write_record

PARTS = st.lists(st.text("abcdefgh019_-é", min_size=3, max_size=6), min_size=2, max_size=4)


def record(tmp_path: Path, config: str) -> RunRecord:
    write_record(tmp_path, config)
    return read_record(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two epochs of three, with weights of one number."""
    folder = tmp_path / "run"
    write_record(folder, "trainer: {epochs: 3}\ndata: {root: /home/ada/llp}")
    write_tensors(folder / "model.safetensors", {"x": torch.zeros(1)})
    write_log(folder / "log.jsonl", [{"epoch": n, "losses": {}} for n in (1, 2)])
    (folder / "resume.safetensors").write_bytes(b"")
    return folder


@given(PARTS, st.sampled_from(["/", "~/", "C:\\", "\\"]))
@example(["home", "ada"], "/")
@example(["Users", "", "ada"], "C:\\")  # as Python writes the path
def test_of_a_path_in_a_sentence_only_the_last_part_is_left(parts: list[str], root: str) -> None:
    path = root + ("\\" if "\\" in root else "/").join(parts)
    assert without_folders(f"its data are {path}, not as before") == f"its data are {parts[-1]}, not as before"


@pytest.mark.parametrize(
    "text", ["https://example.org/a/b", "support/segment/Type@AVo", "1/2/3", "../here/x", "and/or", "a: b", "/"]
)
def test_what_is_no_path_of_a_machine_stays(text: str) -> None:
    assert without_folders(f"so {text} is") == f"so {text} is"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("//nas7/ada/llp", "llp"),
        ("/home//ada///llp", "llp"),
        ("file:///home/ada/llp", "llp"),
        ("file://nas7/ada/llp", "llp"),
        ("~ada/llp", "llp"),
        ("~/llp", "llp"),
        ("{home}/llp", "llp"),
        ("https://example.org//a/b", "https://example.org//a/b"),
    ],
)
def test_each_spelling_of_a_path_is_found(
    text: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "Ada Lovelace"
    monkeypatch.setattr(Path, "home", lambda: home)
    assert without_folders(f"so {text.format(home=home)}, is") == f"so {shown}, is"


def test_trackers_and_their_project_stay_here(tmp_path: Path) -> None:
    trained = record(tmp_path, "trainer: {trackers: [wandb], project: secret of ada, epochs: 3}")
    assert publishable(trained).trainer == TrainerConfig(epochs=3)


def test_of_data_and_labels_only_the_names_are_left(tmp_path: Path) -> None:
    config = """
data: {root: /home/ada l/llp, streams: /home/ada l/streams.yaml, average_frames: true}
labels: {sources: [{kind: npy, path: /home/ada l/labels}]}
made_of: {accepted: ["kept, though /home/ada/llp differs"]}
coleaf: {segment_label_weight: 1.0}
"""
    published = publishable(record(tmp_path, config))
    assert published.data is not None
    assert published.labels is not None
    assert published.made_of is not None
    assert (published.data.root, published.data.streams) == ("llp", "streams.yaml")
    assert published.data.average_frames
    assert published.labels.sources[0].path == "labels"
    assert published.made_of.accepted == ["kept, though llp differs"]


def test_synthetic_data_stay_synthetic(tmp_path: Path) -> None:
    published = publishable(record(tmp_path, "data: {root: null, synthetic_test: 8}"))
    assert published.data is not None
    assert published.data.root is None


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ("anchor: {options: {weights: /home/ada/net.pt}}", "anchor.options.weights"),
        ("anchor: {options: {x: [{y: 'C:\\Users\\ada'}]}}", "anchor.options.x.0.y"),
        ("reference: {options: {weights: ~/nets/net.pt}}", "reference.options.weights"),
    ],
)
def test_a_path_that_a_network_needs_is_refused_and_named(tmp_path: Path, config: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is '.*: a path of this machine, which is not published"):
        publishable(record(tmp_path, config))


def test_classes_may_look_like_paths(tmp_path: Path) -> None:
    names = ["/m/09x0r", "/m/0k4j", "/t/dd00125"]  # as AudioSet names them
    assert publishable(record(tmp_path, "").with_classes(names)).model.classes == names


def test_a_published_run_is_a_run_without_what_only_training_needs(run: Path, tmp_path: Path) -> None:
    published = write_published(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.yaml", "model.safetensors", "log.jsonl"}
    assert read_record(tmp_path / "out") == published
    assert (tmp_path / "out/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert not any(b"/home/ada" in path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_a_published_run_keeps_the_caveats_of_its_training(run: Path, tmp_path: Path) -> None:
    write_published(run, tmp_path / "out")
    assert caveats_of_run(tmp_path / "out", "test") == ["it was trained for 2 of 3 epochs"]


def test_thresholds_are_published_if_they_were_chosen_for_these_weights(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"decision": {"gate": "segment"}, "chosen": {"weights": file_digest(run / "model.safetensors")}}
    write_yaml(run / "decision.yaml", content)
    write_published(run, tmp_path / "fitting")
    assert read_yaml(tmp_path / "fitting/decision.yaml") == content
    write_yaml(run / "decision.yaml", content | {"chosen": {"weights": "0" * 16}})
    with caplog.at_level(logging.WARNING):
        write_published(run, tmp_path / "other")
    assert not (tmp_path / "other/decision.yaml").exists()
    assert "chosen for other weights than the run's" in caplog.text


def test_damaged_weights_are_not_published(run: Path, tmp_path: Path) -> None:
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (run / "model.safetensors").write_bytes(weights)
    with pytest.raises(ValueError, match="its checksum does not fit"):
        write_published(run, tmp_path / "out")


def test_a_log_that_is_nested_without_end_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"[" * 100_000)
    with pytest.raises(ValueError, match="line 1: not an epoch that training logged"):
        read_log(tmp_path / "log.jsonl")
