"""The command extract, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coleaf_framework.data.recipe_file import read_recipe
from tests.helpers.command import Command
from tests.helpers.data import write_data_set
from tests.helpers.media import make_media
from tests.helpers.recipes import Interrupted, Plain, register


@pytest.fixture
def coleaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, in a folder with media files, where the recipe plain is known."""
    register(monkeypatch, Plain)
    (tmp_path / "clips" / "more").mkdir(parents=True)
    make_media(tmp_path / "clips" / "b.mp4")
    make_media(tmp_path / "clips" / "more" / "a.MKV", format="matroska", audio=None)
    (tmp_path / "clips" / "notes.txt").write_text("no media")
    (tmp_path / "clips" / "._b.mp4").write_text("what a file manager leaves")
    return Command(tmp_path, monkeypatch, capsys)


def extract(coleaf: Command, *arguments: object, fails: bool = False) -> str:
    return coleaf("extract", *arguments, "--features", "plain", "--out", "out", "--jobs", 1, fails=fails)


def test_says_what_was_made_and_what_to_do_next(coleaf: Command) -> None:
    lines = extract(coleaf, "clips").splitlines()
    assert lines[0] == "2 media files"
    assert lines[1].startswith("out: 4 s of 2 files in ")
    assert lines[1].endswith(" times real time")
    assert "coleaf predict RUN --data out" in lines[2]
    assert extract(coleaf, "clips").splitlines()[1].startswith("out: 2 of 2 files were there already; 0 s of 0 files")


def test_a_file_that_cannot_be_read_is_named_and_ends_in_exit_code_1(coleaf: Command, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    said = extract(coleaf, "text.mp4", "clips/b.mp4", fails=True)
    assert f"FAILED: {tmp_path / 'text.mp4'}: " in said
    assert said.endswith("coleaf: 1 of 2 files could not be read\n")
    assert "out: 2 s of 1 files" in coleaf.printed


def test_check_data_says_what_the_folder_holds(coleaf: Command, tmp_path: Path) -> None:
    extract(coleaf, "clips")
    said = coleaf("check-data", "out")
    assert "2 videos without annotations, 4 s of 2 files; streams: audio 2 wide, 1 a segment, visual 3 wide" in said
    assert "2 of 2 videos can be read" in said

    (tmp_path / "out/feats/loudness/a.npy").unlink()
    coleaf("check-data", "out", fails=True)
    assert "stream 'audio': 1 of 2 videos have no file, such as" in coleaf.printed


def test_training_on_the_folder_says_what_it_lacks(coleaf: Command) -> None:
    extract(coleaf, "clips")
    said = coleaf("train", "--data", "out", "--anchor", "han", "--out", "run", fails=True)
    assert "holds videos without annotations" in said


def test_pack_makes_a_store_that_opens_without_annotations(coleaf: Command, tmp_path: Path) -> None:
    extract(coleaf, "clips", "--pack")
    assert json.loads((tmp_path / "out/index.json").read_text())["dtype"] == "float32"
    assert {"videos.tsv", "extraction.yaml"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not list(tmp_path.glob(".out*"))
    assert "2 of 2 videos can be read" in coleaf("check-data", "out")
    assert "is not an empty folder: choose another one for --pack" in extract(coleaf, "clips", "--pack", fails=True)
    assert "is a packed store, to which no features can be added" in extract(coleaf, "clips", fails=True)


def test_features_of_a_folder_are_made_as_it_says(coleaf: Command, tmp_path: Path) -> None:
    coleaf("extract", "clips", "--features", "plain", "--out", "first", "--window", 1, "--jobs", 1)
    recipe = read_recipe(tmp_path / "first/extraction.yaml")
    for asked, out in (("first", "second"), ("first/extraction.yaml", "third")):
        coleaf("extract", "clips", "--features", asked, "--out", out, "--jobs", 1)
        assert read_recipe(tmp_path / out / "extraction.yaml") == recipe
    assert recipe.window == 1
    (tmp_path / "other").mkdir()
    recipe.model_copy(update={"version": 7}).write(tmp_path / "other")
    said = coleaf("extract", "clips", "--features", "other", "--out", "out", fails=True)
    assert "other features than those asked for: version is 1, not 7" in said


def test_a_folder_that_does_not_say_how_its_features_were_made_is_refused(coleaf: Command, tmp_path: Path) -> None:
    write_data_set(tmp_path / "data")
    said = coleaf("extract", "clips", "--features", "data", "--out", "out", fails=True)
    assert "data/extraction.yaml: no such file" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clips", "--features", "plian", "--out", "out"), "no recipe of features 'plian'. Did you mean 'plain'?"),
        (("c.mp4", "--features", "plain", "--out", "out"), "c.mp4: no such file"),
        (("empty", "--features", "plain", "--out", "out"), "empty: no media files in it or below"),
        (("clips", "--features", "plain", "--out", "clips/b.mp4"), "--out clips/b.mp4: clips/b.mp4 is a file"),
        (("clips", "--features", "plain", "--out", "out", "--window", "21"), "takes 1 to 20 seconds"),
        (("clips", "--features", "plain", "--out", "out", "--projection", "no"), "no: no such file"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(
    coleaf: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert message in coleaf("extract", *arguments, fails=True)
    assert not (tmp_path / "out").exists()


def test_an_interrupt_says_that_the_same_command_goes_on(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, Interrupted)
    make_media(Path("clips/c.mp4"), seconds=3)
    assert "finished files are kept; the same command goes on with the others" in extract(coleaf, "clips", fails=True)
    register(monkeypatch, Plain)
    assert "1 of 3 files were there already" in extract(coleaf, "clips")


def test_a_terminal_sees_a_bar_over_seconds_and_files(
    coleaf: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    (tmp_path / "text.mp4").write_text("no video")
    said = extract(coleaf, "text.mp4", "clips", fails=True)
    assert "of 4 s" in said
    assert "files)" in said


def test_elsewhere_there_is_no_bar(coleaf: Command, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    assert len(extract(coleaf, "text.mp4", "clips/b.mp4", fails=True).splitlines()) == 2
