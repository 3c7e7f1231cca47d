"""The demo shows what it promises; here at a tiny size."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coleaf_framework import CoLeaF
from coleaf_framework.cli.demo import run_demo
from coleaf_framework.data import open_folder
from coleaf_framework.record.settings import load_config
from coleaf_framework.training.experiment import open_split, train
from tests.helpers.command import Command

MINI = Path(__file__).resolve().parents[2] / "examples/tuxav_mini"
TINY = (
    "data.synthetic_train=8",
    "data.synthetic_val=4",
    "data.synthetic_test=6",
    "trainer.epochs=1",
    "trainer.device=cpu",
    "anchor.options.width=8",
)


def test_the_demo_ends_with_table_types_checkpoint_and_pictures(data_root: Path, tmp_path: Path) -> None:
    for _ in range(2):  # a second demo replaces the first
        shown = run_demo(tmp_path / "demo", data_root, TINY[3:])
    assert "synthetic" not in shown
    for row in ("HAN ", "HAN in CoLeaF", "HAN in CoLeaF less HAN", "empty parser", "video-label parser"):
        assert row in shown
    assert "HAN in CoLeaF, visible-only" in shown
    assert "the first test video with two types of events or more" in shown
    for picture in ("timeline.png", "losses.png"):
        assert str(tmp_path / "demo" / picture) in shown
        assert (tmp_path / "demo" / picture).stat().st_size > 5000
    assert "Conclusion, in support/segment/Type@AVo on tiny test, 3 videos: HAN in CoLeaF less HAN: " in shown
    assert "support/event/Event@AVo" in (tmp_path / "demo/scores.csv").read_text()
    assert "tiny test" in (tmp_path / "demo/report.html").read_text()
    assert CoLeaF.load(tmp_path / "demo/han-coleaf").reference is not None


def test_without_data_the_demo_says_that_it_is_synthetic(tmp_path: Path) -> None:
    shown = run_demo(tmp_path / "demo", settings=TINY)
    assert shown.startswith("This is synthetic LLP: it shows how things work, not how well.")
    assert "on synthetic LLP test, 6 videos" in shown


def test_synthetic_data_and_a_folder_are_not_named_together(coleaf: Command) -> None:
    assert "--synthetic and --data exclude each other" in coleaf("demo", "--synthetic", "--data", MINI, fails=True)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else than a demo"):
        run_demo(tmp_path, settings=TINY)


def test_a_damaged_test_split_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    shutil.copytree(MINI, tmp_path / "mini")
    shard = tmp_path / "mini/shards/test-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="test-00000.safetensors: damaged shard"):
        run_demo(tmp_path / "demo", tmp_path / "mini")
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_a_small_han_on_the_mini_store_beats_both_trivial_parsers(tmp_path: Path) -> None:
    """In the support-only mean of audible-only, visible-only and audible-visible events."""
    settings = (
        f"data.root={MINI.as_posix()!r}",
        "data.cache=memory",
        "data.average_frames=true",
        "anchor.options.width=64",
        "trainer.batch_size=16",
        "trainer.epochs=6",
        "trainer.monitor=[]",
    )
    config = load_config(settings=settings)
    trainer = train(config, tmp_path / "run", quiet=True)
    evaluation = trainer.evaluate(open_split(config.data, "test"))
    column = "support/segment/Type@AVo"
    assert evaluation.scores[column] > evaluation.video_label[column] > evaluation.empty[column]
    assert open_folder(MINI, "test").name == "tuxav_mini"


def test_a_linked_marker_is_replaced_and_its_target_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise ValueError("far enough")

    monkeypatch.setattr("coleaf_framework.cli.demo.train", stop)
    (tmp_path / "target").write_text("somebody's")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/DEMO.txt").symlink_to(tmp_path / "target")
    with pytest.raises(ValueError, match="far enough"):
        run_demo(tmp_path / "demo", settings=TINY)
    assert (tmp_path / "target").read_text() == "somebody's"


CLIP = MINI.parent / "clips/tuxva000000.mp4"


@pytest.mark.slow
def test_a_named_video_is_parsed_at_the_end(tmp_path: Path) -> None:
    shown = run_demo(tmp_path / "demo", MINI, TINY[3:], video=CLIP)
    assert f"video       {tmp_path / 'demo/video.html'}: in {CLIP.name} " in shown
    assert "data:video/mp4;base64," in (tmp_path / "demo/video.html").read_text()


def test_a_video_needs_data_that_say_how_their_features_were_made(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not say how its features were extracted"):
        run_demo(tmp_path / "demo", data_root, TINY[3:], video=CLIP)
    assert not (tmp_path / "demo/han").exists()


def test_a_damaged_video_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(ValueError, match="bad.mp4"):
        run_demo(tmp_path / "demo", MINI, TINY[3:], video=tmp_path / "bad.mp4")
    assert not (tmp_path / "demo/han").exists()
