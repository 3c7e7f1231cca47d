"""`--anchors all`: every Anchor plugin that works, less those that cannot take the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from coleaf_framework.experiments.chosen import choose_anchors
from coleaf_framework.experiments.grid import Grid
from coleaf_framework.experiments.planning import plan_grid
from coleaf_framework.experiments.studies import compare_study
from coleaf_framework.plugins import list_anchors, list_plugins
from tests.helpers.command import Command
from tests.helpers.networks import NETWORK
from tests.helpers.plugins import install, make_site

SETTINGS = ("han:anchor.options.width=8", "trainer.epochs=1", "trainer.monitor=[]", "trainer.device=cpu")
# Plugins that cannot be trained on every data set: one is made for other streams, the other takes no 4 segments, which
# `wrap` does not try.
PICKY = f"""{NETWORK}
from coleaf_framework import StreamSpec
class OtherStreams(Own):
    def __init__(self, streams, num_classes):
        super().__init__({{name: StreamSpec(5, name[:6]) for name in ("audio", "visual", "visual_st")}}, num_classes)
class Long(Own):
    def forward(self, audio, visual, visual_st):
        if audio.shape[1] < 6:
            raise ValueError(f"needs at least 6 segments, got {{audio.shape[1]}}")
        return super().forward(audio, visual, visual_st)
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugins are `han` and those of `PICKY`, one of which does not even import."""
    site = make_site(tmp_path / "site", monkeypatch)
    (site / "picky_nets.py").write_text(PICKY)
    lines = ("gone = picky_nets_that_are_gone:Net", "long = picky_nets:Long", "other = picky_nets:OtherStreams",
             "own = picky_nets:Own")  # fmt: skip
    install(site, "picky", "\n".join(lines))
    some = ("gone", "han", "long", "other", "own")
    monkeypatch.setattr(
        "coleaf_framework.experiments.chosen.list_plugins",
        lambda kind: [plugin for plugin in list_plugins(kind) if plugin.name in some],
    )
    return site


def plan(text: str, root: Path, out: Path, settings: tuple[str, ...] = SETTINGS) -> Grid:
    chosen = choose_anchors(text)
    return plan_grid(
        compare_study(), chosen.names, 1, out, data=root, split="val", settings=settings, optional=chosen.optional
    )


def test_all_is_every_plugin_that_works() -> None:
    chosen = choose_anchors("all")
    assert sorted([*chosen.names, *chosen.broken]) == list_anchors()
    assert {"cmpae", "han"} <= chosen.optional == set(chosen.names)
    assert choose_anchors("han, cmpae").names == ("han", "cmpae")
    assert not choose_anchors("han,cmpae").optional


def test_a_broken_plugin_is_told_and_others_may_be_named_beside(plugins: Path) -> None:
    chosen = choose_anchors("han,all,mypackage:MyNet")
    assert chosen.names == ("han", "long", "other", "own", "mypackage:MyNet")
    assert chosen.optional == {"long", "other", "own"}
    assert list(chosen.broken) == ["gone"]
    with pytest.raises(ValueError, match="names all twice"):
        choose_anchors("all,all")


def test_an_anchor_that_cannot_take_the_data_is_left_out_and_the_tables_say_why(
    plugins: Path, data_root: Path, tmp_path: Path
) -> None:
    grid = plan("all", data_root, tmp_path / "g")
    assert grid.anchors == ("han", "own")
    assert {(c.anchor, c.variant.name) for c in grid.cells} == {
        (a, v) for a in grid.anchors for v in ("alone", "coleaf")
    }
    assert grid.left_out["long"] == "alone: Long fails on videos of 4 segments: needs at least 6 segments, got 4"
    assert "OtherStreams needs the streams audio (audio, width 5); " in grid.left_out["other"]
    assert "but was given audio (audio, width 6); visual" in grid.left_out["other"]
    assert [note.partition(":")[0] for note in grid.notes] == [
        f"--anchors all leaves out {name}" for name in ("long", "other")
    ]
    assert {folder.name.partition("-")[0] for folder in (tmp_path / "g").iterdir()} == {"han", "own"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("long", "^long alone: Long fails on videos of 4 segments: needs at least 6"),
        ("other", "^other alone: OtherStreams needs the streams audio .*, but was given audio"),
        ("all,long", "^long alone: Long fails on videos"),
    ],
)
def test_one_that_is_named_is_refused(plugins: Path, data_root: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(name, data_root, tmp_path / "g", SETTINGS[1:])
    assert not (tmp_path / "g").exists()


def test_train_names_the_streams_that_an_anchor_needs_and_those_at_hand(
    plugins: Path, coleaf: Command, data_root: Path, tmp_path: Path
) -> None:
    told = coleaf("train", "--anchor", "other", "--data", data_root, "--out", "run", fails=True)
    assert "OtherStreams needs the streams audio (audio, width 5); visual (visual, width 5)" in told
    assert "but was given audio (audio, width 6); visual (visual, width 8, 2 frames a segment)" in told
    averaged = ("--data", data_root, "--set", "data.average_frames=true", "--out", "run")
    told = coleaf("train", "--anchor", "cmpae", *averaged, fails=True)
    assert "CMPAE must see single frames" in told
    assert "stream 'visual' holds means of 2" in told
    assert not (tmp_path / "run").exists()


def test_where_none_is_left_the_reasons_are_told(plugins: Path, data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--anchors all: none can be trained: han: .*trainer\.epochs.*; long: "):
        plan("all", data_root, tmp_path / "g", ("trainer.epochs=0",))


def test_the_command_says_in_one_line_what_all_stands_for(
    plugins: Path, coleaf: Command, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coleaf_framework.experiments.running.run_grid", lambda grid, jobs: begin_nothing())
    settings = [x for setting in SETTINGS for x in ("--set", setting)]
    told = coleaf("compare", "--anchors", "all", "--data", data_root, "--split", "val", *settings, fails=True)
    line = next(line for line in told.splitlines() if line.startswith("--anchors all"))
    assert line.startswith("--anchors all: han, own; left out: long (alone: Long fails on videos of 4 segments: needs")
    assert "; other (alone: OtherStreams needs the streams" in line
    assert "; gone (ModuleNotFoundError: No module named 'picky_nets_that_are_gone')" in line


def begin_nothing() -> None:
    raise ValueError("training would begin here")
