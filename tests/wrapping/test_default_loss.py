"""The loss of an Anchor without one: BCE on the video, and on both modalities where that leaves out what scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import CoLeaF, CoLeaFConfig, Tap, training_signal, wrap
from tests.helpers.networks import NUM_CLASSES, TinyNet, batch_of
from tests.helpers.signal_networks import BY_PLACE, TwoHeads, put_in

ALONE = CoLeaFConfig(enabled=False)


def cross_entropy(probs: Tensor, labels: Tensor) -> float:
    """BCE as it is written."""
    return -(labels * probs.log() + (1 - labels) * (1 - probs).log()).mean().item()


def test_it_is_bce_on_video_and_both_modalities_where_the_video_reaches_no_segment_head() -> None:
    model, batch = put_in(TwoHeads(), config=ALONE), batch_of()
    output, losses = model.infer(batch), model(batch)
    assert losses.keys() == {"anchor/video", "anchor/audio", "anchor/visual"}
    assert output.modality_probs is not None
    for name, probs in (
        ("video", output.video_probs),
        ("audio", output.modality_probs[:, 0]),
        ("visual", output.modality_probs[:, 1]),
    ):
        assert losses[f"anchor/{name}"].item() == pytest.approx(cross_entropy(probs, batch.labels), rel=1e-5)


def test_it_reads_the_labels_of_either_modality_where_they_are_given() -> None:
    model, batch = put_in(TwoHeads(), config=ALONE), batch_of()
    labels = torch.stack([batch.labels, 1 - batch.labels], dim=1)
    probs = model.infer(batch).modality_probs
    assert probs is not None
    losses = model(dataclasses.replace(batch, modality_labels=labels))
    assert losses["anchor/visual"].item() == pytest.approx(cross_entropy(probs[:, 1], 1 - batch.labels), rel=1e-5)


def test_it_is_bce_on_the_video_alone_where_that_reaches_the_segment_head() -> None:
    assert wrap(TinyNet(), config=ALONE)(batch_of()).keys() == {"anchor/video"}
    record = wrap("han", config=ALONE, num_classes=NUM_CLASSES, anchor_options={"width": 8}).record
    assert record is not None
    assert record.model.default_loss == "video"


class Prompted(TwoHeads):
    """Its segments are projections times text embeddings, which are no parameters; the video has a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        del self.fc_prob
        self.pa, self.pv = nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("text", torch.randn(NUM_CLASSES, 8))

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        x = self.encode(audio, visual)
        a, v = x.unbind(2)
        segments = (torch.stack([self.pa(a), self.pv(v)], dim=2) @ self.text.T).sigmoid()
        return segments, self.fc_video(x.mean((1, 2))).sigmoid()


class ClassifierEach(TwoHeads):
    """Each modality has a classifier, and the video is that of the visual one alone."""

    def __init__(self) -> None:
        super().__init__()
        del self.fc_prob, self.fc_video
        self.fc_prob_a, self.fc_prob_v = nn.Linear(8, NUM_CLASSES), nn.Linear(8, NUM_CLASSES)

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        a, v = self.encode(audio, visual).unbind(2)
        segments = torch.stack([self.fc_prob_a(a).sigmoid(), self.fc_prob_v(v).sigmoid()], dim=2)
        return segments, segments[:, :, 1].mean(1)


@pytest.mark.parametrize(
    ("net", "tokens", "left_out"),
    [
        (Prompted, (Tap("pa"), Tap("pv")), ("pa", "pv")),
        (ClassifierEach, (Tap("fc_prob_a", at="input"), Tap("fc_prob_v", at="input")), ("fc_prob_a",)),
    ],
)
def test_it_is_bce_on_both_where_the_video_leaves_out_any_parameter_of_the_segments(
    net: type[nn.Module], tokens: tuple[Tap, Tap], left_out: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    model = put_in(net(), config=ALONE, outputs=BY_PLACE, tokens=tokens)
    assert model(batch_of()).keys() == {"anchor/video", "anchor/audio", "anchor/visual"}
    (record,) = caplog.records
    named = ", ".join(f"{name} (2)" for name in left_out)
    assert f"BCE on video_probs alone does not train {named}, on which segment_probs depends" in record.getMessage()
    for name in left_out:
        assert model.training_signal().share(name, "video") == 0
        assert model.training_signal().share(name, "audio") + model.training_signal().share(name, "visual") > 0


def test_a_loaded_model_keeps_the_recorded_default_in_its_training_signal(tmp_path: Path) -> None:
    put_in(TwoHeads(), config=ALONE).save(tmp_path)
    file = tmp_path / "config.yaml"
    assert training_signal(CoLeaF.load(tmp_path, anchor=TwoHeads())).terms == ("video", "audio", "visual")
    file.write_text(file.read_text().replace("default_loss: modalities", "default_loss: video"))
    assert training_signal(CoLeaF.load(tmp_path, anchor=TwoHeads())).terms == ("video",)


def test_it_is_logged_in_one_sentence(caplog: pytest.LogCaptureFixture) -> None:
    put_in(TwoHeads(), config=ALONE)
    (record,) = caplog.records
    assert "BCE on video_probs alone does not train fc_prob (2)" in record.getMessage()


def test_it_is_saved_with_the_model(tmp_path: Path) -> None:
    model, batch = put_in(TwoHeads(), config=ALONE), batch_of()
    model.save(tmp_path)
    loaded = CoLeaF.load(tmp_path, anchor=TwoHeads())
    assert {name: x.item() for name, x in loaded(batch).items()} == {name: x.item() for name, x in model(batch).items()}


def test_a_record_of_before_has_bce_on_the_video(tmp_path: Path) -> None:
    put_in(TwoHeads(), config=ALONE).save(tmp_path)
    file = tmp_path / "config.yaml"
    lines = [line for line in file.read_text().splitlines() if "default_loss" not in line and "  loss:" not in line]
    file.write_text("\n".join(lines) + "\n")
    assert CoLeaF.load(tmp_path, anchor=TwoHeads())(batch_of()).keys() == {"anchor/video"}
