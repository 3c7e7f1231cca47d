"""The `official` recipe with CMPAE against an independent computation of the authors' loop."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from coleaf_framework import Batch, CoLeaFConfig, StreamSpec, recipe, wrap
from coleaf_framework.collaboration import anchor_terms
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import Progress
from tests.helpers import plain_official

STREAMS = {
    "audio": StreamSpec(6, "audio"),
    "visual": StreamSpec(8, "visual", frames=plain_official.FRAMES),
    "visual_st": StreamSpec(4, "visual"),
}
CLASSES, RATIOS = 4, {"audio": 0.7, "visual": [0.5, 0.6, 0.0, 1.0]}
OFF = {"dropout": 0.0, "absence_dropout": 0.0, "visual_dropout": 0.0}


def official_model(**changes: object) -> CoLeaF:
    model = wrap(
        "cmpae",
        streams=STREAMS,
        num_classes=CLASSES,
        config=CoLeaFConfig.official(**changes),
        anchor_options={"width": 8, "noise_ratios": RATIOS, **OFF},
        reference_options={"dropout": 0.0},
    )
    return model.double()


def batches(count: int = 2, videos: int = 12, segments: int = 3) -> list[Batch]:
    return [
        Batch(
            streams={n: 2 * torch.randn(videos, s.frames * segments, s.width).double() for n, s in STREAMS.items()},
            labels=(torch.rand(videos, CLASSES) < 0.6).double(),
        )
        for _ in range(count)
    ]


def spread(model: CoLeaF) -> None:
    """Probabilities of both branches on both sides of every threshold."""
    with torch.no_grad():
        for name, x in model.named_parameters():
            if "fc_prob" in name or "class_tokens" in name:
                x.mul_(6)


def test_two_steps_equal_the_independent_loop() -> None:
    model, data = official_model(), batches()
    spread(model)
    anchor = {name: x.detach().clone().requires_grad_() for name, x in model.anchor.named_parameters()}
    branch = {name: x.detach().clone().requires_grad_() for name, x in model.reference.named_parameters()}
    when = [Progress(1, 0), Progress(4, 3)]

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for progress, batch in zip(when, data, strict=True):
        shared = model.shared_pass(batch, progress)
        for which in model.updates(progress):
            optimizer.zero_grad()
            model.update(batch, progress, which, shared).total().backward()
            optimizer.step()

    steps = [(p.epoch, p.step, dict(b.streams), b.labels) for p, b in zip(when, data, strict=True)]
    plain_official.train(anchor, branch, steps, model.anchor.noise_ratios, 5e-3)
    for module, expected in ((model.anchor, anchor), (model.reference, branch)):
        for name, x in module.named_parameters():
            torch.testing.assert_close(x.detach(), expected[name].detach(), atol=1e-5, rtol=0, msg=name)


def test_the_comparison_exercises_every_part() -> None:
    """Were nothing denoised, trusted or unaligned, the two loops could agree by accident."""
    model, (batch, _) = official_model(), batches()
    spread(model)
    output, reference = model.infer(batch), model.reference(**batch.streams)
    labels = model.anchor.modality_labels(output, batch, Progress(4))
    assert (labels[:, 0] < batch.labels).any()
    assert (labels[:, 1] < 0.9 * batch.labels).any()
    weights = plain_official.event_weights(list(reference.modality_probs.unbind(1)))
    assert all(((w > 0) & (w < 1)).any() for w in weights)
    assert ((output.modality_probs > 0.5) & (labels > 0.5)).any()


def test_the_reference_is_updated_first() -> None:
    model, (batch, _) = official_model(), batches()
    outputs = [model.update(batch, Progress(4), which) for which in model.updates(Progress(4))]
    assert [{name.partition("/")[0] for name in output.losses} for output in outputs] == [{"reference"}, {"anchor"}]


def test_both_updates_share_one_forward_of_the_anchor() -> None:
    model, (batch, _) = official_model(), batches()
    calls: list[bool] = []
    model.anchor.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    shared = model.shared_pass(batch, Progress(4))
    for which in model.updates(Progress(4)):
        model.update(batch, Progress(4), which, shared).total().backward()
    assert calls == [True]


@pytest.mark.parametrize(("epoch", "late"), [(1, False), (3, False), (4, True)])
def test_the_references_terms_have_the_published_weights(epoch: int, late: bool) -> None:
    model, (batch, _) = official_model(), batches()
    spread(model)
    terms = model(batch, Progress(epoch))
    output, reference = model._run(batch.streams, None)[0], model.reference(**batch.streams)
    labels = model.anchor.modality_labels(output, batch, Progress(epoch))

    def focal(probs: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
        return [plain_official.focal(probs[:, m], targets[:, m]) for m in (0, 1)]

    audio, visual = focal(reference.class_probs, labels)
    expected = 0.001 * audio + 0.0 * visual if late else 1.2 * audio + 1.0 * visual
    torch.testing.assert_close(terms["reference/class_tokens"], expected)
    video = sum(focal(reference.modality_probs, labels))
    torch.testing.assert_close(terms["reference/video"], (0.5 if late else 1.0) * video)
    assert ("reference/self_modality" in terms) == late


def test_an_event_at_the_threshold_counts_only_in_the_official_form() -> None:
    for form, expected in (("paper", 0.0), ("official", 1.0)):
        model = official_model(contrast_form=form, update="together")
        batch = batches(1)[0]
        probs = torch.zeros(12, 2, CLASSES).double()
        probs[:, 1, 0] = 0.5
        reference = dataclasses.replace(model.reference(**batch.streams), modality_probs=probs)
        output, _ = model._run(batch.streams, None)
        labels = model.anchor.modality_labels(output, batch, Progress(2))
        term = anchor_terms(model.config, output, reference, labels, batch, Progress(2))["contrast"]
        assert bool(term.value > 0) == bool(expected)


def test_alone_the_anchor_keeps_its_own_loss() -> None:
    terms = official_model(enabled=False)(batches(1)[0], Progress(1))
    own = {"audio", "visual", "video", "mutual", "audio_visual_contrast"}
    assert set(terms) == {f"anchor/{name}" for name in own}
    together = official_model()(batches(1)[0], Progress(1))
    assert together["anchor/video"] > 2 * terms["anchor/video"]  # 2 against 0.6


def test_own_terms_beyond_the_three_stay() -> None:
    model, (batch, _) = official_model(), batches()
    terms = model(batch, Progress(2))
    assert {"anchor/mutual", "anchor/audio_visual_contrast"} <= set(terms)
    own = model.anchor.loss(model.train()._run(batch.streams, None)[0], batch, Progress(2))
    torch.testing.assert_close(terms["anchor/visual"], own["visual"] / 0.6)


def test_an_anchor_without_labels_of_its_own_gets_smoothed_ones() -> None:
    model = wrap(
        "han", streams=STREAMS, num_classes=CLASSES, config=CoLeaFConfig.official(), anchor_options={"width": 8}
    )
    (batch,) = batches(1)
    batch = Batch({n: x.float() for n, x in batch.streams.items()}, batch.labels.float())
    terms = model.eval()(batch, Progress(1))
    output = model.infer(batch)
    expected = torch.nn.functional.binary_cross_entropy(output.modality_probs[:, 1], 0.9 * batch.labels + 0.05)
    torch.testing.assert_close(terms["anchor/visual"], expected)


@pytest.mark.parametrize(
    ("settings", "epochs", "gate"),
    [
        (("recipe=paper",), 15, ("video", 0.5)),
        (("recipe=paper", "anchor.name=cmpae"), 15, ("modality", 0.45)),
        (("recipe=official", "anchor.name=cmpae"), 10, ("modality", 0.52)),
        (("recipe=official", "anchor.name=cmpae", "coleaf.enabled=false"), 20, ("modality", 0.45)),
        (("recipe=official", "trainer.epochs=3", "decision.gate_threshold=0.3"), 3, ("modality", 0.3)),
    ],
)
def test_a_recipe_sets_what_is_not_given(settings: tuple[str, ...], epochs: int, gate: tuple[str, float]) -> None:
    config = recipe(*[s.removeprefix("recipe=") for s in settings])  # type: ignore[arg-type]
    assert (config.trainer.epochs, (config.decision.gate, config.decision.gate_threshold)) == (epochs, gate)
    assert config.coleaf.update == ("reference_first" if "official" in settings[0] else "together")
