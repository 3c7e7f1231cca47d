"""The commands end to end, on a tiny data set, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coleaf_framework.cli.main import COMMANDS, main
from coleaf_framework.cli.options import CONCLUDING
from coleaf_framework.data import LLP
from coleaf_framework.plugins import Plugin, list_plugins
from tests.helpers.command import Command
from tests.helpers.data import write_data_set

TINY = [
    x
    for setting in ("trainer.epochs=2", "trainer.batch_size=4", "trainer.device=cpu", "anchor.options.width=8")
    for x in ("--set", setting)
]


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "--anchor", "hun"), "coleaf: no anchor is called 'hun'. Did you mean 'han'?"),
        (("train", "--set", "trainer.epoch=3"), "Did you mean 'epochs'?"),
        (("train", "--data", "nowhere"), "coleaf: nowhere: no such folder"),
        (("evaluate", "nowhere"), "config.yaml: no such file"),
        (("plot", "nowhere.json", "--video", "x"), "coleaf: nowhere.json: no such file"),
        (("check-data", "nowhere"), "coleaf: nowhere: no such folder"),
    ],
)
def test_a_mistake_ends_in_one_sentence(coleaf: Command, arguments: tuple[str, ...], sentence: str) -> None:
    printed = coleaf(*arguments, fails=True)
    assert sentence in printed.strip().splitlines()[-1]


def test_check_data_tells_each_streams_scale_and_where_they_lie_far_apart(coleaf: Command, data_root: Path) -> None:
    printed = coleaf("check-data", data_root)
    values = np.concatenate([np.load(p).astype("f8").ravel() for p in (data_root / "feats/vggish").glob("tr*.npy")])
    expected = f"mean {values.mean():.3g}, deviation {values.std():.3g}, range {values.min():.3g} to {values.max():.3g}"
    assert f"split 'train': stream audio has {expected}" in printed
    assert "data.standardize" not in printed
    for path in (data_root / "feats/res152").glob("*.npy"):
        np.save(path, 1000 * np.load(path).astype("f4"))
    printed = " ".join(coleaf("check-data", data_root).split())
    assert "odd: split 'train': the deviation of stream visual is" in printed
    assert "consider --set data.standardize=true" in printed
    for path in (data_root / "feats/vggish").glob("*.npy"):
        np.save(path, np.ones_like(np.load(path)))
    assert "stream audio is the same value everywhere" in coleaf("check-data", data_root)


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


def test_check_data_says_what_is_there_missing_and_odd(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    printed = coleaf("check-data", data_root)
    assert "there:   split 'train': 6 of 6 videos can be read" in printed
    path = data_root / "feats/vggish/tr01.npy"
    path.write_bytes(path.read_bytes()[:-3])
    (data_root / "feats/vggish/va01.npy").unlink()
    (data_root / "AVVP_test_pd.csv").write_text((data_root / "AVVP_test_pd.csv").read_text() + "tr00_0_4\tDog\n")
    coleaf("check-data", data_root, fails=True)
    printed = coleaf.printed
    assert "tr01.npy: not a whole .npy file" in printed
    assert "split 'train': 5 of 6 videos can be read" in printed
    assert f"missing: split 'val': {data_root / 'feats/vggish/va01.npy'}" in printed
    assert "split 'val': 2 of 3 videos can be read" in printed
    assert "1 videos are in both 'train' and 'test', such as 'tr00'" in printed


def test_plugins_names_each_distribution(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    printed = coleaf("plugins")
    assert "class_token" in printed
    assert "coleaf-framework 0.1.0" in " ".join(printed.split())


def test_plugins_names_paper_and_licence_in_80_columns(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Plugin("anchor", "silent", "a:B", "dist 1.0")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("coleaf_framework.plugins.list_plugins", lambda kind: [*list_plugins(kind), silent])
    printed = coleaf("plugins")
    assert all(len(line) <= 80 for line in printed.splitlines())
    flat = " ".join(printed.split())
    assert "paper: Gao, Chen, Xu: Collecting Cross-Modal Presence-Absence Evidence for" in flat
    assert "silent works; a:B, from dist 1.0 paper: - licence: -" in flat
    assert "CoLeaF: A Contrastive-Collaborative Learning Framework" in flat


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


def test_inspect_says_how_to_wrap(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "from tests.helpers.published_style import PositionalTuple\n"
        "class Theirs(PositionalTuple):\n    def __init__(self, extra=0): super().__init__()\n"
    )
    streams = ("--stream", "audio=6", "--stream", "visual=8x2")
    printed = coleaf("inspect", "theirs:Theirs", *streams, "--classes", "3", "--option", "extra=1")
    assert 'tokens=Tap("fc_prob", at="input"' in printed
    assert "wrap(\n        net" in coleaf("inspect", "han", "--data", data_root, "--option", "width=8")
    assert "Did you mean 'Theirs'" in coleaf("inspect", "theirs:Their", fails=True)
    assert "leave out --stream" in coleaf("inspect", "han", "--data", data_root, "--classes", "3", fails=True)


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


def test_synth_writes_the_official_layout(coleaf: Command, published_llp: Path, tmp_path: Path) -> None:
    coleaf("synth", "--annotations", published_llp, "--out", "llp", "--limit", "3")
    root = tmp_path / "llp"
    assert len(list((root / "feats/res152").glob("*.npy"))) == 9
    data = LLP(root, "test")
    assert len(data) == 3
    assert data[0].streams["visual"].shape == (80, 2048)
    assert data.issues.strangers == {"audio": 0, "visual": 0}
    for out in ("llp", published_llp):  # never over what is there, least of all over the annotations themselves
        assert "exists already" in coleaf("synth", "--annotations", published_llp, "--out", out, fails=True)
    coleaf("train", "--data", root, *TINY, "--out", "run")
    assert "LLP, synthetic features test, 3 videos" in coleaf("evaluate", "run", "--data", root, "--split", "test")


@pytest.mark.slow
def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coleaf_framework", "evaluate", "nowhere"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "coleaf: nowhere/config.yaml: no such file"


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


def nothing(folder: Path) -> None:
    """No features at all."""
    for path in folder.rglob("*.npy"):
        path.unlink()


def nan(folder: Path) -> None:
    np.save(folder / "feats/vggish/tr03.npy", np.full((4, 6), np.nan))


def truncated(folder: Path) -> None:
    path = folder / "feats/res152/tr03.npy"
    path.write_bytes(path.read_bytes()[:-5])


def wrong_width(folder: Path) -> None:
    np.save(folder / "feats/res152/tr03.npy", np.zeros((8, 9)))


def unreadable(folder: Path) -> None:
    (folder / "feats/res152/tr03.npy").unlink()
    (folder / "feats/res152/tr03.npy").mkdir()


def other_streams(folder: Path) -> None:
    for path in (folder / "feats/vggish").glob("te*.npy"):
        np.save(path, np.zeros((4, 7)))


@pytest.mark.parametrize(
    ("defect", "told"),
    [
        (nothing, "missing: split 'train'"),
        (nan, "broken:  split 'train'"),
        (truncated, "broken:  split 'train'"),
        (wrong_width, "broken:  split 'train'"),
        (unreadable, "broken:  split 'train'"),
        (other_streams, "broken:  split 'test' has other streams"),
    ],
)
def test_check_data_fails_where_training_would(coleaf: Command, data_root: Path, defect: Any, told: str) -> None:
    coleaf("check-data", data_root)
    defect(data_root)
    coleaf("check-data", data_root, fails=True)
    assert told in coleaf.printed
    assert "Error" not in coleaf.printed


def test_check_data_names_a_shard_that_is_gone_and_counts_what_it_does_not_list(
    coleaf: Command, data_root: Path, tmp_path: Path
) -> None:
    coleaf("pack", data_root, "--out", "store", "--dtype", "float32")
    (tmp_path / "store/shards/train-00000.safetensors").unlink()
    coleaf("check-data", "store", fails=True)
    assert "train-00000.safetensors: no such file" in coleaf.printed
    assert "split 'test': 3 of 3 videos can be read" in coleaf.printed


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


def test_classes_with_markup_in_their_names_are_shown_as_they_are(
    coleaf: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    root = write_data_set(tmp_path / "data", classes=("[/]", "[red]x", ":dog:"))
    coleaf("train", "--data", root, "--anchor", "han", "--out", "run", *TINY)
    printed = coleaf("thresholds", "run")
    assert all(name in printed for name in ("[/]", "[red]x", ":dog:"))


def test_plugins_with_markup_in_their_errors_are_listed(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Plugin("anchor", "[/]", "a:B", "dist\x1b", "ImportError: [/b]")
    monkeypatch.setattr("coleaf_framework.plugins.list_plugins", lambda kind: [broken])
    monkeypatch.setenv("COLUMNS", "200")
    printed = coleaf("plugins")
    assert all(text in printed for text in ("[/]", "[/b]", r"dist\x1b"))


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


def test_an_error_shows_control_characters_as_escapes(coleaf: Command) -> None:
    assert coleaf("evaluate", "no\x1b[31m", fails=True) == "coleaf: no\\x1b[31m/config.yaml: no such file\n"


@pytest.mark.parametrize(
    ("where", "command", "reason", "said"),
    [
        ("data.check.check_folder", ("check-data", "x"), "", "coleaf: interrupted\n"),
        (
            "experiments.steps.train_recipe",
            ("train",),
            "",
            "coleaf: interrupted; nothing of the step under way was saved\n",
        ),
        ("experiments.steps.train_recipe", ("train",), "all is kept", "coleaf: interrupted; all is kept\n"),
    ],
)
def test_ctrl_c_ends_any_command_in_a_sentence(
    where: str,
    command: tuple[str, ...],
    reason: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt(reason)

    monkeypatch.setattr(f"coleaf_framework.{where}", interrupted)
    monkeypatch.setattr(sys, "argv", ["coleaf", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, said)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("then", ["", "except BaseException: raise ImportError('multiarray failed to import')"])
def test_ctrl_c_while_pytorch_is_imported_ends_in_a_sentence(tmp_path: Path, then: str) -> None:
    """A module that interrupts itself stands for PyTorch, with and without hiding the interrupt as NumPy does."""
    interrupt = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    (tmp_path / "torch.py").write_text(f"try: {interrupt}\n{then or 'finally: pass'}\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "coleaf_framework", "plugins"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=50,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a job in the background ignores it
    )
    assert (done.returncode, done.stderr) == (130, "coleaf: interrupted\n")


WITHOUT_PYTORCH = """
import sys
sys.modules |= dict.fromkeys(("torch", "numpy", "scipy"))  # importing one of these fails
from coleaf_framework.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("trian",), ("--dbug",), ("train", "--epochs", "3"), ("train", "--seed")]
)
def test_help_and_typing_errors_need_no_pytorch(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", WITHOUT_PYTORCH, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Usage: " in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if "--help" in arguments else 2)


def test_the_version_needs_no_pytorch() -> None:
    command = [sys.executable, "-c", WITHOUT_PYTORCH, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == (f"coleaf-framework {version('coleaf-framework')}\n", 0), done.stderr


def test_every_command_tells_its_help_without_pytorch() -> None:
    everything = (
        WITHOUT_PYTORCH.replace("main()\n", "")
        + """
from coleaf_framework.cli.main import COMMANDS, app
for command in COMMANDS:
    app([command, "--help"], standalone_mode=False)
"""
    )
    done = subprocess.run([sys.executable, "-c", everything], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: ") == len(COMMANDS)


def test_the_default_column_is_that_of_comparisons() -> None:
    from coleaf_framework.results.columns import PRIMARY

    assert CONCLUDING == PRIMARY


@pytest.mark.slow
def test_the_installed_command_is_called_coleaf() -> None:
    script = "import sys; sys.argv = ['/bin/coleaf', '--help']; from coleaf_framework.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "Usage: coleaf [OPTIONS]" in done.stdout


def test_an_unexpected_error_is_told_in_its_first_line(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("something of PyTorch\nException raised from ... at ...:1")

    monkeypatch.setattr("coleaf_framework.experiments.costs.measure_costs", fails)
    said = coleaf("flops", "--anchor", "han", fails=True)
    assert len(said.strip().splitlines()) == 2  # the other one says how to see more
