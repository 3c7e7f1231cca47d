"""Media files parsed with a run, whose recipe makes their features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from coleaf_framework.data.extracted import ExtractedVideos
from coleaf_framework.data.recipe_file import PROJECTION_FILE
from coleaf_framework.extraction import extract
from coleaf_framework.metrics import decide
from coleaf_framework.parsing import VideoParser
from coleaf_framework.protocol import AnchorOutput
from coleaf_framework.record.run_record import read_record
from coleaf_framework.storage import write_tensors
from tests.helpers.command import Command
from tests.helpers.media import make_media
from tests.helpers.parsing import CLIPS, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def features(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundled clips' features."""
    folder = tmp_path_factory.mktemp("features")
    recipe = read_record(run).features
    assert recipe is not None
    extract(CLIPS, folder, recipe, projection=run / PROJECTION_FILE)
    return folder


def test_a_parsed_clip_has_the_answers_that_the_network_gives_for_its_features(run: Path, features: Path) -> None:
    parser = VideoParser(run)
    parsed, failed = parser.parse(CLIPS)
    predicted = parser.trainer.predict(ExtractedVideos(features, parser.classes))
    assert not failed
    assert [video.file for video in parsed] == CLIPS
    assert [video.events() for video in parsed] == [video.events for video in predicted.events()]
    assert any(video.events() for video in parsed)
    for video, probs in zip(parsed, predicted.segment_probs, strict=True):
        assert torch.equal(video.segment_probs, probs)


def test_the_command_gives_the_events_that_predict_gives_of_the_features(
    run: Path, features: Path, coleaf: Command, tmp_path: Path
) -> None:
    coleaf("parse", *CLIPS, "--run", run, "--json", tmp_path / "parsed.json")
    coleaf("predict", run, "--data", features, "--out", tmp_path / "predicted.json")
    parsed, predicted = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("parsed", "predicted"))
    assert parsed["videos"] == predicted["videos"]
    assert sum(len(video["events"]) for video in parsed["videos"].values()) > 0


def test_the_gate_of_a_segment_is_that_of_its_window(run: Path, tmp_path: Path) -> None:
    """Deciding anew from what a parsed video holds, as a page does, gives its events; here of two windows."""
    long = make_media(tmp_path / "long.mp4", seconds=13)
    parsed, _ = VideoParser(run).parse([long])
    (video,) = parsed
    assert len(video.decided) == 13
    again = [
        decide(
            AnchorOutput(p[None, None], g[0][None], torch.empty(0), modality_probs=g[None]),
            video.decision,
        )[0, 0]
        for p, g in zip(video.segment_probs, video.gate_probs, strict=True)
    ]
    assert torch.equal(torch.stack(again), video.decided)


def test_windows_of_a_long_file_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    long = make_media(tmp_path / "long.mp4", seconds=23)
    parser = VideoParser(run)
    (video,), _ = parser.parse([long])
    recipe = read_record(run).features
    assert recipe is not None
    extract([long], tmp_path / "features", recipe, projection=run / PROJECTION_FILE)
    predicted = parser.trainer.predict(ExtractedVideos(tmp_path / "features", parser.classes))
    windows = [p[:n] for p, n in zip(predicted.segment_probs, predicted.mask.sum(1).tolist(), strict=True)]
    assert [len(window) for window in windows] == [10, 10, 3]
    assert torch.equal(video.segment_probs, torch.cat(windows))
    assert video.id == "long"
    assert any("10 s at a time" in note for note in video.notes)


def test_nothing_is_heard_in_a_file_without_an_audio_track(run: Path, tmp_path: Path) -> None:
    silent = make_media(tmp_path / "silent.mp4", audio=None)
    (video,), _ = VideoParser(run).parse([silent])
    assert video.absent == "audio"
    assert not video.decided[:, 0].any()
    assert not video.segment_probs[:, 0].any()
    assert any("no audio track" in note for note in video.notes)


def test_nothing_is_heard_by_predict_in_the_features_of_such_a_file_either(
    run: Path, coleaf: Command, tmp_path: Path
) -> None:
    silent = make_media(tmp_path / "silent.mp4", audio=None)
    recipe = read_record(run).features
    assert recipe is not None
    extract([silent], tmp_path / "features", recipe, projection=run / PROJECTION_FILE)
    coleaf("predict", run, "--data", tmp_path / "features", "--out", tmp_path / "predicted.json")
    content = json.loads((tmp_path / "predicted.json").read_text())
    assert {event["modality"] for event in content["videos"]["silent"]["events"]} <= {"visible-only"}
    assert any("no audio track" in note for note in content["notes"])


def test_a_file_that_cannot_be_read_is_named_and_the_rest_goes_on(run: Path, coleaf: Command, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    said = coleaf("parse", tmp_path / "text.mp4", CLIPS[0], "--run", run, "--json", "events.json", fails=True)
    assert "FAILED: " in said
    assert "text.mp4" in said
    assert "1 of 2 videos could not be read" in said
    assert list(json.loads((Path.cwd() / "events.json").read_text())["videos"]) == [CLIPS[0].stem]


def test_an_embedded_page_holds_the_events(run: Path, coleaf: Command, tmp_path: Path) -> None:
    coleaf("parse", CLIPS[0], "--run", run, "--html", tmp_path / "page.html", "--embed")
    page = (tmp_path / "page.html").read_text()
    assert "data:video/mp4;base64," in page
    assert (
        json.loads(Path(f"{CLIPS[0].stem}.events.json").read_text())["videos"][CLIPS[0].stem]["events"][0]["label"]
        in page
    )


@pytest.mark.parametrize("command", [("parse", CLIPS[0]), ("serve",)])
def test_without_a_run_it_is_said_how_to_get_one(coleaf: Command, command: tuple[object, ...]) -> None:
    assert "`make demo`" in coleaf(*command, fails=True)


def test_embed_without_a_page_is_refused(run: Path, coleaf: Command) -> None:
    assert "--html" in coleaf("parse", CLIPS[0], "--run", run, "--embed", fails=True)


def test_a_missing_file_is_named_before_the_network_is_loaded(coleaf: Command, tmp_path: Path) -> None:
    assert "gone.mp4: no such file" in coleaf("parse", "gone.mp4", "--run", tmp_path, fails=True)


def test_a_run_that_does_not_know_its_recipe_asks_for_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", knows_recipe=False)
    with pytest.raises(ValueError, match="does not say how its training features were extracted: pass --features"):
        VideoParser(run)


def test_another_recipe_than_the_runs_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match="was trained on features of the recipe 'tiny'"):
        VideoParser(run, features="llp")


def test_features_of_other_widths_are_refused(tmp_path: Path) -> None:
    """Those of a run on projected features, whose projection nobody named."""
    run = write_run(tmp_path / "run", knows_recipe=False)
    with pytest.raises(ValueError, match="stream 'audio' is .*width=128.*, the model takes .*width=64"):
        VideoParser(run, features="tiny").parse(CLIPS[:1])


def test_a_run_that_was_trained_on_other_weights_is_refused(tmp_path: Path) -> None:
    recipe = read_record(write_run(tmp_path / "one")).features
    assert recipe is not None
    other = write_run(tmp_path / "run")
    record = read_record(other)
    record.changed(features=recipe.model_copy(update={"weights": {"efficientnet-lite0": "0" * 16}})).write(other)
    with pytest.raises(ValueError, match="the weights of efficientnet-lite0 are .*, not 0000000000000000"):
        VideoParser(other)


def test_a_missing_projection_is_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / PROJECTION_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="projection.safetensors: no such file"):
        VideoParser(tmp_path / "run")


def test_another_projection_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    write_tensors(tmp_path / "run" / PROJECTION_FILE, {"audio": torch.zeros(65, 128)})
    with pytest.raises(ValueError, match="its digest is .*, not "):
        VideoParser(tmp_path / "run")


def test_a_recipe_of_that_name_is_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", knows_recipe=False)
    with pytest.raises(ValueError, match="no recipe of features 'tinny'. Did you mean 'tiny'"):
        VideoParser(run, features="tinny")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--html", "other.mp4"), "--html other.mp4: is the name of a media file"),
        (("--json", "clip"), "--json clip: is one of the videos"),
        (("--json", "a.out", "--html", "a.out"), "--html a.out: is the file of --json"),
    ],
)
def test_a_result_does_not_replace_a_video_or_another_result(
    run: Path, coleaf: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    """`coleaf parse --html *.mp4` names the first video as the page."""
    monkeypatch.chdir(tmp_path)
    for name in ("clip", "other.mp4"):
        shutil.copy(CLIPS[0], name)
    assert said in coleaf("parse", "clip", "--run", run, *options, fails=True)
    assert Path("other.mp4").read_bytes() == Path("clip").read_bytes() == CLIPS[0].read_bytes()


def test_an_id_that_is_not_the_name_of_its_file_is_told(run: Path, coleaf: Command, tmp_path: Path) -> None:
    clip = shutil.copy(CLIPS[0], tmp_path / "dog_20_30.mp4")
    coleaf("parse", clip, "--run", run, "--json", tmp_path / "events.json")
    told = "ids leave out the times at the end of names, as in 'dog_20_30.mp4', whose id is 'dog'"
    assert told in json.loads((tmp_path / "events.json").read_text())["notes"]
