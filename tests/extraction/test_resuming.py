"""Going on with a folder of features: what is kept, what is made anew, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from coleaf_framework.data.extracted import ExtractedVideos, read_videos
from coleaf_framework.extraction import extract
from tests.helpers.media import make_media
from tests.helpers.recipes import Dying, Faulty, Interrupted, Plain, register


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> str:
    return register(monkeypatch, Plain)


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """One, three and two seconds."""
    return [make_media(tmp_path / f"{name}.mp4", seconds=n) for name, n in (("a", 1), ("b", 3), ("c", 2))]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}


def test_what_is_there_is_kept(plain: str, clips: list[Path], tmp_path: Path) -> None:
    extract(clips[:2], tmp_path / "out", plain)
    before = (tmp_path / "out/feats/loudness/a.npy").stat().st_mtime_ns
    made = extract(clips, tmp_path / "out", plain)
    assert (made.done, made.kept, made.seconds) == (tuple(clips), tuple(clips[:2]), 2)
    assert (tmp_path / "out/feats/loudness/a.npy").stat().st_mtime_ns == before


def test_a_changed_file_is_extracted_anew(plain: str, clips: list[Path], tmp_path: Path) -> None:
    extract(clips, tmp_path / "out", plain, window=2)
    assert list(read_videos(tmp_path / "out/videos.tsv")) == ["a", "b.0-2", "b.2-3", "c"]
    shutil.copyfile(clips[0], clips[1])

    made = extract(clips, tmp_path / "out", plain, window=2)

    assert made.kept == (clips[0], clips[2])
    assert list(read_videos(tmp_path / "out/videos.tsv")) == ["a", "b", "c"]
    assert {path.name for path in (tmp_path / "out").rglob("*.npy")} == {"a.npy", "b.npy", "c.npy"}


def test_a_file_that_cannot_be_read_any_more_leaves_the_folder(plain: str, clips: list[Path], tmp_path: Path) -> None:
    extract(clips, tmp_path / "out", plain)
    clips[0].write_text("damaged")
    made = extract(clips, tmp_path / "out", plain)
    assert set(made.failed) == {clips[0]}
    assert ExtractedVideos(tmp_path / "out", ("Dog",)).ids == ("b", "c")


def test_a_feature_file_that_is_gone_is_made_anew(plain: str, clips: list[Path], tmp_path: Path) -> None:
    extract(clips, tmp_path / "out", plain)
    before = contents(tmp_path / "out")
    (tmp_path / "out/feats/brightness/b.npy").unlink()
    assert extract(clips, tmp_path / "out", plain).kept == (clips[0], clips[2])
    assert contents(tmp_path / "out") == before


def test_an_interrupted_extraction_goes_on(monkeypatch: pytest.MonkeyPatch, clips: list[Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract(clips, tmp_path / "out", register(monkeypatch, Interrupted))
    assert ExtractedVideos(tmp_path / "out", ("Dog",)).ids == ("a",)

    name = register(monkeypatch, Plain)
    made = extract(clips, tmp_path / "out", name)
    extract(clips, tmp_path / "at once", name)

    assert made.kept == (clips[0],)
    assert contents(tmp_path / "out") == contents(tmp_path / "at once")


def test_what_a_killed_process_left_is_removed(plain: str, clips: list[Path], tmp_path: Path) -> None:
    left = tmp_path / "out/.unfinished-x/0/audio/0.npy"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    extract(clips, tmp_path / "out", plain)
    assert not list((tmp_path / "out").glob(".unfinished*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 2}, "window is 10, not 2"),
        ({"weights": Path("others")}, "the weights of none are none, not others"),
    ],
)
def test_a_folder_of_another_recipe_is_refused(
    plain: str, clips: list[Path], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    extract(clips, tmp_path / "out", plain)
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match=rf"made otherwise \({message}\): choose another folder"):
        extract(clips, tmp_path / "out", plain, **changes)
    assert contents(tmp_path / "out") == before


def test_a_folder_of_other_things_is_refused(plain: str, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out/feats").mkdir(parents=True)
    with pytest.raises(FileExistsError, match=r"has feats, but no extraction.yaml"):
        extract(clips, tmp_path / "out", plain)


def test_a_folder_with_annotations_alone_is_taken(plain: str, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/classes.txt").write_text("Dog\n")
    assert extract(clips, tmp_path / "out", plain).done == tuple(clips)


def test_a_folder_that_another_process_writes_to_is_refused(plain: str, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.extracting.lock"), pytest.raises(FileExistsError, match="another process"):
        extract(clips, tmp_path / "out", plain)


@pytest.mark.slow
class TestProcesses:
    """Each starts two processes, which import PyTorch."""

    def test_give_what_one_process_gives(self, plain: str, clips: list[Path], tmp_path: Path) -> None:
        alone = extract(clips, tmp_path / "alone", plain, window=2)
        shared = extract(clips, tmp_path / "shared", plain, window=2, jobs=2)
        assert shared == alone
        assert contents(tmp_path / "shared") == contents(tmp_path / "alone")

    def test_one_that_is_killed_takes_only_its_file_with_it(
        self, monkeypatch: pytest.MonkeyPatch, clips: list[Path], tmp_path: Path
    ) -> None:
        made = extract(clips, tmp_path / "out", register(monkeypatch, Dying), jobs=2)
        assert made.done == (clips[0], clips[2])
        assert made.failed == {
            clips[1]: "the process that extracted it was killed by SIGKILL; where memory is short, fewer jobs or a "
            "shorter window take less"
        }
        assert not list((tmp_path / "out").glob(".unfinished*"))

    def test_a_fault_in_a_recipe_ends_all(
        self, monkeypatch: pytest.MonkeyPatch, clips: list[Path], tmp_path: Path
    ) -> None:
        with pytest.raises(RuntimeError, match="TypeError: a fault"):
            extract(clips, tmp_path / "out", register(monkeypatch, Faulty), jobs=2)
        assert read_videos(tmp_path / "out/videos.tsv") == {}
