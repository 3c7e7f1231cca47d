"""Numbers that are of something else than they seem: refused, or said beside them wherever they are shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from coleaf_framework.data import AVVPFolder, open_folder, pack
from coleaf_framework.storage import read_yaml, write_yaml
from coleaf_framework.training.provenance import changes, sources
from tests.evidence.test_grid import NETWORK
from tests.helpers.command import Command
from tests.helpers.data import last, write_features

TINY = [
    x
    for setting in ("trainer.batch_size=4", "anchor.options.width=8", "trainer.monitor=[]", "trainer.device=cpu",
                    "trainer.epochs=1")
    for x in ("--set", setting)
]  # fmt: skip


def unsigned(path: Path) -> dict[str, object]:
    """A YAML file's content, to be changed as if by hand."""
    content = read_yaml(path)
    path.unlink()
    return content


@pytest.fixture
def compare(coleaf: Command, data_root: Path) -> tuple[object, ...]:
    """A finished comparison's arguments."""
    arguments = ("compare", "--anchors", "han", "--data", data_root, "--split", "val", "--seeds", 1, "--jobs", 2,
                 "--out", "grid", *TINY)  # fmt: skip
    coleaf(*arguments)
    return arguments


@pytest.fixture
def run(coleaf: Command, data_root: Path) -> str:
    """A trained run's folder."""
    coleaf("train", "--data", data_root, "--out", "runs/one", *TINY)
    return "runs/one"


def test_a_grid_of_other_data_is_refused_kept_with_a_note_or_trained_anew(
    coleaf: Command, data_root: Path, tmp_path: Path, compare: tuple[object, ...]
) -> None:
    write_features(data_root, "tr01", seed=1)
    told = coleaf(*compare, fails=True)
    assert "2 of 2 runs in grid are of other code or data than now; of han-alone-seed0, the features 'audio'" in told
    assert "--rerun trains them anew, --accept-changes keeps them and says so" in told
    before = (tmp_path / "grid/han-alone-seed0/model.safetensors").stat().st_mtime_ns
    for printed in (coleaf(*compare, "--accept-changes"), coleaf(*compare)):
        assert "NOTE: kept or resumed with --accept-changes, though the features 'audio'" in printed
    for name in ("compare.md", "compare.csv", "compare.json", "compare-types.md"):
        assert "--accept-changes" in (tmp_path / "grid" / name).read_text()
    assert (tmp_path / "grid/han-alone-seed0/model.safetensors").stat().st_mtime_ns == before
    truth = data_root / "AVVP_eval_audio.csv"
    truth.write_text(truth.read_text().replace("\t1\t3\t", "\t0\t3\t"))
    assert "the annotations of 'val' differ" in coleaf(*compare, fails=True)
    assert "--accept-changes" not in coleaf(*compare, "--rerun")
    assert (tmp_path / "grid/han-alone-seed0/model.safetensors").stat().st_mtime_ns != before


def test_a_grid_of_other_code_is_refused(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "stale_layers.py").write_text("SCALE = 1\n")
    (tmp_path / "stale_net.py").write_text("import stale_layers\n" + NETWORK)
    command = ("compare", "--anchors", "stale_net:Own", "--data", data_root, "--split", "val", "--seeds", 1, "--out",
               "grid", *TINY[:2], *TINY[4:])  # fmt: skip
    coleaf(*command)
    (tmp_path / "stale_layers.py").write_text("SCALE = 2\n")
    assert "the Anchor's code has changed (stale_layers.py)" in coleaf(*command, fails=True)


def test_a_run_goes_on_with_other_data_only_where_that_is_accepted(coleaf: Command, data_root: Path, run: str) -> None:
    write_features(data_root, "va01", seed=1)
    again = ("train", "--out", run, "--resume", "--set", "trainer.epochs=2")
    assert "since the run began, features 'audio'" in coleaf(*again, fails=True).replace("the features", "features")
    coleaf(*again, "--accept-changes")
    assert "NOTE: kept or resumed with --accept-changes, though the features" in coleaf("evaluate", run)


def test_files_written_again_are_told_where_not_all_was_read() -> None:
    before, now = ({"data": {"train": {"audio": f"npy:1 {when}"}}} for when in "ab")
    assert "written again, with the same sizes" in changes(before, now)[0]
    assert changes(before, now, moved=True) == []


def test_a_folder_and_its_store_are_not_taken_for_different_data(data_root: Path, tmp_path: Path) -> None:
    pack(data_root, tmp_path / "s", dtype="float32")
    before, now = ({"data": {"train": open_folder(root, "train").digests()}} for root in (data_root, tmp_path / "s"))
    assert changes(before, now) == []


def test_a_store_of_other_content_has_another_digest(data_root: Path, tmp_path: Path) -> None:
    pack(data_root, tmp_path / "a", dtype="float32")
    write_features(data_root, "tr02", seed=1)
    pack(data_root, tmp_path / "b", dtype="float32")
    before, now = ({"data": {"train": open_folder(tmp_path / name, "train").digests()}} for name in "ab")
    assert changes(before, now) == ["the features 'audio', features 'visual', features 'visual_st' of 'train' differ"]


def test_a_large_folder_notices_files_that_were_not_sampled(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coleaf_framework.data.features._SAMPLED", 1)
    before = open_folder(data_root, "train").digests()
    write_features(data_root, "tr03", seed=1)
    now = open_folder(data_root, "train").digests()
    assert "written again" in changes({"data": {"train": before}}, {"data": {"train": now}})[0]


def test_a_class_without_a_file_has_no_sources() -> None:
    made: dict[str, type] = {}
    exec("class Typed: pass", {"__name__": "console"}, made)
    assert sources(made["Typed"]) == {}
    assert set(sources(AVVPFolder)) >= {"folder.py", "annotations.py", "store.py"}


def test_the_framework_s_own_files_are_told_by_its_version() -> None:
    assert changes({"version": "0.0.1"}, {"version": "0.0.2"}) == ["coleaf_framework was 0.0.1 and is 0.0.2"]


def test_scores_on_other_data_than_those_of_training_are_told(
    coleaf: Command, data_root: Path, tmp_path: Path, run: str
) -> None:
    shutil.copytree(data_root, tmp_path / "moved")
    assert "NOTE" not in coleaf("evaluate", run, "--data", "moved")
    write_features(tmp_path / "moved", "tr01", seed=1)
    assert f"NOTE: its data are moved, not {data_root}: the features" in coleaf("evaluate", run, "--data", "moved")
    write_features(data_root, "te01", seed=1)
    assert "NOTE: its data are others now: the features 'audio'" in coleaf("evaluate", run)
    assert f"of {'test'!r} differ" in coleaf("evaluate", run)


def test_a_data_folder_that_means_something_else_from_here_is_refused(coleaf: Command, run: str) -> None:
    content = unsigned(Path(run) / "config.yaml")
    content["data"]["root"] = "tiny"  # type: ignore[index]
    write_yaml(Path(run) / "config.yaml", content)
    assert "its data.root is 'tiny', and relative to which folder is not known" in coleaf("evaluate", run, fails=True)


def test_thresholds_chosen_on_the_scored_split_are_said_everywhere(
    coleaf: Command, data_root: Path, tmp_path: Path, run: str
) -> None:
    coleaf("thresholds", run, "--split", "test", "--force")
    mark = "the thresholds were chosen on the split 'test', which is scored: these are no test scores"
    assert mark in coleaf("evaluate", run, "--decision", f"{run}/decision.yaml", "--json", "s.json")
    coleaf("predict", run, "--decision", f"{run}/decision.yaml")
    coleaf("report", run, "--figures", "figures")
    page = (tmp_path / "report.html").read_text().replace("&#x27;", "'")
    files = ["s.json", f"{run}/predictions-test.json", "figures/numbers.json", "figures/classes.svg"]
    for text in (page, *((tmp_path / name).read_text() for name in files)):
        assert mark in text or "no test scores" in " ".join(text.split())
    # In a run that was trained with them too.
    content = unsigned(tmp_path / run / "decision.yaml")
    (tmp_path / "with.yaml").write_text(yaml.safe_dump({"decision": content["decision"]}))
    coleaf("train", "--data", data_root, "--out", "runs/two", "--config", "with.yaml", *TINY)
    assert mark in coleaf("evaluate", "runs/two")


def test_a_training_that_was_cut_short_is_said(coleaf: Command, tmp_path: Path, run: str) -> None:
    content = unsigned(tmp_path / run / "config.yaml")
    content["trainer"]["epochs"] = 60  # type: ignore[index]
    write_yaml(tmp_path / run / "config.yaml", content)
    told = "it was trained for 1 of 60 epochs"
    assert f"NOTE: {told}" in coleaf("evaluate", run, "--json", "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["notes"] == [told]
    coleaf("predict", run)
    coleaf("report", run)
    assert told in (tmp_path / "report.html").read_text()


def test_a_test_video_in_train_is_said(coleaf: Command, data_root: Path) -> None:
    path = data_root / "AVVP_test_pd.csv"
    path.write_text(path.read_text() + "tr00_0_4\tDog\n")
    coleaf("train", "--data", data_root, "--out", "runs/one", *TINY)
    assert "NOTE: 1 videos are in both 'train' and 'test', such as 'tr00'" in coleaf("evaluate", "runs/one")


def test_an_epoch_chosen_on_the_scored_split_is_said(coleaf: Command, data_root: Path) -> None:
    coleaf("train", "--data", data_root, "--out", "runs/one", *TINY[:4], *TINY[6:])
    assert "NOTE: the best epoch was chosen on the very split" in coleaf("evaluate", "runs/one", "--split", "val")
    assert "NOTE" not in coleaf("evaluate", "runs/one")


@pytest.mark.parametrize("anchor", ["", "han:"])
def test_a_comparison_is_not_told_what_it_compares(coleaf: Command, data_root: Path, anchor: str) -> None:
    setting = f"{anchor}coleaf.enabled=false"
    told = coleaf("compare", "--anchors", "han", "--data", data_root, "--set", setting, fails=True)
    assert "compare says that itself" in told
    Path("alone.yaml").write_text("coleaf: {enabled: false}\n")
    told = coleaf("compare", "--anchors", "han", "--data", data_root, "--config", "alone.yaml", fails=True)
    assert "alone.yaml: coleaf.enabled is false, but compare says that itself" in told


def test_seconds_are_not_taken_for_segments(data_root: Path) -> None:
    last(data_root, "tr01", 5)
    for name in ("train", "val_pd", "test_pd"):
        path = data_root / f"AVVP_{name}.csv"
        path.write_text(path.read_text().replace("_0_4", "_0_10").replace("_0_5", "_0_10"))
    with pytest.raises(ValueError, match=r"tr00\.npy: 4 rows, no multiple of the 10 s of its filename"):
        AVVPFolder(data_root, "train")


def test_every_video_has_as_many_segments_as_seconds(data_root: Path) -> None:
    write_features(data_root, "tr01", segments=2)
    with pytest.raises(ValueError, match="video 'tr01' has 2 segments of features, but lasts 4 s by its filename"):
        AVVPFolder(data_root, "train")[1]


def test_thresholds_per_class_in_a_file_name_their_classes(coleaf: Command, data_root: Path) -> None:
    train = ("train", "--data", data_root, "--config", "c.yaml", "--out", "runs/one", *TINY)
    Path("c.yaml").write_text("decision: {segment_threshold: [0.1, 0.2, 0.3]}\n")
    assert "name the classes, in their order, as decision.classes" in coleaf(*train, fails=True)
    for classes, fails in (("Car, Dog, Speech", True), ("Dog, Car, Speech", False)):
        Path("c.yaml").write_text(f"decision: {{segment_threshold: [0.1, 0.2, 0.3], classes: [{classes}]}}\n")
        told = coleaf(*train, fails=fails)
        assert ("it has 'Car' where these have 'Dog'" in told) == fails


CODE = 'import pathlib\npathlib.Path("executed").touch()\n' + NETWORK


def test_a_run_of_somebody_else_executes_nothing_unasked(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "untrusted_net.py").write_text(NETWORK)
    name = "untrusted_net:Own"
    coleaf("train", "--data", data_root, "--anchor", name, "--out", "runs/own", *TINY[:2], *TINY[4:])
    coleaf("predict", "runs/own", "--trust")
    import sys

    del sys.modules["untrusted_net"]
    (tmp_path / "untrusted_net.py").write_text(CODE)
    commands = (
        ("evaluate", "runs/own"),
        ("predict", "runs/own"),
        ("thresholds", "runs/own"),
        ("flops", "--config", "runs/own/config.yaml"),
        ("train", "--config", "runs/own/config.yaml", "--out", "runs/again"),
        ("train", "--resume", "--out", "runs/own"),
    )
    for command in commands:
        told = coleaf(*command, fails=True)
        assert "'untrusted_net:Own', code that is no plugin and would be imported" in told
        assert "--trust" in told
    coleaf("report", "runs/own")
    assert not (tmp_path / "executed").exists()
    coleaf("evaluate", "runs/own", "--trust")
    assert (tmp_path / "executed").exists()
    coleaf("train", "--resume", "--out", "runs/own", "--anchor", name, "--accept-changes")


def test_a_file_beside_a_user_s_network_stands_in_for_no_module_of_python(
    coleaf: Command, data_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "beside_net.py").write_text(NETWORK)
    for name in ("random", "json", "statistics"):
        (tmp_path / f"{name}.py").write_text(f'raise RuntimeError("{name}.py of the current folder was imported")\n')
    printed = coleaf("compare", "--anchors", "beside_net:Own", "--data", data_root, "--split", "val", "--seeds", 1,
                     "--out", "grid", *TINY[:2], *TINY[4:])  # fmt: skip
    assert "Own in CoLeaF less Own alone" in printed


def test_a_module_of_the_current_folder_is_not_passed_over_for_another(coleaf: Command, tmp_path: Path) -> None:
    (tmp_path / "einops.py").write_text(NETWORK)
    assert f"not {tmp_path / 'einops.py'}, which has the same name" in coleaf("inspect", "einops:Own", fails=True)


def test_digests_of_an_npy_folder_follow_its_content(data_root: Path) -> None:
    before = open_folder(data_root, "train").digests()
    path = data_root / "feats/res152/tr04.npy"
    x = np.load(path)
    x[0, 0] += 1
    np.save(path, x)
    now = open_folder(data_root, "train").digests()
    assert {name for name in now if now[name] != before[name]} == {"visual"}


def test_seeds_of_other_data_are_not_averaged(coleaf: Command, data_root: Path, run: str) -> None:
    write_features(data_root, "tr01", seed=1)
    coleaf("train", "--data", data_root, "--out", "runs/two", *TINY, "--set", "trainer.seed=1")
    for folder in (run, "runs/two"):
        coleaf("predict", folder)
    assert "seeds" not in coleaf("evaluate", run, "runs/two")
    assert "HAN in CoLeaF (one) has" in coleaf("report", run, "runs/two")
    write_features(data_root, "tr01")
    coleaf("train", "--data", data_root, "--out", "runs/three", *TINY, "--set", "trainer.seed=1")
    assert "HAN in CoLeaF (2 seeds)" in coleaf("evaluate", run, "runs/three")
