"""The recipes ma and jomold in all their steps, as a user calls them, on the tiny data set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from coleaf_framework.collaboration import read_noise_ratios
from coleaf_framework.data import AVVPFolder
from coleaf_framework.experiments.steps import missing_steps, train_recipe
from coleaf_framework.labelling.exchange import find_removals, removal_lists
from coleaf_framework.labelling.noise import estimate_noise_ratios
from coleaf_framework.record.run_record import read_record
from coleaf_framework.record.settings import load_config
from coleaf_framework.storage import read_json, read_tensors
from coleaf_framework.training.experiment import load_run
from tests.helpers.command import Command
from tests.helpers.labels import write_labels
from tests.helpers.training import Interrupted, interrupt_at, same_weights

SETTINGS = ("anchor.options.width=8", "trainer.epochs=2", "trainer.batch_size=3", "trainer.device=cpu")
TINY = tuple(x for setting in SETTINGS for x in ("--set", setting))
FILES = {"ma": "removals.json", "jomold": "noise_ratios.npz"}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(read_tensors(run / "model.safetensors"))


def terms(run: Path) -> dict[str, float]:
    losses: dict[str, float] = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["losses"]
    return losses


def test_ma_in_three_steps(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    printed = coleaf("train", "--recipe", "ma", "--data", data_root, "--out", run, *TINY)
    assert "step 1 of 3: train the base model in" in printed
    assert "step 2 of 3: remove labels by exchanged tracks" in printed
    assert "labels, of 6 each, from 6 videos of tiny" in printed
    assert "step 3 of 3: train without the removed labels in" in printed
    config, trainer = load_run(run / "step1")
    data = AVVPFolder(data_root, "train")
    removed, _ = find_removals(trainer, data, seed=1)  # the published seed of training
    content = read_json(run / "removals.json")
    assert {m: content[m] for m in ("audio", "visual")} == removal_lists(removed, data.ids, data.classes)
    assert removed.any()
    first, last = read_record(run / "step1"), read_record(run)
    assert (first.recipe, first.labels, last.recipe) == ("published", None, "ma")
    assert last.labels is not None
    assert [(x.kind, x.path) for x in last.labels.sources] == [("ma", (run / "removals.json").as_posix())]
    assert config.trainer == last.trainer
    assert "anchor/audio_visual_contrast" in terms(run)
    assert not same_weights(weights(run), weights(run / "step1"))
    assert "MA" in coleaf("evaluate", run)


def test_jomold_in_three_steps(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    printed = coleaf("train", "--recipe", "jomold", "--data", data_root, "--out", run, *TINY)
    assert "step 1 of 3: train the noise estimator" in printed
    assert "step 3 of 3: train with denoised labels" in printed
    ratios = read_noise_ratios(run / "noise_ratios.npz")
    assert read_record(run).anchor.options["noise_ratios"] == {
        "audio": list(ratios.audio), "visual": list(ratios.visual)
    }  # fmt: skip
    assert ratios.classes == ("Dog", "Car", "Speech")
    assert read_record(run / "step1").anchor.options["cross_attention"] is False
    assert not any("cm_attn" in name for name in weights(run / "step1"))
    assert any("cm_attn" in name for name in weights(run))
    _, trainer = load_run(run / "step1")
    own = estimate_noise_ratios(trainer, AVVPFolder(data_root, "train"))
    assert own.tolist() == [list(ratios.audio), list(ratios.visual)]
    assert own.any()


@pytest.mark.parametrize("recipe", ["ma", "jomold"])
def test_coleaf_and_other_labels_are_of_the_last_step(
    recipe: str, coleaf: Command, data_root: Path, tmp_path: Path
) -> None:
    labels, run = write_labels(tmp_path / "labels"), tmp_path / "run"
    coleaf("train", "--recipe", recipe, "--data", data_root, "--out", run, *TINY, "--set", "coleaf.enabled=true",
           "--labels", f"npy={labels}")  # fmt: skip
    assert {"reference/video", "anchor/segment_labels"} <= set(terms(run))
    assert not {"reference/video", "anchor/segment_labels"} & set(terms(run / "step1"))
    record = read_record(run)
    assert record.labels is not None
    assert [x.kind for x in record.labels.sources] == ["npy", *(["ma"] if recipe == "ma" else [])]


def end_of(coleaf: Command, recipe: str, data_root: Path, out: Path) -> dict[str, torch.Tensor]:
    coleaf("train", "--recipe", recipe, "--data", data_root, "--out", out, *TINY)
    return weights(out)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["ma", "jomold"])
@pytest.mark.parametrize("step", [3, 5])  # of training: two in each epoch of each run
def test_an_interrupted_run_goes_on_at_the_step_under_way(
    recipe: str, step: int, coleaf: Command, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = end_of(coleaf, recipe, data_root, tmp_path / "whole")
    run = tmp_path / "run"
    config = load_config(settings=(f"recipe={recipe}", f"data.root={data_root}", *SETTINGS))
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            train_recipe(config, run)
    coleaf.capsys.readouterr()
    assert (run / FILES[recipe]).exists() == (step >= 4)
    first = (run / "step1" / "log.jsonl").stat().st_mtime_ns if step >= 4 else None
    told = coleaf("train", "--resume", "--out", run)
    assert ("step 1 of 3" in told) == (step < 4)
    assert "step 3 of 3" in told
    assert same_weights(weights(run), whole)
    if first is not None:
        assert (run / "step1" / "log.jsonl").stat().st_mtime_ns == first


def test_a_step_that_was_finished_is_not_made_again(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    """Between steps 2 and 3, and after all of them, with the same command or with the folder alone."""
    whole, run = end_of(coleaf, "ma", data_root, tmp_path / "run"), tmp_path / "run"
    for name in ("config.yaml", "model.safetensors", "resume.safetensors", "log.jsonl"):
        (run / name).unlink()
    told = coleaf("train", "--recipe", "ma", "--data", data_root, "--out", run, *TINY, "--resume")
    assert "step 1 of 3: train the base model: done before" in told
    assert "step 2 of 3: remove labels by exchanged tracks: done before" in told
    assert same_weights(weights(run), whole)
    assert "step 3 of 3: train without the removed labels, resumed in" in coleaf("train", "--out", run, "--resume")


def test_a_folder_that_holds_something_is_refused_or_replaced(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    given = ("train", "--recipe", "jomold", "--data", data_root, "--out", tmp_path / "run", *TINY)
    assert "run holds no run to go on with: leave out --resume" in coleaf(*given, "--resume", fails=True)
    coleaf(*given)
    ratios = (tmp_path / "run" / "noise_ratios.npz").stat().st_mtime_ns
    assert "holds another run (step1, noise_ratios.npz, recipe.yaml, config.yaml" in coleaf(*given, fails=True)
    coleaf(*given, "--overwrite")
    assert (tmp_path / "run" / "noise_ratios.npz").stat().st_mtime_ns > ratios


def test_given_labels_take_the_place_of_the_first_steps(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"audio": {"Dog": ["tr00"]}, "visual": {}}))
    run = tmp_path / "ma"
    given = ("--data", data_root, *TINY)
    told = coleaf("train", "--recipe", "ma", *given, "--out", run, "--labels", f"ma={tmp_path / 'r.json'}")
    assert "recipe ma: what steps 1 and 2 find is given (--labels ma=FILE), so step 3 alone is made" in told
    assert not (run / "step1").exists()
    np.savez(tmp_path / "n.npz", audio=[0.1] * 3, visual=[0.5] * 3, classes=["Dog", "Car", "Speech"])
    run = tmp_path / "jomold"
    told = coleaf("train", "--recipe", "jomold", *given, "--out", run, "--labels", f"jomold={tmp_path / 'n.npz'}")
    assert "(--labels jomold=FILE), so step 3 alone is made" in told
    assert read_record(run).anchor.options["noise_ratios"]["visual"] == [0.5] * 3


def test_what_is_of_other_classes_is_refused(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    given = ("--data", data_root, *TINY, "--out", tmp_path / "run")
    np.savez(tmp_path / "n.npz", audio=[0.1] * 3, visual=[0.5] * 3, classes=["Dog", "Speech", "Car"])
    told = coleaf("train", "--recipe", "jomold", *given, "--labels", f"jomold={tmp_path / 'n.npz'}", fails=True)
    assert "n.npz: class number 1, from 0, is 'Speech'; the data's is 'Car'" in told
    (tmp_path / "r.json").write_text(json.dumps({"audio": {"Cat": ["tr00"]}, "visual": {}}))
    told = coleaf("train", "--recipe", "ma", *given, "--labels", f"ma={tmp_path / 'r.json'}", fails=True)
    assert "no class 'Cat'" in told
    assert not (tmp_path / "run").exists()
    # Left in the run folder, as by steps that were made with other data.
    for recipe, source in (("jomold", "n.npz"), ("ma", "r.json")):
        out = tmp_path / recipe
        out.mkdir()
        (out / FILES[recipe]).write_bytes((tmp_path / source).read_bytes())
        given = ("--data", data_root, *TINY, "--out", out, "--resume")
        told = coleaf("train", "--recipe", recipe, *given, fails=True)
        assert f"{out / FILES[recipe]}: " in told
        assert "class" in told
        assert not (out / "config.yaml").exists()


def test_what_cannot_be_made_is_said_before_anything_is_trained(
    coleaf: Command, data_root: Path, tmp_path: Path
) -> None:
    given = ("--data", data_root, *TINY, "--out", tmp_path / "run")
    told = coleaf("train", "--recipe", "jomold", *given, "--set", "anchor.options.cross_attention=false", fails=True)
    assert "cross_attention=false is the network of step 1" in told
    told = coleaf("train", "--recipe", "ma", *given, "--set", "anchor.options.heads=3", fails=True)
    assert "MA: width=8 is not a multiple of heads=3" in told
    train = data_root / "AVVP_train.csv"
    train.write_text(train.read_text().replace("tr00_0_4\tDog", "tr00_0_4\tDog,Car,Speech"))
    told = coleaf("train", "--recipe", "ma", *given, fails=True)
    assert "video 'tr00' shares a label with every other one of 6" in told
    assert not (tmp_path / "run").exists()


def test_a_grid_does_not_make_the_first_steps(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    told = coleaf("ablate", "--data", data_root, "--anchors", "ma", "--out", tmp_path / "grid", "--seeds", 1,
                  "--variant", "all: recipe=ma", fails=True)  # fmt: skip
    assert "recipe ma has steps before its training, which a grid does not make" in told
    assert not (tmp_path / "grid").exists()


def test_the_recipes_without_first_steps() -> None:
    config = load_config(settings=("recipe=jomold", "anchor.options.noise_ratios={audio: 0, visual: 0}"))
    assert missing_steps(config) is None
    assert missing_steps(load_config(settings=("recipe=published", "anchor.name=ma"))) is None
    assert missing_steps(load_config(settings=("recipe=ma",))) is not None


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["ma", "jomold"])
def test_synthetic_data_needs_no_folder(recipe: str, tmp_path: Path) -> None:
    sizes = ("data.synthetic_train=12", "data.synthetic_val=3")
    config = load_config(settings=(f"recipe={recipe}", *sizes, *SETTINGS, "trainer.epochs=1"))
    trainer = train_recipe(config, tmp_path / "run")
    assert len(trainer.history) == 1
    assert read_record(tmp_path / "run").recipe == recipe


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["ma", "jomold"])
def test_two_ranks_make_the_steps_together(recipe: str, data_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m",
               "coleaf_framework", "train", "--recipe", recipe, "--data", data_root, "--out", tmp_path / "run", *TINY,
               "--set", "trainer.learning_rate=1e-9"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line[:11] for line in done.stdout.splitlines() if line.startswith("step")] == [
        "step 1 of 3", "step 2 of 3", "step 3 of 3"
    ]  # fmt: skip
    config = load_config(settings=(f"recipe={recipe}", f"data.root={data_root}", *SETTINGS,
                                   "trainer.learning_rate=1e-9"))  # fmt: skip
    train_recipe(config, tmp_path / "alone")
    found = [(tmp_path / name / FILES[recipe]) for name in ("run", "alone")]
    if recipe == "ma":
        assert len({json.dumps([read_json(path)[m] for m in ("audio", "visual")]) for path in found}) == 1
    else:
        assert read_noise_ratios(found[0]) == read_noise_ratios(found[1])
