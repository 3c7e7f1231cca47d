"""A moving average of the Anchor that refines pseudo-labels of segments."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from coleaf_framework import Batch, CoLeaF, CoLeaFConfig, CoLeaFTrainer, TrainerConfig, load_anchor, losses, wrap
from coleaf_framework.collaboration import with_teachers_labels
from coleaf_framework.protocol import Progress
from tests.helpers.networks import NUM_CLASSES, TinyNet, batch_of
from tests.helpers.videos import UNAV_LIKE, RandomVideos

TEACHING = {"segment_label_weight": 1.0, "label_teacher_ema": 0.5}
EARLY, LATE = Progress(1), Progress(2)


def labelled(**fields: Any) -> Batch:
    batch = replace(batch_of(**fields), pseudo_labels=torch.rand(4, 5, 2, NUM_CLASSES))
    return replace(batch, pseudo_label_mask=torch.rand(4, 5, 2, NUM_CLASSES) < 0.5)


def slow_refined(batch: Batch, probs: Tensor) -> Tensor:
    answer = torch.zeros_like(probs)
    for b, t, m, c in torch.cartesian_prod(*map(torch.arange, probs.shape)).tolist():
        label = batch.labels[b, c] if batch.modality_labels is None else batch.modality_labels[b, m, c]
        q = probs[b, t, m, c] * label
        said = batch.pseudo_labels is not None and (
            batch.pseudo_label_mask is None or batch.pseudo_label_mask[b, t, m, c]
        )
        answer[b, t, m, c] = (q + batch.pseudo_labels[b, t, m, c]) / 2 if said else q
    return answer


@given(pseudo=st.booleans(), masked=st.booleans(), per_modality=st.booleans())
def test_refined_labels_equal_the_plain_computation(pseudo: bool, masked: bool, per_modality: bool) -> None:
    batch = labelled()
    batch = replace(batch, pseudo_label_mask=batch.pseudo_label_mask if masked and pseudo else None)
    batch = replace(batch, pseudo_labels=batch.pseudo_labels if pseudo else None)
    batch = replace(batch, modality_labels=torch.rand(4, 2, NUM_CLASSES) if per_modality else None)
    probs = torch.rand(4, 5, 2, NUM_CLASSES)
    refined = with_teachers_labels(batch, probs)
    torch.testing.assert_close(refined.pseudo_labels, slow_refined(batch, probs))
    assert refined.pseudo_label_mask is None


def teaching_model(**values: Any) -> CoLeaF:
    model = wrap(TinyNet, config=CoLeaFConfig(**(TEACHING | values)))
    with torch.no_grad():
        for parameter in model.label_teacher.parameters():
            parameter += torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("enabled", [True, False])
def test_the_segment_loss_reads_refined_labels_after_the_warmup(enabled: bool) -> None:
    model, batch = teaching_model(enabled=enabled), labelled()
    output = model.infer(batch)
    with torch.no_grad():
        taught = model.label_teacher.average(**batch.streams).segment_probs
    before = losses.segment_label_cross_entropy(
        output.segment_probs, batch.pseudo_labels, label_mask=batch.pseudo_label_mask
    )
    after = losses.segment_label_cross_entropy(output.segment_probs, slow_refined(batch, taught))
    torch.testing.assert_close(model(batch, EARLY)["anchor/segment_labels"], before)
    torch.testing.assert_close(model(batch, LATE)["anchor/segment_labels"], after)


def test_without_pseudo_labels_the_term_begins_with_the_teacher() -> None:
    model, batch = teaching_model(), batch_of()
    assert "anchor/segment_labels" not in model(batch, EARLY)
    taught = model.label_teacher.average(**batch.streams).segment_probs
    expected = losses.segment_label_cross_entropy(model.infer(batch).segment_probs, slow_refined(batch, taught))
    torch.testing.assert_close(model(batch, LATE)["anchor/segment_labels"], expected)


def test_the_warmup_counts_from_the_end_of_the_head_start() -> None:
    model, batch = teaching_model(reference_head_start=2, label_teacher_warmup=0), batch_of()
    assert "anchor/segment_labels" not in model(batch, Progress(2))
    assert "anchor/segment_labels" in model(batch, Progress(3))


def test_the_teacher_follows_the_anchor_and_gets_no_gradient() -> None:
    model, batch = teaching_model().train(), labelled()
    teacher = [x.clone() for x in model.label_teacher.parameters()]
    torch.stack(list(model(batch, LATE).values())).sum().backward()
    assert not model.label_teacher.training
    assert all(x.grad is None and not x.requires_grad for x in model.label_teacher.parameters())
    model.after_step()
    for now, then, anchor in zip(model.label_teacher.parameters(), teacher, model.anchor.parameters(), strict=True):
        torch.testing.assert_close(now, 0.5 * then + 0.5 * anchor)


def test_it_is_saved_and_loaded_and_not_deployed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CoLeaFConfig(**TEACHING)
    model = wrap("han", streams=UNAV_LIKE, num_classes=4, config=config, anchor_options={"width": 8})
    settings = TrainerConfig(epochs=2, batch_size=3, device="cpu", monitor=())
    CoLeaFTrainer(model, settings, out=tmp_path / "run", quiet=True).fit(RandomVideos("train", [3, 5, 4]))
    loaded = CoLeaF.load(tmp_path / "run")
    for name, x in model.state_dict().items():
        assert torch.equal(x, loaded.state_dict()[name]), name
    anchor = load_anchor(tmp_path / "run")
    assert all(torch.equal(x, model.anchor.state_dict()[name]) for name, x in anchor.state_dict().items())


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"label_teacher_ema": 0.9}, "label_teacher_ema does nothing while segment_label_weight"),
        ({"label_teacher_warmup": 3}, "label_teacher_warmup does nothing while label_teacher_ema is 0"),
        ({**TEACHING, "label_teacher_ema": 1.0}, "less than 1"),
    ],
)
def test_values_that_would_do_nothing_are_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        CoLeaFConfig(**values)


def test_balance_needs_to_know_how_many_labels_are_positive() -> None:
    config = CoLeaFConfig(**TEACHING, segment_label_balance=5.0)
    model = wrap("han", streams=UNAV_LIKE, num_classes=4, config=config, anchor_options={"width": 8})
    with pytest.raises(ValueError, match="does not say how many of its pseudo-labels are positive"):
        CoLeaFTrainer(model, TrainerConfig(device="cpu"), quiet=True).fit(RandomVideos("train", [3, 5, 4]))


def test_a_training_that_ends_before_the_teacher_begins_says_so(caplog: pytest.LogCaptureFixture) -> None:
    config = CoLeaFConfig(**TEACHING, enabled=False, label_teacher_warmup=3)
    model = wrap("han", streams=UNAV_LIKE, num_classes=4, config=config, anchor_options={"width": 8})
    settings = TrainerConfig(epochs=1, batch_size=3, device="cpu", monitor=())
    with caplog.at_level(logging.WARNING):
        CoLeaFTrainer(model, settings, quiet=True).fit(RandomVideos("train", [3, 5, 4], pseudo=True))
    assert "ends before the Anchor's moving average refines labels" in caplog.text
