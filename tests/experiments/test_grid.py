"""What a grid is made of, and what it refuses before anything is trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coleaf_framework.experiments.grid import CELL, Grid, read_plan
from coleaf_framework.experiments.planning import plan_grid
from coleaf_framework.experiments.studies import RATES, compare_study
from coleaf_framework.metrics.analysis import type_rates, type_table
from coleaf_framework.storage import read_yaml, write_yaml
from tests.helpers.data import write_tsv
from tests.helpers.networks import NETWORK
from tests.helpers.predictions import write_record

SMALL = ("anchor.options.width=8", "trainer.epochs=2", "trainer.monitor=[]")
QUIET = (
    "cmpae:anchor.options.noise_ratios={audio: 0, visual: 0}"  # instead of a warning that these are not LLP's classes
)


def plan(root: Path, out: Path, anchors: tuple[str, ...] = ("han",), **changes: object) -> Grid:
    if "cmpae" in anchors and "settings" not in changes:
        changes["settings"] = (*SMALL, QUIET)
    arguments = {"study": compare_study(), "seeds": 2, "data": root, "split": "val", "settings": SMALL} | changes
    return plan_grid(arguments.pop("study"), anchors, arguments.pop("seeds"), out, **arguments)  # type: ignore[arg-type]


def begun(grid: Grid) -> None:
    """As if training of every cell had begun."""
    for cell in grid.cells:
        write_record(cell.folder)


def test_every_anchor_is_trained_in_every_way_from_every_seed(data_root: Path, tmp_path: Path) -> None:
    grid = plan(data_root, tmp_path / "g", ("han", "cmpae"), seeds=3)
    assert len({cell.folder for cell in grid.cells}) == 12
    assert {(c.config.anchor.name, c.config.coleaf.enabled, c.config.trainer.seed) for c in grid.cells} == {
        (anchor, together, seed) for anchor in ("han", "cmpae") for together in (False, True) for seed in range(3)
    }
    assert not any(grid.is_done(cell) for cell in grid.cells)


def test_a_setting_may_be_for_one_anchor(data_root: Path, tmp_path: Path) -> None:
    settings = (*SMALL, QUIET, "cmpae:anchor.options.width=16")
    grid = plan(data_root, tmp_path / "g", ("han", "cmpae"), settings=settings)
    assert {c.config.anchor.options["width"] for c in grid.cells if c.anchor == "han"} == {8}
    assert {c.config.anchor.options["width"] for c in grid.cells if c.anchor == "cmpae"} == {16}


def test_each_anchor_keeps_its_published_thresholds(data_root: Path, tmp_path: Path) -> None:
    grid = plan(data_root, tmp_path / "g", ("han", "cmpae"))
    assert {(c.anchor, c.config.decision.gate_threshold) for c in grid.cells} == {("han", 0.5), ("cmpae", 0.45)}


def test_an_anchor_that_cannot_leave_out_cross_attention_has_no_such_row(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid_net.py").write_text(NETWORK)
    settings = ("han:anchor.options.width=8", "trainer.monitor=[]")
    grid = plan(data_root, tmp_path / "g", ("han", "grid_net:Own"), study=RATES, settings=settings)
    assert {(c.anchor, c.variant.name) for c in grid.cells} == {
        *(("han", name) for name in ("unimodal", "alone", "coleaf")),
        *(("grid_net:Own", name) for name in ("alone", "coleaf")),
    }
    assert grid.notes == (
        "grid_net:Own: takes no option cross_attention, so it has no row 'alone, without cross-attention'",
    )


def test_choosing_the_epoch_on_the_scored_split_is_said_before_training(
    data_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan(data_root, tmp_path / "g", settings=SMALL[:2])
    assert "chosen on the very split that is scored" in caplog.text


@pytest.mark.parametrize(
    ("changes", "anchors", "message"),
    [
        ({}, ("hann",), "no anchor is called 'hann'. Did you mean 'han'"),
        ({}, ("han", "han"), "expected each name once"),
        ({}, (), "expected each name once"),
        ({"settings": ("trainer.seed=3",)}, ("han",), "a grid sets that by --seeds"),
        ({"settings": ("anchor.name=cmpae",)}, ("han",), "a grid sets that by --anchors"),
        ({"settings": ("cmpae:trainer.epochs=3",)}, ("han",), "'cmpae' is not among --anchors han"),
        ({"settings": ("trainer.epoch=3",)}, ("han",), "epoch"),
        ({"split": "train"}, ("han",), "train has only weak labels"),
        ({"seeds": 0}, ("han",), "--seeds 0: at least 1"),
        ({"settings": ("anchor.options.widht=8",)}, ("han",), "han alone: anchor 'han' cannot be made from .*'width'"),
        ({"settings": ("reference.name=nosuch",)}, ("han",), "han in CoLeaF: no reference is called 'nosuch'"),
        ({"settings": ("han:data.synthetic_seed=4",)}, ("cmpae", "han"), "han-alone-seed0 changes data.synthetic_seed"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_training(
    data_root: Path, tmp_path: Path, changes: dict[str, object], anchors: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan(data_root, tmp_path / "g", anchors, **changes)
    assert not (tmp_path / "g").exists()


def test_a_folder_of_another_config_is_refused(data_root: Path, tmp_path: Path) -> None:
    begun(plan(data_root, tmp_path / "g"))
    with pytest.raises(
        ValueError, match=r"han-alone-seed0/cell.yaml: has trainer.epochs = 2, now it is 3: give the grid"
    ):
        plan(data_root, tmp_path / "g", settings=(*SMALL, "trainer.epochs=3"))
    with pytest.raises(ValueError, match="was scored on 'val', now it is 'test'"):
        plan(data_root, tmp_path / "g", split="test")


def test_a_folder_of_something_else_is_refused(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "g/han-alone-seed0").mkdir(parents=True)
    (tmp_path / "g/han-alone-seed0/thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds something else than a cell of a grid"):
        plan(data_root, tmp_path / "g")


def test_a_grid_may_grow_and_move_to_another_device(data_root: Path, tmp_path: Path) -> None:
    begun(plan(data_root, tmp_path / "g", seeds=1))
    settings = (*SMALL, "trainer.device=cpu", "data.cache=memory")
    assert len(plan(data_root, tmp_path / "g", study=RATES, seeds=2, settings=settings).cells) == 6
    assert read_yaml(tmp_path / "g/han-alone-seed0" / CELL)["config"]["trainer"]["device"] == "auto"


def test_a_split_without_dense_labels_is_refused(data_root: Path, tmp_path: Path) -> None:
    for name in ("AVVP_eval_audio.csv", "AVVP_eval_visual.csv"):
        (data_root / name).unlink()
    write_tsv(data_root / "AVVP_val_pd.csv", "filename event_labels", ["va00_0_4 Dog"])
    with pytest.raises((ValueError, FileNotFoundError), match="AVVP_eval"):
        plan(data_root, tmp_path / "g")


def test_a_mistake_that_trained_nothing_leaves_the_folder_usable(data_root: Path, tmp_path: Path) -> None:
    plan(data_root, tmp_path / "g", settings=(*SMALL, "trainer.epochs=9"))
    (tmp_path / "g/han-alone-seed0/output.txt").write_text("ValueError: something of the data")
    plan(data_root, tmp_path / "g")
    assert read_yaml(tmp_path / "g/han-alone-seed0" / CELL)["config"]["trainer"]["epochs"] == 2


def test_nothing_is_written_where_one_cell_is_refused(data_root: Path, tmp_path: Path) -> None:
    begun(plan(data_root, tmp_path / "g"))
    with pytest.raises(ValueError, match="has trainer.epochs = 2"):
        plan(data_root, tmp_path / "g", ("cmpae", "han"), settings=(*SMALL, QUIET, "trainer.epochs=3"))
    assert not (tmp_path / "g/cmpae-alone-seed0").exists()


def test_a_data_folder_means_the_same_from_everywhere(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data_root.parent)
    begun(plan(Path("tiny"), tmp_path / "g"))
    assert len(plan(data_root, tmp_path / "g").cells) == 4
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises((ValueError, FileNotFoundError), match="tiny"):
        plan(Path("tiny"), tmp_path / "g")


def test_trackers_show_a_cell_with_its_study_and_variant(data_root: Path, tmp_path: Path) -> None:
    grid = plan(data_root, tmp_path / "g", seeds=1)
    assert [read_plan(cell.folder).group for cell in grid.cells] == ["compare han alone", "compare han coleaf"]


def test_a_grid_may_go_on_with_other_trackers_also_from_the_former_key(data_root: Path, tmp_path: Path) -> None:
    grid = plan(data_root, tmp_path / "g", seeds=1)
    begun(grid)
    for cell in grid.cells:
        values = read_yaml(cell.folder / CELL)
        del values["config"]["trainer"]["trackers"], values["group"]
        values["config"]["trainer"]["tensorboard"] = True
        write_yaml(cell.folder / CELL, values)
    settings = (*SMALL, "trainer.trackers=[]", "trainer.project=other", "trainer.tracked_videos=0")
    assert len(plan(data_root, tmp_path / "g", seeds=1, settings=settings).cells) == 2
    assert read_plan(grid.cells[0].folder).config.trainer.trackers == ("tensorboard",)


def test_a_tracker_without_its_library_is_refused_before_training(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"han .*: the tracker wandb needs wandb"):
        plan(data_root, tmp_path / "g", settings=(*SMALL, "trainer.trackers=[wandb]"))
    assert not (tmp_path / "g").exists()


def test_a_damaged_plan_is_named(data_root: Path, tmp_path: Path) -> None:
    begun(plan(data_root, tmp_path / "g"))
    (tmp_path / "g/han-alone-seed0" / CELL).write_text("split: val\nconfig: 5\n")
    with pytest.raises(ValueError, match=r"cell.yaml: not the plan of a cell"):
        plan(data_root, tmp_path / "g")


def test_two_networks_of_one_name_have_rows_of_their_own(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coleaf_framework.experiments.comparing import compare_groups, gather
    from coleaf_framework.experiments.type_rates import rates_by_row
    from coleaf_framework.results.predictions_file import write_predictions
    from tests.helpers.predictions import made_up

    monkeypatch.chdir(tmp_path)
    for name in ("grid_a", "grid_b"):
        (tmp_path / f"{name}.py").write_text(NETWORK)
    grid = plan(data_root, tmp_path / "g", ("grid_a:Own", "grid_b:Own"), seeds=1, settings=("trainer.monitor=[]",))
    for i, cell in enumerate(grid.cells):
        (cell.folder / "model.safetensors").write_bytes(b"stands for weights")
        write_record(cell.folder)
        write_predictions(cell.folder, made_up(i, parser="Own in CoLeaF" if cell.variant.name == "coleaf" else "Own"))
    names = [f"Own ({name}:Own) {how}" for name in ("grid_a", "grid_b") for how in ("alone", "in CoLeaF")]
    assert [row.name for row in compare_groups(grid, gather(grid)).rows] == names
    rates = rates_by_row(gather(grid))
    assert list(rates) == names
    first = made_up(0)
    expected = type_rates(type_table(first.decided(), first.truth, first.mask))["audible-visible"]
    assert rates[names[0]]["audible-visible"][0].tolist() == pytest.approx(
        [expected.tp, expected.tn, expected.fp, expected.fn]
    )
