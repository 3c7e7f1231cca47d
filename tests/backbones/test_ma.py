"""MA: recorded answers of the published network, its contrast, and how removed labels teach it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy, normalize

from coleaf_framework import Batch, CoLeaFConfig, check_anchor, create_anchor, import_checkpoint, wrap
from coleaf_framework.plugins import published_decision, published_training
from coleaf_framework.protocol import Progress
from tests.helpers.parity import inputs, zoo_labels, zoo_weights
from tests.helpers.streams import SMALL, small_batch


def small_net(**options: Any) -> Any:
    return create_anchor("ma", **{"num_classes": 4, "streams": SMALL, "width": 8, **options})


def similarities(output: Any) -> Tensor:
    """(B,T,T) / 0.2, audio tokens with visual inputs, in the plain way."""
    return normalize(output.tokens[:, :, 0], dim=-1) @ normalize(output.visual_inputs, dim=-1).mT / 0.2


def test_answers_as_published(zoo: Path, tmp_path: Path) -> None:
    """From a checkpoint with every published entry, those that no forward reads included."""
    torch.save(zoo_weights(zoo / "MA.state_dict.json"), tmp_path / "ma.pt")
    net = import_checkpoint(tmp_path / "ma.pt", "ma").double().eval()
    streams, labels = inputs(), zoo_labels()
    with torch.no_grad():
        output = net(**streams)
        terms = net.loss(output, Batch(streams, labels), Progress(1))
    answers = {
        "video_probs": output.video_probs,
        "audio_probs": output.modality_probs[:, 0],
        "visual_probs": output.modality_probs[:, 1],
        "segment_probs": output.segment_probs,
        "audio_tokens": output.tokens[:, :, 0],
        "visual_tokens": output.tokens[:, :, 1],
        "similarities": similarities(output).flatten(0, 1),
        "loss/contrast": terms.pop("audio_visual_contrast"),
        **{f"loss/{name}": x for name, x in terms.items()},
    }
    recorded = np.load(zoo / "MA.npz")
    assert set(recorded) == set(answers)
    for name, answer in answers.items():
        np.testing.assert_allclose(answer.numpy(), recorded[name], atol=1e-5, rtol=0, err_msg=name)


@pytest.mark.parametrize("segments", [1, 7])
def test_the_contrast_is_a_smoothed_cross_entropy_at_any_length(segments: int) -> None:
    net, streams = small_net(layers=2, heads=2), small_batch(segments)
    output = net(**streams)
    assert output.segment_probs.shape == (3, segments, 2, 4)
    found = net.loss(output, Batch(streams, torch.ones(3, 4)), Progress(1))["audio_visual_contrast"]
    own = torch.full((segments, segments), 0.1 / max(segments - 1, 1)).fill_diagonal_(0.9)
    target = own.repeat(3, 1) if segments > 1 else torch.zeros(3, 1)  # one segment has no negatives
    torch.testing.assert_close(found, cross_entropy(similarities(output).flatten(0, 1), target))


def test_padding_reaches_neither_answer_nor_loss() -> None:
    net, short = small_net(layers=2).eval(), small_batch(3)
    padded = {name: torch.cat([x, torch.randn(3, 2 * SMALL[name].frames, x.shape[2])], 1) for name, x in short.items()}
    mask = torch.tensor([[True] * 3 + [False] * 2] * 3)
    a, b = net(**short), net(**padded, mask=mask)
    torch.testing.assert_close(a.video_probs, b.video_probs)
    torch.testing.assert_close(a.segment_probs, b.segment_probs[:, :3])
    labels = torch.ones(3, 4)
    plain = net.loss(a, Batch(short, labels), Progress(1))
    masked = net.loss(b, Batch(padded, labels, mask=mask), Progress(1))
    torch.testing.assert_close(plain, masked)


def test_removed_labels_are_zero_and_the_video_keeps_them() -> None:
    net, streams = small_net(), small_batch(5)
    weak = torch.tensor([[1.0, 1, 0, 0]] * 3)
    given = weak[:, None].repeat(1, 2, 1)
    given[0, 1, 0] = given[1, 0, 1] = 0  # one visual, one audio label
    output = net(**streams)
    terms = net.loss(output, Batch(streams, weak, modality_labels=given), Progress(1))
    visual = 0.9 * weak + 0.05
    visual[0, 0] = 0
    torch.testing.assert_close(terms["visual"], binary_cross_entropy(output.modality_probs[:, 1], visual))
    torch.testing.assert_close(terms["audio"], binary_cross_entropy(output.modality_probs[:, 0], given[:, 0]))
    torch.testing.assert_close(terms["video"], binary_cross_entropy(output.video_probs, weak))


@pytest.mark.parametrize("config", [CoLeaFConfig(), CoLeaFConfig.official(), CoLeaFConfig(enabled=False)])
def test_it_trains_alone_and_in_coleaf(config: CoLeaFConfig) -> None:
    model = wrap("ma", streams=SMALL, num_classes=4, anchor_options={"width": 8}, config=config)
    terms = model(Batch(small_batch(4), (torch.rand(3, 4) < 0.5).float()), Progress(6))
    assert {"anchor/audio_visual_contrast", "anchor/video"} <= set(terms)
    assert ("anchor/contrast" in terms) == config.enabled
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in model.anchor.parameters())


def test_it_conforms() -> None:
    check_anchor("ma", anchor_options={"width": 8})


def test_refusals_name_it() -> None:
    with pytest.raises(ValueError, match=r"MA: dropout=1.5: expected a rate in \[0, 1\)"):
        small_net(dropout=1.5)


def test_published_run() -> None:
    training = published_training("ma")
    assert (training["epochs"], training["batch_size"], training["learning_rate"]) == (12, 16, 3e-4)
    assert (training["lr_step"], training["lr_gamma"], training["seed"], training["monitor"]) == (10, 0.1, 1, ())
    assert published_decision("ma") == {"gate": "modality", "gate_threshold": 0.5, "segment_threshold": 0.5}
