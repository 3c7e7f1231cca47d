"""Numbers that are of something else than they seem: refused, or said beside them wherever they are shown."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from coleaf_framework import CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder, open_folder, pack
from coleaf_framework.record.provenance import MadeOf, changes, data_changes, rewritten
from coleaf_framework.record.sources import sources
from coleaf_framework.results import read_predictions
from coleaf_framework.storage import read_yaml, write_yaml
from tests.helpers.command import Command
from tests.helpers.data import last, write_features
from tests.helpers.networks import NETWORK

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


@pytest.mark.slow
def test_a_grid_of_other_data_is_refused_kept_with_a_note_or_trained_anew(
    coleaf: Command, data_root: Path, tmp_path: Path, compare: tuple[object, ...]
) -> None:
    write_features(data_root, "tr01", seed=1)
    told = coleaf(*compare, fails=True)
    assert "2 of 2 runs in grid are of other code or data than now; of han-alone-seed0, the features (audio" in told
    assert "--rerun trains them anew, --accept-changes keeps them and says so" in told
    before = (tmp_path / "grid/han-alone-seed0/model.safetensors").stat().st_mtime_ns
    for printed in (coleaf(*compare, "--accept-changes"), coleaf(*compare)):
        assert "NOTE: kept or resumed with --accept-changes, though the features (audio" in printed
    for name in ("compare.md", "compare.csv", "compare.json", "compare-types.md"):
        assert "--accept-changes" in (tmp_path / "grid" / name).read_text()
    assert (tmp_path / "grid/han-alone-seed0/model.safetensors").stat().st_mtime_ns == before
    truth = data_root / "AVVP_eval_audio.csv"
    truth.write_text(truth.read_text().replace("\t1\t3\t", "\t0\t3\t"))
    assert "the annotations of 'val' differ" in coleaf(*compare, fails=True)
    assert "--accept-changes" not in coleaf(*compare, "--rerun")
    assert (tmp_path / "grid/han-alone-seed0/model.safetensors").stat().st_mtime_ns != before


@pytest.mark.slow
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
    assert "since the run began, the features (audio" in coleaf(*again, fails=True)
    coleaf(*again, "--accept-changes")
    assert "NOTE: kept or resumed with --accept-changes, though the features" in coleaf("evaluate", run)


def test_files_written_again_are_told_where_not_all_was_read() -> None:
    before, now = (MadeOf(data={"train": {"audio": f"npy:1 written:{when}"}}) for when in "ab")
    assert "written again, with the same sizes" in rewritten(before, now)[0]
    assert changes(before, now) == []


def test_a_folder_and_a_store_of_it_are_the_same_data(data_root: Path, tmp_path: Path) -> None:
    """Also a store of that store; a store of other content is not."""
    pack(data_root, tmp_path / "s", dtype="float32")
    pack(tmp_path / "s", tmp_path / "again", dtype="bfloat16")
    roots = (data_root, tmp_path / "s", tmp_path / "again")
    first, *others = ({"train": open_folder(root, "train").digests()} for root in roots)
    assert [data_changes(first, other) for other in others] == [[], []]
    write_features(data_root, "tr02", seed=1)
    pack(data_root, tmp_path / "other")
    other = {"train": open_folder(tmp_path / "other", "train").digests()}
    assert data_changes(first, other) == ["the features (audio, visual, visual_st) of 'train' differ"]


def test_a_store_that_does_not_tell_its_source_is_said_to_be_incomparable() -> None:
    told = data_changes({"train": {"audio": "npy:1"}}, {"train": {"audio": "store:1"}})
    assert told == ["whether the features of 'train' are the same cannot be told of a folder and a store"]


@pytest.mark.parametrize("now", [{}, {"val": {"annotations": "text:1"}}])
def test_a_split_that_came_or_went_is_a_change(now: dict[str, dict[str, str]]) -> None:
    before = {"train": {"annotations": "text:1"}}
    found = changes(MadeOf(data=before | ({} if now else {"val": {}})), MadeOf(data=before | now))
    assert found == [f"the split 'val' is {'new' if now else 'gone'}"]


def test_a_store_of_other_content_has_another_digest(data_root: Path, tmp_path: Path) -> None:
    pack(data_root, tmp_path / "a", dtype="float32")
    write_features(data_root, "tr02", seed=1)
    pack(data_root, tmp_path / "b", dtype="float32")
    before, now = (MadeOf(data={"train": open_folder(tmp_path / name, "train").digests()}) for name in "ab")
    assert changes(before, now) == ["the features (audio, visual, visual_st) of 'train' differ"]


def test_a_large_folder_notices_files_that_were_not_sampled(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coleaf_framework.data.features._SAMPLED", 1)
    before = open_folder(data_root, "train").digests()
    write_features(data_root, "tr03", seed=1)
    now = open_folder(data_root, "train").digests()
    assert "written again" in rewritten(MadeOf(data={"train": before}), MadeOf(data={"train": now}))[0]


def test_a_class_without_a_file_has_no_sources() -> None:
    made: dict[str, type] = {}
    exec("class Typed: pass", {"__name__": "console"}, made)
    assert sources(made["Typed"]) == {}


def test_the_framework_s_own_files_are_told_by_its_version() -> None:
    assert changes(MadeOf(version="0.0.1"), MadeOf(version="0.0.2")) == ["coleaf_framework was 0.0.1 and is 0.0.2"]


def test_scores_on_other_data_than_those_of_training_are_told(
    coleaf: Command, data_root: Path, tmp_path: Path, run: str
) -> None:
    shutil.copytree(data_root, tmp_path / "moved")
    assert "NOTE" not in coleaf("evaluate", run, "--data", "moved")
    write_features(tmp_path / "moved", "tr01", seed=1)
    assert f"NOTE: its data are moved, not {data_root}: the features" in coleaf("evaluate", run, "--data", "moved")
    write_features(data_root, "te01", seed=1)
    assert "NOTE: its data are others now: the features (audio" in coleaf("evaluate", run)
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
    assert "compare sets that itself" in told
    Path("alone.yaml").write_text("coleaf: {enabled: false}\n")
    told = coleaf("compare", "--anchors", "han", "--data", data_root, "--config", "alone.yaml", fails=True)
    assert "alone.yaml: coleaf.enabled is false, but compare sets that itself" in told


def test_seconds_are_not_taken_for_segments(data_root: Path) -> None:
    last(data_root, "tr01", 5)
    for name in ("train", "val_pd", "test_pd"):
        path = data_root / f"AVVP_{name}.csv"
        path.write_text(path.read_text().replace("_0_4", "_0_10").replace("_0_5", "_0_10"))
    with pytest.raises(ValueError, match=r"tr00\.npy: 4 rows, no multiple of the 10 s that the annotations say"):
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


@pytest.mark.slow
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


def write_package(folder: Path, **files: str) -> None:
    folder.mkdir()
    for name, text in ({"__init__": ""} | files).items():
        (folder / f"{name}.py").write_text(text)


def test_sources_are_what_a_file_imports_whatever_the_process_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also constants, imports within functions, relative ones; not the package's other networks."""
    write_package(
        tmp_path / "srcpkg",
        a="import srcpkg.layers\nfrom srcpkg.consts import X\nclass A:\n    def f(self):\n        from . import late\n",
        b="import srcpkg.layers\nclass B: pass\n",
        layers="import torch, json",
        consts="X = 1",
        late="",
    )
    monkeypatch.syspath_prepend(tmp_path)
    first = sources(importlib.import_module("srcpkg.a").A)
    importlib.import_module("srcpkg.b")
    importlib.import_module("srcpkg.late")
    assert sources(importlib.import_module("srcpkg.a").A) == first
    assert first.keys() == {"__init__.py", "a.py", "consts.py", "late.py", "layers.py"}


def test_installed_packages_beside_a_network_are_not_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / ".venv/lib/site-packages"
    installed.mkdir(parents=True)
    (installed / "src_dep.py").write_text("")
    (tmp_path / "src_net.py").write_text("import src_dep\nclass N: pass\n")
    monkeypatch.syspath_prepend(installed)
    monkeypatch.syspath_prepend(tmp_path)
    assert sources(importlib.import_module("src_net").N).keys() == {"src_net.py"}
    (installed / "src_single.py").write_text("import src_dep\nclass S: pass\n")
    assert sources(importlib.import_module("src_single").S).keys() == {"src_single.py"}


@pytest.mark.slow
def test_other_lines_of_a_script_are_not_its_network(tmp_path: Path) -> None:
    found = []
    for epochs, width in ((1, 1), (2, 1), (2, 2)):
        (tmp_path / "s.py").write_text(
            f"from coleaf_framework.record.sources import sources\nEPOCHS = {epochs}\n"
            f"class Net:\n    width = {width}\nprint(sources(Net))\n"
        )
        run = [sys.executable, str(tmp_path / "s.py")]
        found.append(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert found[0] == found[1] != found[2]
    assert found[0].startswith("{'Net': ")


@pytest.mark.slow
def test_accepted_cells_are_trained_anew_on_request(
    coleaf: Command, data_root: Path, tmp_path: Path, compare: tuple[object, ...]
) -> None:
    write_features(data_root, "tr01", seed=1)
    coleaf(*compare, "--accept-changes")
    assert "NOTE" not in coleaf(*compare, "--rerun")


def test_a_run_of_before_code_and_data_were_recorded_says_so(coleaf: Command, run: str) -> None:
    content = unsigned(Path(run) / "config.yaml")
    del content["made_of"]
    write_yaml(Path(run) / "config.yaml", content)
    coleaf("train", "--out", run, "--resume", "--set", "trainer.epochs=2")
    assert "NOTE: it was begun before code and data were recorded" in coleaf("evaluate", run)


def test_a_model_that_was_handed_on_without_its_log_was_not_cut_short(coleaf: Command, run: str) -> None:
    (Path(run) / "log.jsonl").unlink()
    assert "NOTE" not in coleaf("evaluate", run)


def test_thresholds_of_ones_own_are_not_said_to_be_chosen(coleaf: Command, run: str) -> None:
    content = unsigned(Path(run) / "config.yaml")
    content["decision"]["chosen_on"] = "test"  # type: ignore[index]
    write_yaml(Path(run) / "config.yaml", content)
    assert "no test scores" in coleaf("evaluate", run)
    assert "no test scores" not in coleaf("evaluate", run, "--set", "decision.gate_threshold=0.3")


def test_predictions_that_cannot_be_scored_replace_none_that_can(
    coleaf: Command, data_root: Path, tmp_path: Path, run: str
) -> None:
    coleaf("predict", run, "--split", "val")
    shutil.copytree(data_root, tmp_path / "weak")
    for path in (tmp_path / "weak").rglob("AVVP_eval_*.csv"):
        path.unlink()
    coleaf("predict", run, "--split", "val", "--data", tmp_path / "weak", "--out", "weak.json")
    assert read_predictions(Path(run), "val").truth is not None


@pytest.mark.parametrize(("epochs", "warned"), [(1, True), (2, False)])
def test_a_training_that_ends_within_the_warmup_says_so(
    data_root: Path, caplog: pytest.LogCaptureFixture, epochs: int, warned: bool
) -> None:
    data = open_folder(data_root, "train")
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options={"width": 8})
    CoLeaFTrainer(model, TrainerConfig(epochs=epochs, device="cpu"), quiet=True).fit(data)
    assert ("trainer.epochs=1 ends before the Reference teaches the Anchor" in caplog.text) == warned
