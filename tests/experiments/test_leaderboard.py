"""`coleaf leaderboard` on run folders: which runs it takes, what it compares and measures."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from coleaf_framework.data import open_folder
from coleaf_framework.experiments.costs import measure_costs
from coleaf_framework.experiments.grid import CELL, DONE
from coleaf_framework.experiments.leaderboard import find_runs, leaderboard
from coleaf_framework.record.settings import load_config
from coleaf_framework.report.leaderboard import leaderboard_page
from tests.helpers.command import Command
from tests.helpers.predictions import joint, made_up, write_run

PARSERS = ("HAN", "HAN in CoLeaF", "CMPAE")


def write_runs(folder: Path) -> Path:
    """Two seeds each of HAN alone and in CoLeaF, and one of CMPAE."""
    for i, (parser, anchor) in enumerate(zip(PARSERS, ("han", "han", "cmpae"), strict=True)):
        for seed in range(1 if anchor == "cmpae" else 2):
            config = (
                f"anchor: {{name: {anchor}}}\ncoleaf: {{enabled: {'CoLeaF' in parser}}}\ntrainer: {{seed: {seed}}}\n"
            )
            write_run(folder / f"{i}-seed{seed}", made_up(10 * i + seed, parser=parser), config)
    return folder


def test_a_folder_of_runs_and_single_runs_are_taken(tmp_path: Path) -> None:
    grid = write_runs(tmp_path / "grid")
    own = write_run(tmp_path / "own", made_up(7))
    runs, notes = find_runs([own, grid], "val")
    assert runs == [own, *(grid / name for name in ("0-seed0", "0-seed1", "1-seed0", "1-seed1", "2-seed0"))]
    assert notes == []


def test_unfinished_runs_of_a_grid_are_left_out_and_named(tmp_path: Path) -> None:
    grid = write_runs(tmp_path / "grid")
    for name in ("0-seed0", "0-seed1"):
        (grid / name / CELL).write_text("a plan")
    (grid / "0-seed1" / DONE).write_text("predictions: x")
    runs, notes = find_runs([grid], "val")
    assert grid / "0-seed0" not in runs
    assert grid / "0-seed1" in runs
    assert notes == [f"{grid}: left out, unfinished or without predictions of 'val': 0-seed0"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [folder / "gone"], "gone: no such folder"),
        (lambda folder: [folder], "holds no run with predictions of 'val'"),
        (lambda folder: [write_runs(folder / "a") / "0-seed0", folder / "a"], "a run is named twice"),
    ],
)
def test_what_holds_no_runs_is_named(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        find_runs(make(tmp_path), "val")


def test_runs_that_are_scored_but_not_finished_are_not_said_to_lack_predictions(tmp_path: Path) -> None:
    grid = write_runs(tmp_path / "grid")
    for run in grid.iterdir():
        (run / CELL).write_text("a plan")
    with pytest.raises(FileNotFoundError, match="grid: no run with predictions of 'val' is finished yet$"):
        find_runs([grid], "val")


def test_seeds_share_a_row_and_coleaf_is_compared_to_the_same_system_alone(tmp_path: Path) -> None:
    board = leaderboard([write_runs(tmp_path / "grid")], "val", costs=False)
    found = {x.name: x for x in board.standings}
    assert {name: x.seeds for name, x in found.items() if x.kind == "run"} == {"HAN": 2, "HAN in CoLeaF": 2, "CMPAE": 1}
    assert {name for name, x in found.items() if x.gain is not None} == {"HAN in CoLeaF"}
    column = "segment/AV"
    expected = found["HAN in CoLeaF"].scores[column] - found["HAN"].scores[column]
    assert found["HAN in CoLeaF"].gain.difference.at(column)[0] == pytest.approx(expected)
    assert board.published


def test_each_way_to_train_is_compared_to_its_own_row_alone(tmp_path: Path) -> None:
    """Though both ways have rows of one class name."""
    for i, (parser, rate) in enumerate((parser, rate) for rate in (0.1, 0.2) for parser in PARSERS[:2]):
        config = f"coleaf: {{enabled: {'CoLeaF' in parser}}}\ntrainer: {{learning_rate: {rate}}}\n"
        write_run(tmp_path / f"run{i}", made_up(i, parser=parser), config)
    board = leaderboard([tmp_path], "val", costs=False)
    gains = {x.name: x.gain.name for x in board.standings if x.gain is not None}
    assert gains == {f"HAN in CoLeaF (run{i})": f"HAN in CoLeaF (run{i}) less HAN (run{i - 1})" for i in (1, 3)}


def test_rows_of_other_seeds_are_not_paired(tmp_path: Path) -> None:
    for i, parser in enumerate(PARSERS[:2]):
        config = f"coleaf: {{enabled: {'CoLeaF' in parser}}}\ntrainer: {{seed: {i}}}\n"
        write_run(tmp_path / f"run{i}", made_up(i, parser=parser), config)
    assert not any(x.gain for x in leaderboard([tmp_path], "val", costs=False).standings)


def test_networks_that_cannot_be_loaded_have_no_costs_and_a_note_says_so(tmp_path: Path) -> None:
    board = leaderboard([write_runs(tmp_path / "grid")], "val")
    assert all(x.cost is None for x in board.standings)
    assert [note.partition(":")[0] for note in board.notes] == list(PARSERS)
    assert all("its costs are not measured: " in note for note in board.notes)


def test_joint_truth_has_its_columns_alone_and_no_published_scores_beside(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", joint(1))
    board = leaderboard([run], "val", costs=False)
    assert board.column == "support/segment/AV"
    assert not board.published
    assert "PUBLISHED" not in board.table()
    with pytest.raises(ValueError, match="--sort 'segment/Ao': made-up val has no such column"):
        leaderboard([run], "val", "segment/Ao")


class Texts(HTMLParser):
    """The texts of the cells of each row, and the tags that are open at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "link"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_the_page_shows_both_levels_and_nothing_in_a_name_is_markup(tmp_path: Path) -> None:
    nasty = "</script><img src=x onerror=alert(1)>&"
    run = write_run(tmp_path / "run", made_up(1, parser=nasty))
    board = leaderboard([run], "val", "event/AV", costs=False)
    page = leaderboard_page(board)
    assert "<img" not in page
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", page)
    texts = Texts()
    texts.feed(page)
    assert texts.open == []
    own = [cells for cells in texts.rows if cells[0].startswith(nasty)]
    assert [len(cells) for cells in own] == [13, 13]
    for cells, level in zip(own, ("event", "segment"), strict=True):  # that of the sorted column first
        assert cells[4:] == [f"{x:.1f}" for key, x in made_up(1).scores().items() if key.startswith(f"{level}/")]
    assert len(texts.rows) == 2 * (1 + len(board.rows))
    assert "NOT COMPARABLE" in page


@pytest.mark.slow
def test_the_command_shows_trained_runs(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    settings = ("trainer.epochs=1", "trainer.batch_size=4", "trainer.device=cpu", "anchor.options.width=8")
    tiny = [x for setting in settings for x in ("--set", setting)]
    for enabled in ("true", "false"):
        train = ("train", "--data", data_root, "--anchor", "han", "--out", f"runs/{enabled}", *tiny)
        coleaf(*train, "--set", f"coleaf.enabled={enabled}")
        coleaf("predict", f"runs/{enabled}")
    printed = coleaf("leaderboard", "runs", "--csv", "b.csv", "--page", "b.html", "--sort", "segment/AV")
    for text in ("HAN (1 seed)", "HAN in CoLeaF (1 seed)", "empty parser", "PUBLISHED MA [T6]", "NOT COMPARABLE"):
        assert text in printed
    assert "| HAN (1 seed) |" in coleaf("leaderboard", "runs", "--markdown", "--no-costs")
    lines = {line["system"]: line for line in csv.DictReader((tmp_path / "b.csv").read_text().splitlines())}
    config = load_config(settings=("anchor.options.width=8", "trainer.device=cpu"))
    cost = measure_costs(config, open_folder(data_root, "test").streams, 3, segments=4).rows["HAN, inference"]
    for name in ("HAN", "HAN in CoLeaF"):
        assert int(lines[name]["parameters"]) == cost.parameters
        assert float(lines[name]["gflops"]) == pytest.approx(cost.gflops, abs=1e-6)
        assert lines[name]["milliseconds"] == lines["HAN"]["milliseconds"]  # one network, measured once
    assert "Made by <code>coleaf leaderboard</code>" in (tmp_path / "b.html").read_text()
    assert "no such column. Did you mean" in coleaf("leaderboard", "runs", "--sort", "segment/AW", fails=True)
