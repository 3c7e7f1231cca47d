"""Extracting the features of many files: the folder that is written, whatever the files are like."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from coleaf_framework.data import AVVPFolder, open_folder
from coleaf_framework.data.extracted import ExtractedVideos, read_videos
from coleaf_framework.data.recipe_file import FeatureRecipe, read_recipe
from coleaf_framework.extraction import Extracted, FeatureExtractor, extract, one_file
from coleaf_framework.media import decode
from coleaf_framework.storage import file_digest, write_tensors
from tests.helpers.data import write_tsv
from tests.helpers.media import make_media
from tests.helpers.recipes import Faulty, Infinite, Plain, register

MINI, CLIPS = Path("examples/tuxav_mini"), Path("examples/clips")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> str:
    return register(monkeypatch, Plain)


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Two seconds with both tracks, and five seconds."""
    return [make_media(tmp_path / "short.mp4"), make_media(tmp_path / "long.mp4", seconds=5)]


def features_of(folder: Path, video: str) -> dict[str, np.ndarray]:
    return {stream: np.load(files.path(folder, video)) for stream, files in Plain.streams.items()}


def feature_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.npy")}


def test_features_are_those_that_the_recipe_makes_of_each_window(plain: str, clips: list[Path], tmp_path: Path) -> None:
    extract(clips, tmp_path / "out", plain, window=2)

    recipe = Plain()
    pieces = decode(clips[1], window=2, frame_rate=2, sample_rate=8000, prepare=recipe.prepare, frame_size=(8, 8))
    for piece, video in zip(pieces, ("long.0-2", "long.2-4", "long.4-5"), strict=True):
        for stream, x in recipe.features(piece).items():
            np.testing.assert_array_equal(features_of(tmp_path / "out", video)[stream], x)


def test_the_folder_opens_with_the_videos_in_the_order_of_the_files(
    plain: str, clips: list[Path], tmp_path: Path
) -> None:
    made = extract(clips, tmp_path / "out", plain, window=2)

    data = open_folder(tmp_path / "out", "test", classes=("Dog", "Cat"))
    assert isinstance(data, ExtractedVideos)
    assert data.ids == ("short", "long.0-2", "long.2-4", "long.4-5")
    assert [data.segments(i) for i in range(4)] == [2, 2, 2, 1]
    assert data[3].streams["visual"].shape == (2, 3)
    assert (made.done, made.failed, made.seconds) == (tuple(clips), {}, 7)


def test_the_recipe_is_recorded(plain: str, clips: list[Path], tmp_path: Path) -> None:
    made = extract(clips, tmp_path / "out", plain, window=3)

    recorded = read_recipe(tmp_path / "out" / "extraction.yaml")
    assert recorded == made.recipe
    assert (recorded.recipe, recorded.window, recorded.frame_rate, recorded.weights) == (
        "plain",
        3,
        2,
        {"none": "none"},
    )
    assert recorded.decoder.startswith("PyAV")


def test_added_annotations_make_an_ordinary_data_set(plain: str, tmp_path: Path) -> None:
    clip = make_media(tmp_path / "tuxva000000_0_2.mp4")
    made = extract([clip], tmp_path / "out", plain)
    assert made.notes == (
        "ids leave out the times at the end of names, as in 'tuxva000000_0_2.mp4', whose id is 'tuxva000000'",
    )
    (tmp_path / "out" / "classes.txt").write_text("Dog\nCat\n")
    write_tsv(tmp_path / "out" / "AVVP_test_pd.csv", "filename event_labels", ["tuxva000000_0_2 Cat"])

    data = open_folder(tmp_path / "out", "test")

    assert isinstance(data, AVVPFolder)
    assert data.ids == ("tuxva000000",)
    assert data[0].labels.tolist() == [0, 1]
    assert data[0].streams["visual"].shape == (4, 3)


def test_without_annotations_and_classes_the_error_says_what_is_needed(
    plain: str, clips: list[Path], tmp_path: Path
) -> None:
    extract(clips, tmp_path / "out", plain)
    with pytest.raises(ValueError, match="without annotations, for which `coleaf predict RUN --data") as refused:
        open_folder(tmp_path / "out", "test")
    assert "classes.txt" in str(refused.value)
    assert "AVVP_test_pd.csv" in str(refused.value)


def test_two_files_of_the_same_id_are_refused_before_anything_is_decoded(plain: str, tmp_path: Path) -> None:
    one, other = tmp_path / "a_0_10.mp4", tmp_path / "b" / "a_20_30.mkv"
    with pytest.raises(ValueError, match=f"{one} and {other} would both have the id 'a'"):
        extract([one, other], tmp_path / "out", plain)  # which do not even exist
    assert not (tmp_path / "out").exists()


def test_a_file_is_refused_whose_id_the_folder_has_from_another(plain: str, clips: list[Path], tmp_path: Path) -> None:
    extract(clips, tmp_path / "out", plain, window=2)
    for name in ("long", "long.0-2"):
        (tmp_path / name).mkdir()
        other = make_media(tmp_path / name / f"{name}.mp4")
        with pytest.raises(ValueError, match=rf"has features of {clips[1]} under the id '{name}', which {other}"):
            extract([other], tmp_path / "out", plain, window=2)


def test_characters_that_ids_cannot_have_are_told_once(plain: str, tmp_path: Path) -> None:
    clips = [make_media(tmp_path / name) for name in ("my holiday.mp4", "Grüße.mp4")]
    made = extract(clips, tmp_path / "out", plain)
    assert list(read_videos(tmp_path / "out" / "videos.tsv")) == ["my_holiday", "Gr__e"]
    assert made.notes == (
        "characters that ids cannot have became '_', as in 'my holiday.mp4', whose id is 'my_holiday'; 2 files in all",
    )


def test_a_file_that_no_row_can_name_is_refused_alone(plain: str, clips: list[Path], tmp_path: Path) -> None:
    odd = make_media(tmp_path / "line\nbreak.mp4")
    made = extract([odd, *clips], tmp_path / "out", plain)
    assert "has a character that videos.tsv cannot hold" in made.failed[odd]
    assert made.done == tuple(clips)


def test_a_missing_track_is_noted_and_recorded(plain: str, tmp_path: Path) -> None:
    deaf, blind = make_media(tmp_path / "deaf.mp4", audio=None), make_media(tmp_path / "blind.mp4", video=None)
    made = extract([deaf, blind], tmp_path / "out", plain)
    assert made.notes == (
        "no audio track, so events can only be seen: deaf.mp4",
        "no video track, so events can only be heard: blind.mp4",
    )
    data = ExtractedVideos(tmp_path / "out", ("Dog",))
    assert (data.absent("deaf"), data.absent("blind")) == ("audio", "visual")
    assert features_of(tmp_path / "out", "deaf")["audio"].tolist() == [[0, 0], [0, 0]]
    assert features_of(tmp_path / "out", "blind")["visual"].tolist() == [[0, 0, 0]] * 4


def test_a_damaged_file_is_named_and_leaves_nothing(plain: str, clips: list[Path], tmp_path: Path) -> None:
    cut = make_media(tmp_path / "cut.mkv", seconds=8)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    text = tmp_path / "text.mp4"
    text.write_text("no video")

    made = extract([cut, clips[0], text], tmp_path / "out", plain, window=2)

    assert made.done == (clips[0],)
    assert set(made.failed) == {cut, text}
    assert feature_files(tmp_path / "out") == {"short.npy"}
    assert list(read_videos(tmp_path / "out" / "videos.tsv")) == ["short"]
    assert not list((tmp_path / "out").glob(".unfinished*"))


def test_features_that_are_not_finite_fail_their_file(
    monkeypatch: pytest.MonkeyPatch, clips: list[Path], tmp_path: Path
) -> None:
    made = extract(clips[:1], tmp_path / "out", register(monkeypatch, Infinite))
    assert made.failed == {clips[0]: "seconds 0 to 2: features of stream 'audio' are not finite"}


def test_a_fault_in_a_recipe_is_no_fault_of_the_file(
    monkeypatch: pytest.MonkeyPatch, clips: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match="a fault"):
        extract(clips, tmp_path / "out", register(monkeypatch, Faulty))


def test_a_full_disk_ends_the_extraction(
    monkeypatch: pytest.MonkeyPatch, plain: str, clips: list[Path], tmp_path: Path
) -> None:
    def full(path: Path, write: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(one_file, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        extract(clips, tmp_path / "out", plain)


def test_a_write_that_breaks_off_keeps_the_systems_reason(tmp_path: Path) -> None:
    """By which a full disk is told from a file that cannot be read; here the limit of a process."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="could not be written") as failed:
            one_file._write(tmp_path / "x.npy", np.zeros((100, 100), np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert failed.value.errno == errno.EFBIG


@pytest.mark.parametrize("window", [0, 21])
def test_a_window_that_the_recipe_cannot_take_is_refused(plain: str, window: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"window is {window}, where the recipe plain takes 1 to 20 seconds"):
        extract([Path("a.mp4")], tmp_path / "out", plain, window=window)


def test_progress_tells_the_seconds_of_every_file(plain: str, clips: list[Path], tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []

    def progress(file: Path, seconds: float) -> None:
        told.append((file.name, seconds))

    extract(clips[1:], tmp_path / "out", plain, window=2, progress=progress)
    assert told == [("long.mp4", 2), ("long.mp4", 2), ("long.mp4", 1)]
    told.clear()
    extract(clips, tmp_path / "out", plain, window=2, progress=progress)
    assert told == [("long.mp4", 5), ("short.mp4", 2)]


class TestProjection:
    @pytest.fixture
    def projection(self, tmp_path: Path) -> Path:
        path = tmp_path / "projection.safetensors"
        write_tensors(path, {"visual": torch.tensor([[10.0, 0, 0], [1, 0, 0], [0, 1, 1]])})
        return path

    def test_centres_and_projects_before_anything_is_written(
        self, plain: str, clips: list[Path], projection: Path, tmp_path: Path
    ) -> None:
        extract(clips[:1], tmp_path / "plain", plain)
        made = extract(clips[:1], tmp_path / "out", plain, projection=projection)

        before, after = (features_of(tmp_path / name, "short") for name in ("plain", "out"))
        red, green, blue = before["visual"].T
        np.testing.assert_allclose(after["visual"], np.stack([red - 10, green + blue], 1), rtol=1e-6)
        np.testing.assert_array_equal(after["audio"], before["audio"])
        assert made.recipe.projection == file_digest(projection)
        assert file_digest(tmp_path / "out" / "projection.safetensors") == made.recipe.projection
        assert ExtractedVideos(tmp_path / "out", ("Dog",)).streams["visual"].width == 2

    def test_of_other_streams_or_widths_is_refused(self, plain: str, clips: list[Path], tmp_path: Path) -> None:
        path = tmp_path / "projection.safetensors"
        for tensors, message in (
            ({"speech": torch.zeros(2, 3)}, "projects stream 'speech', where the recipe has audio, visual"),
            ({"visual": torch.zeros(2, 4)}, r"stream 'visual': expected \(1 \+ K, 3\).*found \(2, 4\)"),
            ({"visual": torch.full((2, 3), torch.nan)}, "expected finite real numbers"),
        ):
            write_tensors(path, tensors)
            with pytest.raises(ValueError, match=message):
                extract(clips, tmp_path / "out", plain, projection=path)

    def test_of_tuxav_mini_gives_the_features_of_that_data_set(self, tmp_path: Path) -> None:
        asked = read_recipe(MINI / "extraction.yaml")
        clip = CLIPS / "tuxva000000.mp4"

        made = extract([clip], tmp_path / "out", asked, projection=MINI / "projection.safetensors")

        assert made.recipe.differences(asked) == []
        stored, here = open_folder(MINI, "val"), ExtractedVideos(tmp_path / "out", ("Dog",))
        streams = stored[list(stored.ids).index("tuxva000000")].streams
        for stream, x in here[0].streams.items():
            y = streams[stream].float()
            assert x.shape == y.shape
            assert torch.cosine_similarity(x, y).min() > 0.97, stream  # those were made before the clip was compressed


class TestAsked:
    """Features that must be those of a folder which says how its own were made."""

    def asked(self, made: Extracted, **changes: object) -> FeatureRecipe:
        return made.recipe.model_copy(update=changes)

    @pytest.fixture
    def made(self, plain: str, clips: list[Path], tmp_path: Path) -> Extracted:
        return extract(clips, tmp_path / "first", plain)

    def test_the_same_are_made(self, made: Extracted, clips: list[Path], tmp_path: Path) -> None:
        assert extract(clips, tmp_path / "out", made.recipe) == made

    def test_another_decoder_is_noted(self, made: Extracted, clips: list[Path], tmp_path: Path) -> None:
        notes = extract(clips, tmp_path / "out", self.asked(made, decoder="ffmpeg 5.1")).notes
        assert len(notes) == 1
        assert "features asked for were by ffmpeg 5.1" in notes[0]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"version": 2}, "version is 1, not 2"),
            ({"sample_rate": 48000}, "sample_rate is 8000, not 48000"),
            ({"weights": {"none": "other"}}, "the weights of none are none, not other"),
            ({"projection": "ab7243fcdec42e68"}, "give the projection, whose digest is ab7243fcdec42e68"),
        ],
    )
    def test_others_are_refused(
        self, made: Extracted, clips: list[Path], tmp_path: Path, changes: dict[str, object], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            extract(clips, tmp_path / "out", self.asked(made, **changes))
        assert not (tmp_path / "out").exists()


def test_the_window_is_that_of_the_features_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    name = register(monkeypatch, Plain)
    assert FeatureExtractor(name).recipe.window == 10
    asked = FeatureExtractor(name, window=3).recipe
    assert FeatureExtractor(asked).recipe.window == 3
    assert FeatureExtractor(asked, window=4).recipe.window == 4
