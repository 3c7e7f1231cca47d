"""Values of CoLeaFConfig and TrainerConfig that the paper does not have: each does what it says."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from coleaf_backbones.cmpae_loss import refined_labels
from torch import Tensor

from coleaf_framework import (
    CoLeaF,
    CoLeaFConfig,
    CoLeaFTrainer,
    StreamSpec,
    TrainerConfig,
    create_anchor,
    load_anchor,
    losses,
    wrap,
)
from coleaf_framework.collaboration import TEACHING_TERMS, MovingAverage
from coleaf_framework.data import open_folder
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.protocol import AnchorOutput, Batch, Progress
from coleaf_framework.record.settings import load_config
from tests.helpers.networks import TinyNet, batch_of


def terms_of(batch: Batch, progress: Progress | None = None, **values: Any) -> tuple[CoLeaF, dict[str, Any]]:
    torch.manual_seed(1)
    model = wrap(TinyNet, config=CoLeaFConfig(**values)).eval()
    return model, model(batch) if progress is None else model(batch, progress)


def test_pseudo_labels_stand_beside_the_contrast() -> None:
    batch = batch_of()
    model, terms = terms_of(batch, pseudo_label_weight=2.0, pseudo_label_thresholds=(0.4, 0.6))
    _, without = terms_of(batch)
    anchor, reference = model.infer(batch), model.reference(**batch.streams)
    expected = losses.pseudo_label_cross_entropy(anchor.modality_probs, reference.modality_probs, threshold=(0.4, 0.6))
    torch.testing.assert_close(terms.pop("anchor/pseudo_labels"), 2 * expected)
    assert terms == without


@pytest.mark.parametrize(("epoch", "expected"), [(1, False), (2, False), (3, True)])
def test_pseudo_labels_have_a_warmup_of_their_own(epoch: int, expected: bool) -> None:
    _, terms = terms_of(batch_of(), Progress(epoch), pseudo_label_weight=1.0, pseudo_label_warmup=2, contrast="none")
    assert ("anchor/pseudo_labels" in terms) == expected


def test_expected_counts_weigh_the_contrast() -> None:
    batch = batch_of()
    model, terms = terms_of(batch, theta="expected", contrast_directions="both")
    anchor, reference = model.infer(batch), model.reference(**batch.streams)
    expected = losses.event_aware_contrast(
        anchor.tokens,
        reference.tokens,
        losses.soft_event_weights(reference.modality_probs),
        temperature=0.2,
        both_directions=True,
    )
    torch.testing.assert_close(terms["anchor/contrast"], expected)


def test_the_anchors_own_loss_sees_the_labels_that_the_reference_refines() -> None:
    seen = []

    class Own(TinyNet):
        def loss(self, output: Any, batch: Batch, progress: Progress) -> dict[str, Any]:
            seen.append(batch.modality_labels)
            return {"own": output.video_probs.mean()}

    batch = batch_of()
    model = wrap(Own, config=CoLeaFConfig(reference_labels=True)).eval()
    seen.clear()
    model(batch, Progress(1))
    model(batch, Progress(2))
    assert seen[0] is None
    expected = losses.refine_labels(batch.labels, model.reference(**batch.streams).modality_probs, 0.5)
    assert torch.equal(seen[1], expected)


@pytest.mark.parametrize("name", ["han", "cmpae"])
def test_anchors_read_modality_labels(name: str) -> None:
    """Labels that say the same of both modalities change nothing; others change that modality's term alone."""
    streams = {
        "audio": StreamSpec(4, "audio"),
        "visual": StreamSpec(5, "visual", frames=2),
        "visual_st": StreamSpec(3, "visual"),
    }
    options = {"noise_ratios": {"audio": 0.0, "visual": 0.0}} if name == "cmpae" else {}
    net = create_anchor(name, num_classes=3, streams=streams, width=8, **options).eval()
    videos = {key: torch.randn(4, 5 * spec.frames, spec.width) for key, spec in streams.items()}
    batch = Batch(streams=videos, labels=torch.ones(4, 3))
    output = net(**videos)
    plain = net.loss(output, batch, Progress(2))
    same = net.loss(output, replace(batch, modality_labels=torch.ones(4, 2, 3)), Progress(2))
    for term, value in plain.items():
        torch.testing.assert_close(same[term], value)
    heard = torch.stack([torch.ones(4, 3), torch.zeros(4, 3)], dim=1)
    changed = net.loss(output, replace(batch, modality_labels=heard), Progress(2))
    assert {term for term in plain if not torch.equal(plain[term], changed[term])} == {"visual"}


def test_in_its_head_start_the_reference_is_trained_alone_and_warmups_count_from_its_end() -> None:
    batch = batch_of()
    _, early = terms_of(batch, Progress(2), reference_head_start=2)
    assert set(early) == {"reference/video", "reference/class_tokens"}
    for epoch in (1, 2, 4):
        _, later = terms_of(batch, Progress(epoch + 2), reference_head_start=2)
        _, usual = terms_of(batch, Progress(epoch))
        assert later == usual, epoch


@pytest.mark.parametrize("enabled", [True, False])
def test_the_learning_rate_decays_from_the_end_of_the_head_start(data_root: Path, enabled: bool) -> None:
    data = open_folder(data_root, "train")
    net = wrap("han", streams=data.streams, num_classes=3, anchor_options={"width": 8},
               config=CoLeaFConfig(enabled=enabled, reference_head_start=2))  # fmt: skip
    before = copy.deepcopy(net.anchor.state_dict())
    trainer = CoLeaFTrainer(net, TrainerConfig(epochs=4, lr_step=1, batch_size=3, lr_gamma=0.5), quiet=True)
    history = trainer.fit(data)
    rates = [entry["lr"] / 5e-4 for entry in history]
    assert rates == ([1, 1, 1, 0.5] if enabled else [1, 0.5, 0.25, 0.125])
    assert any(not torch.equal(x, before[key]) for key, x in net.anchor.state_dict().items())


def test_a_head_start_leaves_the_anchor_as_it_was(data_root: Path) -> None:
    data = open_folder(data_root, "train")
    model = wrap("cmpae", streams=data.streams, num_classes=3, config=CoLeaFConfig.official(reference_head_start=2),
                 anchor_options={"width": 8, "noise_ratios": {"audio": 0, "visual": 0}})  # fmt: skip
    before = copy.deepcopy(model.state_dict())
    CoLeaFTrainer(model, TrainerConfig(epochs=2, batch_size=3), quiet=True).fit(data)
    changed = {key.partition(".")[0] for key, x in model.state_dict().items() if not torch.equal(x, before[key])}
    assert changed == {"reference"}


def test_the_moving_average_follows_by_its_decay() -> None:
    network = torch.nn.Linear(2, 2)
    average = MovingAverage(network, 0.75)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    average.follow(network)
    torch.testing.assert_close(average.average.weight, start + 0.25)
    assert not any(p.requires_grad for p in average.parameters())
    assert not average.train().average.training


def test_the_anchor_is_taught_by_the_average_and_the_reference_by_itself() -> None:
    batch = batch_of()
    model, before = terms_of(batch, reference_ema=0.9)
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter += torch.randn_like(parameter)
    after = model(batch)
    differ = {name for name in before if not torch.equal(before[name], after[name])}
    assert differ == {"anchor/contrast", "anchor/cooccurrence"}


@pytest.mark.parametrize("recipe", ["paper", "official"])
def test_the_average_is_saved_loaded_and_resumed_to_the_bit(data_root: Path, tmp_path: Path, recipe: str) -> None:
    data = open_folder(data_root, "train")

    def model() -> CoLeaF:
        torch.manual_seed(3)
        config = CoLeaFConfig(reference_ema=0.5)
        if recipe == "official":
            config = CoLeaFConfig.official(reference_ema=0.5)
        return wrap("han", streams=data.streams, num_classes=3, config=config, anchor_options={"width": 8})

    def fit(folder: str, epochs: int, existing: Any = "refuse") -> CoLeaF:
        trainer = CoLeaFTrainer(
            model(), TrainerConfig(epochs=epochs, batch_size=3), out=tmp_path / folder, on_existing=existing, quiet=True
        )
        trainer.fit(data)
        return trainer.model

    whole = fit("whole", 3)
    fit("parts", 2)
    resumed = fit("parts", 3, "resume")
    for name, x in whole.state_dict().items():
        assert torch.equal(x, resumed.state_dict()[name]), name
    assert any(
        not torch.equal(x, whole.reference.state_dict()[name]) for name, x in whole.teacher.average.state_dict().items()
    )
    assert torch.equal(next(iter(load_anchor(tmp_path / "whole").parameters())), next(iter(whole.anchor.parameters())))
    loaded = CoLeaF.load(tmp_path / "whole")
    assert torch.equal(next(loaded.teacher.parameters()), next(whole.teacher.parameters()))


def test_weight_decay_is_decoupled_and_for_the_network_alone_too(data_root: Path) -> None:
    data = open_folder(data_root, "train")
    grown = {}
    for decay in (0.0, 0.5):
        torch.manual_seed(3)
        model = wrap("han", streams=data.streams, num_classes=3, anchor_options={"width": 8},
                     config=CoLeaFConfig(enabled=False))  # fmt: skip
        start = copy.deepcopy(model.anchor.fc_prob.weight)
        CoLeaFTrainer(model, TrainerConfig(epochs=1, batch_size=6, weight_decay=decay), quiet=True).fit(data)
        grown[decay] = model.anchor.fc_prob.weight.detach()
    torch.testing.assert_close(grown[0.5], grown[0.0] - 5e-4 * 0.5 * start)


@pytest.mark.parametrize("by_modality", [False, True])
def test_label_smoothing_reaches_the_losses(data_root: Path, by_modality: bool) -> None:
    data = open_folder(data_root, "train")
    if by_modality:
        data.modality_labels = lambda video: torch.eye(3)[:2]
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options={"width": 8})
    seen, own = [], model.anchor.loss

    def loss(output: Any, batch: Batch, progress: Progress) -> dict[str, Any]:
        seen.append(batch.each_modality_labels() if by_modality else batch.labels)
        return own(output, batch, progress)

    model.anchor.loss = loss
    CoLeaFTrainer(model, TrainerConfig(epochs=1, batch_size=6, label_smoothing=0.2), quiet=True).fit(data)
    assert torch.cat(seen).unique().tolist() == pytest.approx([0.1, 0.9])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"theta": "expected", "contrast": "nce"}, "theta is for the paper's form of contrast event_aware"),
        ({"contrast_directions": "both", "contrast_form": "official"}, "contrast_directions is for the paper's form"),
        ({"pseudo_label_form": "soft"}, "pseudo_label_form does nothing while pseudo_label_weight is 0"),
        (
            {"pseudo_label_weight": 1, "pseudo_label_form": "soft", "pseudo_label_thresholds": (0.4, 0.5)},
            "for pseudo_label_form hard",
        ),
        ({"pseudo_label_weight": 1, "pseudo_label_thresholds": (0.4, 1.5)}, r"must be in \[0, 1\]"),
        ({"reference_ema": 1.0}, "less than 1"),
        ({"reference_ema": 0.9, "contrast": "none", "cooccurrence_weight": 0}, "reference_ema does nothing"),
        ({"reference_labels": True, "anchor_loss": "video"}, "which anchor_loss video replaces"),
        ({"pseudo_labels_weight": 1}, "Did you mean 'pseudo_label_weight'"),
    ],
)
def test_values_that_would_do_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoLeaFConfig(**values)


def test_a_head_start_leaves_the_anchor_some_epochs_and_is_no_best_epoch(data_root: Path) -> None:
    with pytest.raises(ValueError, match="leaves the Anchor no epoch of trainer.epochs=15"):
        load_config(settings=["coleaf.reference_head_start=15"])
    train, val = open_folder(data_root, "train"), open_folder(data_root, "val")
    model = wrap("han", streams=train.streams, num_classes=3, anchor_options={"width": 8},
                 config=CoLeaFConfig(reference_head_start=2))  # fmt: skip
    before = copy.deepcopy(model.anchor.state_dict())
    always = DecisionConfig(gate_threshold=0.0, segment_threshold=0.0)  # every epoch scores alike
    CoLeaFTrainer(model, TrainerConfig(epochs=4, batch_size=3), decision=always, quiet=True).fit(train, val)
    assert any(not torch.equal(x, before[name]) for name, x in model.anchor.state_dict().items())


def test_labels_that_go_from_smoothed_ones_become_smoothed_absences() -> None:
    refined = losses.refine_labels(torch.tensor([[0.9, 0.1]]), torch.tensor([[[0.8, 0.2], [0.3, 0.2]]]), 0.5)
    torch.testing.assert_close(refined, torch.tensor([[[0.9, 0.1], [0.1, 0.1]]]))
    batch = Batch(streams={}, labels=torch.tensor([[0.9, 0.1], [0.9, 0.1]]))
    for epoch in (1, 2):
        audio = refined_labels(batch, torch.rand(2, 2, 2), torch.zeros(2, 2), Progress(epoch))[:, 0]
        torch.testing.assert_close(audio, batch.labels)


@pytest.mark.parametrize("name", [term.name for term in TEACHING_TERMS])
def test_a_custom_loss_may_not_take_the_name_of_a_term_that_would_replace_it(name: str) -> None:
    class Own(TinyNet):
        def loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
            return {name: output.video_probs.mean()}

    with pytest.raises(ValueError, match=f"Own.loss: '{name}' is the name of a term of CoLeaF"):
        wrap(Own())


def test_every_term_that_teaches_the_anchor_has_its_name_kept_free() -> None:
    _, terms = terms_of(batch_of(), pseudo_label_weight=1.0)
    taught = {name.removeprefix("anchor/") for name in terms if name.startswith("anchor/")}
    assert taught - {"video"} == {term.name for term in TEACHING_TERMS}


@pytest.mark.parametrize("name", [term.name for term in TEACHING_TERMS])
def test_a_term_that_is_the_only_one_on_is_computed_and_measured(name: str) -> None:
    off: dict[str, Any] = {"contrast": "none", "cooccurrence_weight": 0.0, "pseudo_label_weight": 0.0}
    on = {"contrast": ("contrast", "event_aware"), "pseudo_labels": ("pseudo_label_weight", 1.0)}
    field, value = on.get(name, (f"{name}_weight", 1.0))
    model = wrap(TinyNet(), config=CoLeaFConfig(**{**off, field: value}))
    assert {term for term in model(batch_of()) if term.startswith("anchor/")} == {"anchor/video", f"anchor/{name}"}
    assert name in model.training_signal().terms
