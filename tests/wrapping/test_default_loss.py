"""The loss of an Anchor without one: BCE on the video, and on both modalities where that trains no segment head."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coleaf_framework import CoLeaF, CoLeaFConfig, wrap
from tests.helpers.networks import TinyNet, batch_of
from tests.helpers.signal_networks import TwoHeads, put_in

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
