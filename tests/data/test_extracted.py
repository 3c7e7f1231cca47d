"""Folders of `coleaf extract` to which annotations were added keep what is known of their files' tracks."""

from __future__ import annotations

from pathlib import Path

import pytest

from coleaf_framework import CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder, pack
from coleaf_framework.data.extracted import COLUMNS, VIDEOS_FILE, ExtractedVideo
from coleaf_framework.data.recipe_file import FeatureRecipe
from coleaf_framework.metrics import DecisionConfig


@pytest.fixture
def silent(data_root: Path) -> str:
    """A validation video of the data folder whose file has no audio track."""
    video = AVVPFolder(data_root, "val").ids[0]
    FeatureRecipe(recipe="tiny", frame_rate=8, sample_rate=16000, weights={}, decoder="PyAV 18").write(data_root)
    row = ExtractedVideo(video, "/films/silent.mp4", 0, 10, "audio").row()
    (data_root / VIDEOS_FILE).write_text("\t".join(COLUMNS) + "\n" + row)
    return video


def test_nothing_is_heard_in_an_annotated_video_without_audio_track(data_root: Path, silent: str) -> None:
    data = AVVPFolder(data_root, "val")
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options={"width": 8})
    predictions = CoLeaFTrainer(model, TrainerConfig(device="cpu"), quiet=True).predict(data)
    heard = predictions.segment_probs[:, :, 0].flatten(1).amax(1)
    assert heard[0] == 0
    assert (heard[1:] > 0).all()
    assert f"1 of {len(data)} videos have no audio track, so events can only be seen" in predictions.caveats


def test_a_packed_store_keeps_which_track_a_video_lacks(data_root: Path, silent: str, tmp_path: Path) -> None:
    pack(data_root, tmp_path / "store", dtype="float32")
    assert AVVPFolder(tmp_path / "store", "val").absent(silent) == "audio"


def test_the_score_of_an_epoch_hears_nothing_there_either(data_root: Path, silent: str) -> None:
    """The validation score in training is that of `evaluate`."""
    train, val = AVVPFolder(data_root, "train"), AVVPFolder(data_root, "val")
    model = wrap("han", streams=train.streams, num_classes=3, anchor_options={"width": 8})
    everywhere = DecisionConfig(segment_threshold=1e-6, gate_threshold=0.0)
    config = TrainerConfig(device="cpu", epochs=1, batch_size=4, monitor=("segment/A",))
    trainer = CoLeaFTrainer(model, config, decision=everywhere, quiet=True)
    (epoch,) = trainer.fit(train, val)
    assert epoch["val"]["segment/A"] == pytest.approx(trainer.evaluate(val).scores["segment/A"])
