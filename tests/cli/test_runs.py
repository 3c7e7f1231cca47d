"""The commands on runs end to end, on a tiny data set, as a user runs them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import TINY, Command


@pytest.fixture
def run(coleaf: Command, data_root: Path, tmp_path: Path) -> Path:
    coleaf("train", "--data", data_root, "--anchor", "han", "--out", "runs/han", *TINY)
    return tmp_path / "runs/han"


def test_train_evaluate_predict_plot(coleaf: Command, run: Path, data_root: Path, tmp_path: Path) -> None:
    assert {p.name for p in run.iterdir()} == {
        "config.yaml",
        "model.safetensors",
        "resume.safetensors",
        "log.jsonl",
        ".lock",
    }
    table = coleaf("evaluate", run, "--data", data_root, "--split", "test", "--json", "scores.json")
    for row in ("HAN in CoLeaF", "empty parser", "video-label parser", "event-level, support-only"):
        assert row in table
    assert len(next(iter(json.loads((tmp_path / "scores.json").read_text())["runs"].values()))) == 36

    always = ("--set", "decision.segment_threshold=0", "--set", "decision.gate_threshold=0")
    coleaf("predict", run, "--data", data_root, "--split", "test", "--out", "p.json", *always)
    predictions = json.loads((tmp_path / "p.json").read_text())
    video = predictions["videos"]["te00"]
    assert video["seconds"] == 4
    assert {event["modality"] for event in video["events"]} == {"audible-visible"}
    assert set(video["events"][0]) == {"label", "modality", "onset", "offset", "confidence"}
    assert video["ground_truth"][0]["label"] == "Dog"

    assert coleaf("plot", "p.json", "--video", "te00").strip() == "te00.png"
    assert (tmp_path / "te00.png").read_bytes().startswith(b"\x89PNG")
    assert "no video 'te0' among its 3. Did you mean" in coleaf("plot", "p.json", "--video", "te0", fails=True)


def test_seeds_are_averaged(coleaf: Command, run: Path, data_root: Path, tmp_path: Path) -> None:
    seed = ("--set", "trainer.seed=1")
    coleaf("train", "--data", data_root, "--out", "runs/other", *TINY, *seed)
    table = coleaf("evaluate", run, "runs/other", "--split", "val", "--markdown")
    assert "HAN in CoLeaF (2 seeds)" in table
    assert "±" in table


def test_runs_on_differing_data_are_not_put_into_one_table(
    run: Path, data_root: Path, tmp_path: Path, coleaf: Command
) -> None:
    import shutil

    shutil.copytree(data_root, tmp_path / "other")
    coleaf("train", "--data", tmp_path / "other", "--out", "runs/other", *TINY)
    assert "differ from the other runs'" in coleaf("evaluate", run, "runs/other", fails=True)
    table = coleaf("evaluate", run, "runs/other", "--data", data_root, "--markdown")
    assert "| HAN in CoLeaF (han) |" in table
    assert "| HAN in CoLeaF (other) |" in table


def test_a_trained_run_cannot_be_changed_afterwards(run: Path, coleaf: Command) -> None:
    for setting in ("coleaf.enabled=false", "anchor.options.width=9", "data.standardize=false"):
        assert "a trained run can only change data.root" in coleaf("evaluate", run, "--set", setting, fails=True)


def test_a_folder_is_not_overwritten_unasked(coleaf: Command, run: Path, data_root: Path, tmp_path: Path) -> None:
    train = ("train", "--data", data_root, "--anchor", "han", "--out", run, *TINY)
    assert "holds another run" in coleaf(*train, fails=True)
    coleaf(*train, "--resume")
    coleaf("train", "--resume", "--out", run)
    coleaf(*train, "--overwrite")
    assert "exclude each other" in coleaf(*train, "--overwrite", "--resume", fails=True)


def test_a_run_can_be_repeated_from_its_config(coleaf: Command, run: Path, tmp_path: Path) -> None:
    coleaf("train", "--config", run / "config.yaml", "--out", "runs/again")
    assert (tmp_path / "runs/again/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_names_its_folder_after_the_run(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    coleaf("train", "--data", data_root, *TINY, "--set", "coleaf.enabled=false")
    assert (tmp_path / "runs/tiny-han-alone-seed0/model.safetensors").exists()


def test_a_run_of_an_older_version_goes_on_unless_a_later_key_is_changed(
    coleaf: Command, run: Path, data_root: Path
) -> None:
    config = run / "config.yaml"
    lines = config.read_text().splitlines()
    later = ("pseudo_label_weight", "reference_ema", "weight_decay")
    assert sum(line.strip().startswith(later) for line in lines) == 3
    config.write_text("\n".join(line for line in lines if not line.strip().startswith(later)) + "\n")
    train = ("train", "--data", data_root, "--anchor", "han", "--out", run, *TINY, "--resume")
    changed = coleaf(*train, "--set", "coleaf.pseudo_label_weight=1", fails=True)
    assert "has coleaf.pseudo_label_weight = 0.0, now it is 1.0" in changed
    coleaf(*train)


def test_thresholds_are_chosen_kept_and_used(coleaf: Command, run: Path, data_root: Path) -> None:
    coleaf.monkeypatch.setenv("COLUMNS", "200")
    printed = coleaf("thresholds", run, "--modality", "both", "--search", "joint", "--column", "segment/Type@AVo")
    assert "segment/Type@AVo on tiny val" in printed
    after = float(printed.rpartition("->")[2].partition(";")[0])
    table = coleaf("evaluate", run, "--split", "val", "--decision", run / "decision.yaml", "--json", "val.json")
    assert "NOTE: the thresholds were chosen on the split 'val', which is scored" in table
    scores = next(iter(json.loads(Path("val.json").read_text())["runs"].values()))
    assert scores["segment/Type@AVo"] == pytest.approx(after, abs=0.06)
    assert "NOTE" not in coleaf("evaluate", run, "--split", "test", "--decision", run / "decision.yaml")
    coleaf("predict", run, "--split", "test", "--decision", run / "decision.yaml", "--out", "p.json")
    both = ("--decision", run / "decision.yaml", "--set", "decision.gate=video")
    assert "exclude each other" in coleaf("evaluate", run, "--split", "val", *both, fails=True)
    coleaf("train", "--data", data_root, "--out", "runs/other", *TINY, "--set", "trainer.seed=1")
    other = coleaf("evaluate", "runs/other", "--split", "test", "--decision", run / "decision.yaml")
    assert "NOTE: the thresholds were chosen for other weights than these" in other
    both = coleaf("evaluate", "runs/other", run, "--split", "val", "--decision", run / "decision.yaml")
    assert "for other weights" in both
    assert "no test scores" in both
    assert "make its scores worthless" in coleaf("thresholds", run, "--split", "test", fails=True)
    assert "CHOSEN ON THE TEST SPLIT" in coleaf("thresholds", run, "--split", "test", "--force", "--out", "d.yaml")
    assert "no column 'V'" in coleaf("thresholds", run, "--column", "V", fails=True)
    coleaf("train", "--data", data_root, "--anchor", "han", "--out", run, *TINY, "--overwrite")
    assert not (run / "decision.yaml").exists()


def test_a_published_checkpoint_becomes_a_run(coleaf: Command, run: Path, data_root: Path) -> None:
    import torch

    from coleaf_framework.model import load_anchor

    weights = dict(load_anchor(run).state_dict())
    torch.save({"model": weights | {"old.weight": torch.ones(3)}}, "han.pt")
    shape = ("--data", data_root, "--option", "width=8")
    assert "HAN with" in coleaf("import", "han.pt", "--as", "han", "--out", "imported", *shape)
    assert "HAN" in coleaf("evaluate", "imported", "--data", data_root, "--split", "val")
    again = coleaf("import", "han.pt", "--as", "han", "--out", "imported", *shape, fails=True)
    assert again.endswith("holds another run (config.yaml, model.safetensors): pass --overwrite to replace it\n")
    assert "does not fit 'han'" in coleaf("import", "han.pt", "--as", "han", "--out", "x", fails=True)


def test_the_authors_recipe_is_a_flag(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    import yaml

    coleaf("train", "--data", data_root, "--recipe", "official", "--out", "run", *TINY)
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["recipe"] == "official"
    assert config["coleaf"]["update"] == "reference_first"
    assert config["decision"]["gate_threshold"] == 0.52
    coleaf("evaluate", "run", "--split", "val")
    coleaf("train", "--resume", "--out", "run", "--set", "trainer.epochs=3")
    assert "are those of the recipe 'official'" in coleaf(
        "train", "--config", "run/config.yaml", "--recipe", "paper", "--out", "y", fails=True
    )


def test_a_copy_of_a_run_is_no_second_seed_and_two_imports_are_two_rows(
    coleaf: Command, run: Path, data_root: Path, tmp_path: Path
) -> None:
    import shutil

    import torch

    from coleaf_framework.model import load_anchor

    shutil.copytree(run, tmp_path / "runs/copy")
    assert "are the same training from the same seed 0" in coleaf("evaluate", run, "runs/copy", fails=True)
    for name in ("one", "two"):
        weights = {key: torch.randn_like(x) for key, x in load_anchor(run).state_dict().items()}
        torch.save({"model": weights}, f"{name}.pt")
        shape = ("--data", data_root, "--option", "width=8")
        coleaf("import", f"{name}.pt", "--as", "han", "--out", f"runs/{name}", *shape)
    table = coleaf("evaluate", "runs/one", "runs/two", "--data", data_root, "--markdown")
    assert "| HAN (one) |" in table
    assert "| HAN (two) |" in table
    assert "seeds" not in table


def reorder(folder: Path) -> None:
    (folder / "classes.txt").write_text("Speech\nDog\nCar\n")


def test_an_imported_run_and_its_thresholds_know_the_order_of_their_classes(
    coleaf: Command, run: Path, data_root: Path, tmp_path: Path
) -> None:
    import shutil

    import torch

    from coleaf_framework.model import load_anchor

    shutil.copytree(data_root, tmp_path / "other")
    reorder(tmp_path / "other")
    torch.save(load_anchor(run).state_dict(), "han.pt")
    shape = ("--data", data_root, "--option", "width=8")
    coleaf("import", "han.pt", "--as", "han", "--out", "runs/imported", *shape)
    assert "the model was trained on ['Dog', 'Car', 'Speech']" in coleaf(
        "evaluate", "runs/imported", "--data", "other", fails=True
    )
    coleaf("thresholds", run, "--data", data_root, "--out", "d.yaml")
    coleaf("train", "--data", "other", "--out", "runs/other", *TINY)
    assert "it has 'Dog' where these have 'Speech'" in coleaf(
        "evaluate", "runs/other", "--data", "other", "--decision", "d.yaml", fails=True
    )


def test_a_run_knows_its_data_from_any_folder(
    coleaf: Command, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    coleaf("train", "--data", data_root.relative_to(tmp_path), "--out", "runs/han", *TINY)
    expected = coleaf("evaluate", "runs/han", "--split", "test", "--markdown")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.copytree(data_root, tmp_path / "elsewhere/tiny")
    for path in Path("tiny/feats/vggish").glob("te*.npy"):  # other data under the same relative name
        np.save(path, np.zeros_like(np.load(path)))
    assert coleaf("evaluate", tmp_path / "runs/han", "--split", "test", "--markdown") == expected


def test_without_its_config_a_run_does_not_go_on_with_other_data(coleaf: Command, run: Path) -> None:
    (run / "config.yaml").unlink()
    assert "config.yaml: no such file, so it is not known what the run was trained on" in coleaf(
        "train", "--resume", "--out", run, fails=True
    )


def test_runs_in_folders_of_one_name_are_two_rows(coleaf: Command, data_root: Path) -> None:
    for folder, rate in (("a/run", "0.0005"), ("b/run", "0.1")):
        coleaf("train", "--data", data_root, "--out", folder, *TINY, "--set", f"trainer.learning_rate={rate}")
    table = coleaf("evaluate", "a/run", "b/run", "--split", "val", "--markdown")
    assert "| HAN in CoLeaF (run) |" in table
    assert "| HAN in CoLeaF (b/run) |" in table


def test_a_comparison_is_told_its_recipes_by_one_option(coleaf: Command, data_root: Path) -> None:
    compare = ("compare", "--anchors", "han", "--data", data_root, "--recipes", "paper,strong")
    for setting in ("recipe=official", "han:recipe=official"):
        assert "told its recipes by --recipes" in coleaf(*compare, "--set", setting, fails=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes as a name")
def test_folders_with_any_name_are_trained_on_and_scored(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    data, run, grid = (os.fsdecode(name) for name in (b"d[b]\x1b[31m\xff", b"r[v2]'\"\\\x9b\xfe", b"g[b]\x1b\xff"))
    data_root.rename(tmp_path / data)
    coleaf("train", "--data", data, "--out", run, *TINY)
    assert r"r[v2]" in coleaf.printed
    assert r"d[b]\x1b[31m\udcff val, 3 videos" in coleaf("evaluate", run, "--split", "val")
    compared = coleaf(
        "compare", "--anchors", "han", "--data", data, "--split", "val", "--seeds", 1, "--out", grid, *TINY
    )
    assert r"on d[b]\x1b[31m\udcff val, 3 videos: HAN in CoLeaF less HAN alone" in compared
    assert r"g[b]\x1b\udcff/compare.md" in compared
