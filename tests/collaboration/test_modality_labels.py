"""Labels of either modality that a data set gives: who reads them, and what may change them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from coleaf_backbones.cmpae_loss import refined_labels

from coleaf_framework import Batch, CoLeaFConfig, wrap
from coleaf_framework.collaboration import modality_labels, weak_modality_labels
from coleaf_framework.losses import pseudo_label_cross_entropy, refine_labels
from coleaf_framework.protocol import Progress
from tests.helpers.networks import TinyNet, batch_of


def given(batch: Batch) -> Batch:
    """Each weak label is heard alone, seen alone or both, in turn."""
    heard, seen = (torch.ones_like(batch.labels) for _ in range(2))
    heard.view(-1)[::3], seen.view(-1)[1::3] = 0, 0
    return replace(batch, modality_labels=torch.stack([batch.labels * heard, batch.labels * seen], dim=1))


def test_a_class_that_is_given_in_one_modality_stays_whatever_the_reference_finds() -> None:
    audio, visual = [0.9, 0.1, 0.1, 0.9], [0.1, 0.9, 0.1, 0.1]
    labels = torch.tensor([[[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]])  # the last class in both
    refined = refine_labels(labels, torch.tensor([[audio, visual]]), 0.5)
    assert refined.tolist() == [[[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]


def test_labels_that_say_the_same_of_both_modalities_are_refined_as_those_of_the_video() -> None:
    labels, probs = (torch.rand(20, 4) < 0.5).float(), torch.rand(20, 2, 4)
    assert torch.equal(refine_labels(labels[:, None].repeat(1, 2, 1), probs, 0.5), refine_labels(labels, probs, 0.5))


def test_the_reference_refines_the_labels_that_the_data_set_gives() -> None:
    seen = []

    class Own(TinyNet):
        def loss(self, output: Any, batch: Batch, progress: Progress) -> dict[str, Any]:
            seen.append(batch.modality_labels)
            return {"own": output.video_probs.mean()}

    batch = given(batch_of(12))
    model = wrap(Own, config=CoLeaFConfig(reference_labels=True)).eval()
    seen.clear()
    model(batch, Progress(1))
    model(batch, Progress(2))
    assert torch.equal(seen[0], batch.modality_labels)
    probs = model.reference(**batch.streams).modality_probs
    assert torch.equal(seen[1], refine_labels(batch.modality_labels, probs, 0.5))
    assert torch.equal(seen[1].amax(1), batch.labels)  # no class is lost


def test_the_reference_is_taught_them() -> None:
    batch = given(batch_of())
    assert torch.equal(weak_modality_labels(CoLeaFConfig(), batch), batch.modality_labels)
    model = wrap(TinyNet)
    taught = modality_labels(model.config, model.anchor, model.infer(batch), batch, Progress(1))
    assert torch.equal(taught, batch.modality_labels)
    plain = replace(batch, modality_labels=None)
    assert model(batch)["reference/video"].item() != model(plain)["reference/video"].item()


def test_an_anchor_without_a_loss_is_taught_them() -> None:
    batch, model = given(batch_of()), wrap(TinyNet, config=CoLeaFConfig(enabled=False)).eval()
    terms, output = model(batch), model.infer(batch)
    assert terms.keys() == {"anchor/video", "anchor/audio", "anchor/visual"}
    expected = torch.nn.functional.binary_cross_entropy(output.modality_probs[:, 1], batch.modality_labels[:, 1])
    torch.testing.assert_close(terms["anchor/visual"], expected)
    assert wrap(TinyNet, config=CoLeaFConfig(enabled=False, anchor_loss="video"))(batch).keys() == {"anchor/video"}


def test_labels_of_the_reference_do_not_change_which_default_loss_there_is() -> None:
    model = wrap(TinyNet, config=CoLeaFConfig(reference_labels=True)).eval()
    assert "anchor/audio" not in model(batch_of(), Progress(2))


def test_pseudo_labels_of_labelled_classes_alone_are_told_by_modality() -> None:
    anchor, reference = torch.rand(3, 2, 4), torch.rand(3, 2, 4)
    labels = (torch.rand(3, 2, 4) < 0.5).float()
    term = pseudo_label_cross_entropy(anchor, reference, soft=True, labels=labels)
    torch.testing.assert_close(term, pseudo_label_cross_entropy(anchor, reference * labels, soft=True))


@pytest.mark.parametrize("epoch", [1, 2])
def test_cmpae_denoises_none_that_is_given_in_one_modality(epoch: int) -> None:
    batch = given(Batch(streams={}, labels=torch.ones(30, 3)))
    refined = refined_labels(batch, torch.rand(30, 2, 3), torch.full((2, 3), 0.9), Progress(epoch))
    one = batch.modality_labels.sum(1) == 1
    kept = refined > 0.5
    assert torch.equal(kept.transpose(1, 2)[one], batch.modality_labels.bool().transpose(1, 2)[one])
    assert bool((kept.sum(1) < 2)[~one].any()) == (epoch == 2)
