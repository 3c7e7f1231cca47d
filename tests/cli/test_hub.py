"""Runs that are pushed to the Hugging Face Hub and named by their repository, as a user does it, on a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coleaf_framework import wrap
from coleaf_framework.data import AVVPFolder
from coleaf_framework.record.config import DataConfig
from tests.helpers.command import Command
from tests.helpers.hub import StandIn
from tests.helpers.networks import NETWORK
from tests.helpers.parsing import CLIPS, MINI, write_run

NAME = "ada/mini"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def pushed(coleaf: Command, hub: StandIn, run: Path, *options: object) -> str:
    """Push a run; its commit."""
    coleaf("push", run, NAME, *options)
    return hub.repositories[NAME].head


def answers(path: Path) -> object:
    content = json.loads(path.read_text())
    return content["videos"]


def test_a_pushed_run_predicts_as_the_run_does(coleaf: Command, hub: StandIn, run: Path, tmp_path: Path) -> None:
    commit = pushed(coleaf, hub, run)
    for name, place in ((run, "own.json"), (NAME, "hub.json"), (f"{NAME}@{commit}", "pinned.json")):
        coleaf("predict", name, "--data", MINI, "--out", place)
    assert answers(tmp_path / "own.json") == answers(tmp_path / "hub.json") == answers(tmp_path / "pinned.json")
    notes = json.loads((tmp_path / "hub.json").read_text())
    assert f"the run is {NAME} of the Hugging Face Hub, commit {commit}" in json.dumps(notes)


@pytest.mark.slow
def test_a_pushed_run_parses_a_clip_as_the_run_does(coleaf: Command, hub: StandIn, run: Path, tmp_path: Path) -> None:
    pushed(coleaf, hub, run)
    for name, place in ((run, "own.json"), (NAME, "hub.json")):
        coleaf("parse", CLIPS[0], "--run", name, "--json", place)
    assert answers(tmp_path / "own.json") == answers(tmp_path / "hub.json")


def test_evaluate_scores_a_repository_and_tells_its_commit(
    coleaf: Command, hub: StandIn, run: Path, tmp_path: Path
) -> None:
    commit = pushed(coleaf, hub, run)
    own = coleaf("evaluate", run, "--data", MINI, "--markdown", "--json", "own.json")
    other = coleaf("evaluate", NAME, "--data", MINI, "--markdown", "--json", "hub.json")
    assert f"NOTE: the run is {NAME} of the Hugging Face Hub, commit {commit}" in other
    assert own.partition("NOTE")[0].strip() == other.partition("NOTE")[0].strip()
    scores = [json.loads((tmp_path / name).read_text())["runs"] for name in ("own.json", "hub.json")]
    assert scores[0][str(run)] == scores[1][NAME]


def test_the_card_has_the_scores_of_the_kept_predictions(coleaf: Command, hub: StandIn, run: Path) -> None:
    coleaf("predict", run, "--data", MINI, "--split", "val")
    commit = pushed(coleaf, hub, run, "--license", "apache-2.0")
    files = hub.repositories[NAME].commits[commit]
    card = files["README.md"].decode()
    assert "license: apache-2.0" in card
    assert r"### tuxav\_mini, val" in card
    assert f"coleaf parse video.mp4 --run {NAME}" in card
    assert set(files) == {"README.md", "config.yaml", "model.safetensors", "projection.safetensors"}


def test_a_dry_run_writes_what_would_be_pushed_and_asks_nobody(
    coleaf: Command, hub: StandIn, run: Path, tmp_path: Path
) -> None:
    assert "nothing was pushed" in coleaf("push", run, NAME, "--dry-run", "look")
    assert hub.requests == []
    commit = pushed(coleaf, hub, run)
    written = {path.name: path.read_bytes() for path in (tmp_path / "look").iterdir()}
    assert written == hub.repositories[NAME].commits[commit]
    assert "holds files already" in coleaf("push", run, NAME, "--dry-run", "look", fails=True)


def test_a_card_of_ones_own_is_pushed_as_it_is(coleaf: Command, hub: StandIn, run: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("---\nlicense: mit\n---\n\n# Mine\n")
    commit = pushed(coleaf, hub, run, "--card", "card.md", "--private")
    assert hub.repositories[NAME].commits[commit]["README.md"] == (tmp_path / "card.md").read_bytes()
    assert hub.repositories[NAME].private
    told = coleaf("push", run, NAME, "--card", "card.md", "--license", "mit", fails=True)
    assert "say the licence in its head" in told


def test_nothing_is_kept_in_a_fetched_run(coleaf: Command, hub: StandIn, run: Path, tmp_path: Path) -> None:
    commit = pushed(coleaf, hub, run)
    predicted = coleaf("predict", NAME, "--data", MINI, fails=True)
    assert "predictions cannot be kept in it: pass --out FILE" in predicted
    assert f"hf download {NAME} --revision {commit} --local-dir RUN" in predicted
    assert "thresholds cannot be kept in it" in coleaf("thresholds", NAME, "--data", MINI, fails=True)
    coleaf("predict", NAME, "--data", MINI, "--split", "val", "--out", "p.json")
    coleaf("thresholds", NAME, "--data", MINI, "--out", "decision.yaml")
    snapshot = next((tmp_path / "hub-cache").glob("models--*/snapshots/*"))
    assert {path.name for path in snapshot.iterdir()} == {
        "config.yaml",
        "model.safetensors",
        "projection.safetensors",
    }


def test_a_run_whose_data_lay_on_another_machine_asks_for_them(coleaf: Command, hub: StandIn, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", data=DataConfig(root=str(MINI)))
    pushed(coleaf, hub, run)
    assert "pass --data" in coleaf("evaluate", NAME, fails=True)


def test_a_network_of_ones_own_is_named_in_the_card_and_needs_trust(
    coleaf: Command, hub: StandIn, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_of_ada.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    data = AVVPFolder(data_root, "test")
    wrap("own_of_ada:Own", streams=data.streams, num_classes=len(data.classes)).save(tmp_path / "own")
    commit = pushed(coleaf, hub, tmp_path / "own")
    files = hub.repositories[NAME].commits[commit]
    assert not any(name.endswith(".py") for name in files)
    assert "The network is `own_of_ada:Own`, code of its author's" in files["README.md"].decode()
    assert not any(str(tmp_path).encode() in content for content in files.values())
    refused = coleaf("evaluate", NAME, "--data", data_root, fails=True)
    assert "'own_of_ada:Own', code that is no plugin and would be imported: pass --trust" in refused
    assert (
        coleaf("evaluate", NAME, "--data", data_root, "--trust", "--markdown").partition("NOTE")[0]
        == coleaf("evaluate", "own", "--data", data_root, "--trust", "--markdown").partition("NOTE")[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["remove-labels", "noise-ratios"])
def test_labels_are_judged_by_a_pushed_run_as_by_the_run(
    coleaf: Command, hub: StandIn, run: Path, tmp_path: Path, command: str
) -> None:
    commit = pushed(coleaf, hub, run)
    told = [coleaf(command, name, "--data", MINI, "--out", place) for name, place in ((run, "own"), (NAME, "hub"))]
    assert f"NOTE: the run is {NAME} of the Hugging Face Hub, commit {commit}" in told[1]
    if command == "remove-labels":
        own, other = (json.loads((tmp_path / place).read_text()) for place in ("own", "hub"))
        differ = {key for key in own.keys() | other.keys() if own.get(key) != other.get(key)}
        assert differ <= {"made_by", "checksum"}  # the run's folder stands in it
    else:
        assert (tmp_path / "own").read_bytes() == (tmp_path / "hub").read_bytes()


@pytest.mark.slow
def test_a_pushed_run_is_exported(coleaf: Command, hub: StandIn, run: Path, tmp_path: Path) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason="needs the extra `onnx`")
    pushed(coleaf, hub, run)
    assert "its probabilities differ from PyTorch's by" in coleaf("export", NAME, "--onnx", "hub.onnx")
    assert (tmp_path / "hub.onnx").is_file()


@pytest.mark.parametrize("name", ["mini", "a/b/c", "../ada"])
def test_a_name_that_is_no_repositorys_is_refused_before_anything_is_read(coleaf: Command, name: str) -> None:
    assert "expected user/name" in coleaf("push", "nowhere", name, fails=True)


@pytest.mark.parametrize("command", [("serve", "--run"), ("parse", CLIPS[0], "--run"), ("evaluate",), ("predict",)])
def test_an_unknown_name_is_told_in_one_sentence(coleaf: Command, hub: StandIn, command: tuple[object, ...]) -> None:
    told = coleaf(*command, "ada/nothing", fails=True).strip().splitlines()[-1]
    assert told.startswith("coleaf: ada/nothing: there is no such folder here, and no such repository on the Hub")
