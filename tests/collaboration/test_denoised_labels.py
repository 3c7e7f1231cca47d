"""Labels denoised by JoMoLD's rule, for any Anchor."""

from __future__ import annotations

import pytest
import torch
from coleaf_backbones.cmpae_output import CMPAEOutput
from torch import Tensor

from coleaf_framework import CoLeaFConfig, wrap
from coleaf_framework.collaboration import NoiseRatios, denoised_labels, unimodal_probs
from coleaf_framework.losses import binary_cross_entropy, denoise_labels, smooth_visual_labels
from coleaf_framework.protocol import AnchorOutput, Batch, Progress, StreamSpec

STREAMS = {
    "audio": StreamSpec(6, "audio"),
    "visual": StreamSpec(8, "visual", frames=2),
    "visual_st": StreamSpec(4, "visual"),
}
RATIOS = NoiseRatios(audio=(0.5, 0.5, 0.5), visual=(0.5, 0.5, 0.5))
DENOISED = {"labels": "denoised", "noise_ratios": RATIOS}


def batch_of(videos: int = 8) -> Batch:
    streams = {name: torch.randn(videos, 4 * spec.frames, spec.width) for name, spec in STREAMS.items()}
    return Batch(streams, (torch.rand(videos, 3) < 0.7).float())


def output_of(probs: Tensor) -> AnchorOutput:
    return AnchorOutput(torch.zeros(len(probs), 4, 2, 3), probs[:, 0], torch.zeros(0), probs)


def test_labels_are_removed_from_the_second_epoch_on() -> None:
    batch, probs = batch_of(), torch.rand(8, 2, 3)
    weak = batch.each_modality_labels()
    assert torch.equal(denoised_labels(RATIOS, output_of(probs), batch, Progress(1)), weak)
    found = denoised_labels(RATIOS, output_of(probs), batch, Progress(2))
    assert torch.equal(found, denoise_labels(batch.labels, probs, torch.full((2, 3), 0.5), smooth_visual_labels(weak)))
    assert (found < weak).any()


def test_probabilities_without_cross_attention_come_first() -> None:
    batch = batch_of()
    options = {"width": 8, "noise_ratios": {"audio": 0, "visual": 0}}
    output = wrap("cmpae", streams=STREAMS, num_classes=3, anchor_options=options).infer(batch)
    assert isinstance(output, CMPAEOutput)
    assert torch.equal(unimodal_probs(output), output.unimodal.modality_probs)
    assert not torch.equal(unimodal_probs(output), output.modality_probs)
    plain = output_of(torch.rand(8, 2, 3))
    assert torch.equal(unimodal_probs(plain), plain.modality_probs)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_anchors_own_loss_is_taught_them(enabled: bool) -> None:
    config = CoLeaFConfig(enabled=enabled, **DENOISED)
    model = wrap("han", streams=STREAMS, num_classes=3, anchor_options={"width": 8, "dropout": 0.0}, config=config)
    batch, progress = batch_of(), Progress(2)
    output = model.infer(batch)
    labels = denoised_labels(RATIOS, output, batch, progress)
    losses = model.train()(batch, progress)
    assert losses["anchor/audio"].item() == pytest.approx(
        binary_cross_entropy(output.modality_probs[:, 0], labels[:, 0]).item(), rel=1e-5
    )
    visual = 0.95 * labels[:, 1] + 0.05 * (1 - batch.labels)  # 0 where removed
    assert losses["anchor/visual"].item() == pytest.approx(
        binary_cross_entropy(output.modality_probs[:, 1], visual).item(), rel=1e-5
    )
    assert losses["anchor/video"].item() == pytest.approx(
        binary_cross_entropy(output.video_probs, batch.labels).item(), rel=1e-5
    )


def test_the_reference_is_taught_them() -> None:
    models = []
    for values in (DENOISED, {}):
        torch.manual_seed(0)
        options = {"width": 8, "dropout": 0.0}
        config = CoLeaFConfig(**values)
        models.append(wrap("han", streams=STREAMS, num_classes=3, anchor_options=options, config=config))
    batch = batch_of()
    first, second = ([m.eval()(batch, Progress(epoch))["reference/video"].item() for m in models] for epoch in (1, 2))
    assert first[0] == first[1]
    assert second[0] != second[1]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"labels": "denoised"}, "need each other"),
        ({"noise_ratios": RATIOS}, "need each other"),
        (DENOISED | {"reference_labels": True}, "exclude each other"),
        (DENOISED | {"enabled": False, "anchor_loss": "video"}, "which anchor_loss video does not read"),
        (DENOISED | {"noise_ratios": {"audio": [0.1], "visual": [2.0]}}, r"must be in \[0, 1\], got 2.0"),
    ],
)
def test_values_that_would_do_nothing_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CoLeaFConfig(**values)


def test_an_anchor_whose_loss_does_not_read_them_is_told(caplog: pytest.LogCaptureFixture) -> None:
    config = CoLeaFConfig(anchor_loss="video", **DENOISED)
    wrap("han", streams=STREAMS, num_classes=3, anchor_options={"width": 8}, config=config)
    assert "labels=denoised teaches the Anchor nothing" in caplog.text
