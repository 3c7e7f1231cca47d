"""A step divided into parts, by ranks or accumulation: the parts' losses and gradients add up to the step's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from coleaf_framework import Batch, CoLeaFConfig, wrap
from coleaf_framework.losses import denoise_labels
from coleaf_framework.protocol import Progress
from tests.helpers.networks import TinyNet
from tests.helpers.streams import SMALL

CONFIGS = {
    "paper": CoLeaFConfig(),
    "official": CoLeaFConfig.official(),
    "table 2, nce": CoLeaFConfig(contrast="nce"),
    "table 2, bce": CoLeaFConfig(contrast="bce"),
    "strong": CoLeaFConfig.strong(),
    "pseudo-labels": CoLeaFConfig(segment_label_weight=1.0, modality_label_weight=0.5),
    "label teacher": CoLeaFConfig(segment_label_weight=1.0, label_teacher_ema=0.5),
    "mixed": CoLeaFConfig(reference_loss="official", cooccurrence_form="official", update="reference_first"),
}
QUIET = {"dropout": 0.0}
OPTIONS: dict[Any, dict[str, Any]] = {
    "han": {"anchor_options": {"width": 8} | QUIET},
    "ave": {"anchor_options": {"width": 8}},
    "avsdn": {"anchor_options": {"width": 8}},
    "cmpae": {
        "anchor_options": {"width": 8, "absence_dropout": 0.0, "visual_dropout": 0.0} | QUIET
        | {"noise_ratios": {"audio": 0, "visual": 0}}
    },
    "jomold": {
        "anchor_options": {"width": 8, "visual_dropout": 0.0} | QUIET | {"noise_ratios": {"audio": 0, "visual": 0}}
    },
    "ma": {"anchor_options": {"width": 8} | QUIET},
    "mm_pyramid": {"anchor_options": {"width": 8, "levels": 2, "attention_dropout": 0.0} | QUIET},
    "valor": {"anchor_options": {"width": 8, "hidden": 8} | QUIET},
}  # fmt: skip


def videos(n: int, lengths: list[int]) -> Batch:
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return Batch(
        streams={name: torch.randn(n, s.frames * max(lengths), s.width) for name, s in SMALL.items()},
        labels=(torch.rand(n, 4) < 0.5).float(),
        mask=mask,
        pseudo_labels=torch.rand(n, max(lengths), 2, 4),
        pseudo_label_mask=torch.rand(n, max(lengths), 2, 4) < 0.7,
    )


def part(batch: Batch, at: slice, fraction: float) -> Batch:
    given = {name: getattr(batch, name)[at] for name in ("mask", "pseudo_labels", "pseudo_label_mask")}
    return Batch({k: x[at] for k, x in batch.streams.items()}, batch.labels[at], **given, fraction=fraction)


def run(model: Any, parts: list[Batch]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Summed terms, and gradients; the updates of a step are made one after the other but change no weight here."""
    total: dict[str, Tensor] = {}
    for batch in parts:
        when = Progress(5, 3)
        shared = model.shared_pass(batch, when)
        for which in model.updates(when):
            output = model.update(batch, when, which, shared)
            output.total().backward()
            for name, term in output.losses.items():
                total[name] = total.get(name, torch.zeros(())) + term.detach()
    return total, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("anchor", OPTIONS)
def test_parts_add_up_to_the_step(anchor: str, config: str) -> None:
    """Five videos of unequal length in parts of three, two and none."""
    model = wrap(
        anchor, streams=SMALL, num_classes=4, config=CONFIGS[config], reference_options=QUIET, **OPTIONS[anchor]
    ).train()
    torch.nn.init.normal_(model.reference.branches["audio"].class_tokens, std=2.0)
    whole = videos(5, [4, 2, 3, 4, 1])
    terms, gradients = run(copy.deepcopy(model), [whole])
    divided = [part(whole, slice(3), 0.6), part(whole, slice(3, 5), 0.4), part(whole, slice(1), 0.0)]
    part_terms, part_gradients = run(model, divided)
    assert {n.partition("/")[0] for n in terms} == {"anchor", "reference"}
    torch.testing.assert_close(part_terms, terms, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(part_gradients, gradients, rtol=1e-3, atol=1e-6)


def test_an_anchor_without_a_loss_of_its_own_adds_up_too() -> None:
    model = wrap(TinyNet, config=CoLeaFConfig(enabled=False))
    batch = Batch({"audio": torch.randn(3, 4, 6), "visual": torch.randn(3, 8, 8)}, labels=torch.ones(3, 3))
    whole, _ = run(model, [batch])
    parts = [
        Batch({k: x[at] for k, x in batch.streams.items()}, batch.labels[at], fraction=fraction)
        for at, fraction in ((slice(1), 1 / 3), (slice(1, 3), 2 / 3))
    ]
    torch.testing.assert_close(run(model, parts)[0], whole)


def test_denoising_ranks_within_the_part_that_it_is_given() -> None:
    """As its docstring says: with several ranks or parts, each part's labels are those of that part alone."""
    labels, ratios = torch.ones(6, 1), torch.full((2, 1), 0.5)
    probs = torch.stack([torch.linspace(0.1, 0.9, 6), torch.linspace(0.9, 0.1, 6)], dim=1)[..., None]
    whole = denoise_labels(labels, probs, ratios)
    parts = [denoise_labels(labels[at], probs[at], ratios) for at in (slice(2), slice(2, 6))]
    assert whole[:, 1, 0].tolist() == [1, 1, 1, 0, 0, 0]
    assert torch.cat(parts)[:, 1, 0].tolist() == [1, 0, 1, 1, 0, 0]


def test_a_batch_keeps_its_share_wherever_it_goes() -> None:
    assert part(videos(2, [1, 2]), slice(1), 0.5).to("meta").fraction == 0.5
