"""No training step makes the host wait for the device: on a GPU, a wait in each step would cost more than the step."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, Batch, CoLeaFConfig, list_anchors, wrap
from coleaf_framework.collaboration import NoiseRatios
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import Progress
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.training.stepping import Stepper
from tests.helpers.host_reads import HostReads
from tests.helpers.streams import SMALL, small_batch

VIDEOS, SEGMENTS, CLASSES = 4, 10, 3
HALVES = (0.5,) * CLASSES
PAST: dict[str, Any] = {"anchor_warmup": 0, "reference_warmup": 0}
TERMS = {
    "paper": CoLeaFConfig(**PAST),
    "official": CoLeaFConfig.official(**PAST),
    "strong": CoLeaFConfig.strong(**PAST),
    "alone": CoLeaFConfig(enabled=False),
    "head start": CoLeaFConfig(reference_head_start=9),
    "nce, refined by the Reference": CoLeaFConfig(contrast="nce", reference_labels=True, reference_ema=0.9, **PAST),
    "bce": CoLeaFConfig(contrast="bce", anchor_loss="video", **PAST),
    "every direction": CoLeaFConfig(contrast_directions="both", positive_in_denominator=True, theta="expected", **PAST),
    "denoised": CoLeaFConfig(labels="denoised", noise_ratios=NoiseRatios(audio=HALVES, visual=HALVES), **PAST),
    "pseudo-labels": CoLeaFConfig(
        pseudo_label_weight=1.0, pseudo_label_classes="weak", segment_label_weight=1.0, modality_label_weight=1.0,
        segment_label_form="hard", segment_label_smoothing=0.1, label_teacher_ema=0.9, **PAST,
    ),
    "balanced": CoLeaFConfig(segment_label_weight=1.0, segment_label_balance=10.0, **PAST),
    "mixup": CoLeaFConfig(mixup=0.5, **PAST),
}  # fmt: skip
PROGRESS = Progress(5, 3)


def wrapped(anchor: str, config: CoLeaFConfig, **options: Any) -> CoLeaF:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of noise ratios, which are known for LLP's classes alone
        return wrap(anchor, streams=SMALL, num_classes=CLASSES, config=config, anchor_options=options).train()


def batch_of(*, masked: bool = True, labelled: bool = False) -> Batch:
    mask = torch.ones(VIDEOS, SEGMENTS, dtype=torch.bool)
    mask[1:, 6:] = False
    batch = Batch(
        small_batch(SEGMENTS, VIDEOS), (torch.rand(VIDEOS, CLASSES) < 0.5).float(), mask=mask if masked else None
    )
    if not labelled:
        return batch
    of_segments = torch.rand(VIDEOS, SEGMENTS, 2, CLASSES)
    return replace(batch, pseudo_labels=of_segments, pseudo_label_mask=of_segments < 0.8)


def step(model: CoLeaF, batch: Batch, device: str) -> int:
    """A training step under `HostReads`, on "meta" without its update of the weights; the number of its operators."""
    model, batch = model.to(device), batch.to(device)
    stepper = Stepper(model, TrainerConfig(clip_norm=1.0, anchor_ema=0.9), torch.device("cpu"))
    with HostReads() as found:
        if device == "cpu":
            stepper.step([batch], PROGRESS, lambda _: None)
        else:
            shared = model.shared_pass(batch, PROGRESS)
            for which in model.updates(PROGRESS):
                model.update(batch, PROGRESS, which, shared).total().backward()
            model.after_step()
    return found.count


@pytest.mark.parametrize("anchor", list_anchors())
def test_no_anchor_waits(anchor: str) -> None:
    options = {"width": 8, **({"heads": 2} if anchor == "mm_pyramid" else {})}
    assert step(wrapped(anchor, CoLeaFConfig.official(**PAST), **options), batch_of(masked=False), "meta") > 200


@pytest.mark.parametrize("terms", TERMS)
def test_no_term_waits(terms: str) -> None:
    labelled = TERMS[terms].reads_segment_labels
    model = wrapped("han", TERMS[terms], width=8)
    shares = torch.full((2, CLASSES), 0.1, device="meta")  # as the trainer hands them to the model
    model.label_loss = replace(model.label_loss, positive_shares=shares)
    step(model, batch_of(labelled=labelled), "meta")


def test_no_update_of_the_weights_waits() -> None:
    assert step(wrapped("han", TERMS["official"], width=8), batch_of(), "cpu") > 500


def test_mixing_reads_no_value_of_the_device() -> None:
    batch, model = batch_of(labelled=True), wrapped("han", TERMS["mixup"], width=8)
    model.mix(batch.to("meta"))


class Waiting(nn.Module):
    """An Anchor with one of the usual ways to wait for a device in its loss."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer = how, nn.Linear(6, 2 * CLASSES)

    def forward(self, audio: Tensor, visual: Tensor, visual_st: Tensor, mask: Tensor | None = None) -> AnchorOutput:
        tokens = audio[:, :, None].expand(-1, -1, 2, -1)
        probs = self.layer(audio).sigmoid().unflatten(-1, (2, CLASSES))
        return AnchorOutput(probs, probs.mean((1, 2)), tokens)

    def loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        x, present = output.video_probs, batch.labels > 0.5
        ways = {
            "item": lambda: x * float(x.detach().max()),
            "branch": lambda: x if x.sum() > 0 else -x,
            "mask": lambda: x[present],
            "nonzero": lambda: x.flatten()[present.flatten().nonzero().squeeze(1)],
            "tensor": lambda: x * torch.tensor([0.5], device=x.device),
        }
        return {"own": ways[self.how]().mean()}


@pytest.mark.parametrize("how", ["item", "branch", "mask", "nonzero", "tensor"])
def test_waiting_is_found(how: str) -> None:
    model = CoLeaF(Waiting(how), None, streams=SMALL, num_classes=CLASSES, config=CoLeaFConfig(enabled=False))
    with pytest.raises(AssertionError, match=r"aten::\w+(\.Tensor)? waits for the device"):
        step(model, batch_of(masked=False), "cpu")


def test_a_copy_between_devices_is_found() -> None:
    """As of shares of positive labels that the trainer left on the host."""
    model = wrapped("han", TERMS["balanced"], width=8)
    model.label_loss = replace(model.label_loss, positive_shares=torch.full((2, CLASSES), 0.1))
    with pytest.raises(AssertionError, match=r"copies between \['cpu', 'meta'\]"):
        step(model, batch_of(labelled=True), "meta")
