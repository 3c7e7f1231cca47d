"""The recipe `tiny` against the recorded features of real clips, and on what a clip may lack."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from coleaf_framework.extraction.efficientnet import WEIGHTS_FILE, weights_file
from coleaf_framework.extraction.log_mel import SILENCE
from coleaf_framework.extraction.tiny import Tiny
from coleaf_framework.media import Piece, decode

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "data" / "video" / "features.npz"
CLIPS = sorted((ROOT / "examples" / "clips").glob("*.mp4"))
BLACK = np.zeros((160, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return Tiny()


def noise(frames: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (frames, 160, 160, 3), np.uint8))


def silent(seconds: int, frames: list[np.ndarray]) -> Piece[np.ndarray]:
    return Piece(0.0, seconds, frames, np.zeros((1, 16000 * seconds), np.float32))


def require_recorded(tiny: Tiny, clip: Path, recorded: Path) -> None:
    """Holds a clip's features to the recorded ones, more closely than other decoders would allow."""
    (piece,) = decode(
        clip, window=10, frame_rate=8, sample_rate=16000, prepare=tiny.prepare, frame_size=tiny.frame_size
    )
    made, expected = tiny.features(piece), np.load(recorded)
    for stream in ("audio", "visual", "visual_st"):
        x, y = made[stream], expected[f"{clip.stem}/{stream}"].astype(np.float32)
        assert x.shape == y.shape
        assert x.dtype == np.float32
        cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        assert cosines.min() >= 0.999, stream
        assert np.abs(x - y).mean() <= 0.002, stream


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_features_of_a_real_clip_are_those_recorded(tiny: Tiny, clip: Path) -> None:
    require_recorded(tiny, clip, RECORDED)


@pytest.mark.slow
def test_features_of_all_eight_clips_are_those_recorded(tiny: Tiny, eight_clips: Path) -> None:
    for clip in sorted(eight_clips.glob("*.mp4")):
        require_recorded(tiny, clip, eight_clips / "features.npz")


def test_the_last_frame_is_repeated_where_frames_are_missing(tiny: Tiny) -> None:
    frames = noise(11)
    made = tiny.features(silent(2, frames))
    full = tiny.features(silent(2, frames + frames[-1:] * 5))
    for stream in made:
        np.testing.assert_allclose(made[stream], full[stream], atol=1e-5)


def test_frames_and_samples_past_the_end_are_left_out(tiny: Tiny) -> None:
    frames, samples = noise(11), np.random.default_rng(1).uniform(-1, 1, (1, 17000)).astype(np.float32)
    made = tiny.features(Piece(0.0, 1, frames, samples))
    cut = tiny.features(Piece(0.0, 1, frames[:8], samples[:, :16000]))
    for stream in made:
        np.testing.assert_array_equal(made[stream], cut[stream])


def test_without_tracks_the_features_are_those_of_black_frames_and_silence(tiny: Tiny) -> None:
    made = tiny.features(Piece(0.0, 3, [], np.zeros((1, 0), np.float32)))
    black = tiny.features(silent(3, [BLACK] * 24))
    for stream in made:
        np.testing.assert_allclose(made[stream], black[stream], atol=1e-5)
    np.testing.assert_allclose(made["audio"][:, :64], SILENCE, rtol=1e-6)
    np.testing.assert_allclose(made["audio"][:, 64:], 0, atol=1e-6)


def test_channels_are_averaged(tiny: Tiny) -> None:
    left, right = np.random.default_rng(2).uniform(-1, 1, (2, 16000)).astype(np.float32)
    stereo = tiny.features(Piece(0.0, 1, [BLACK], np.stack([left, right])))
    mono = tiny.features(Piece(0.0, 1, [BLACK], ((left + right) / 2)[None]))
    np.testing.assert_allclose(stereo["audio"], mono["audio"], atol=1e-5)


def test_names_its_weights_by_their_digest(tiny: Tiny) -> None:
    assert tiny.weights == {"efficientnet-lite0": "579344248a93e230"}


def test_weights_of_another_digest_are_refused(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS_FILE).write_bytes(weights_file(None).read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"SHA-256 begins with [0-9a-f]{16}, not 579344248a93e230"):
        Tiny(tmp_path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{WEIGHTS_FILE}: no such file"):
        Tiny(tmp_path)


def test_weights_may_lie_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    shutil.copyfile(weights_file(None), tmp_path / WEIGHTS_FILE)
    assert Tiny(tmp_path).weights == {"efficientnet-lite0": "579344248a93e230"}
