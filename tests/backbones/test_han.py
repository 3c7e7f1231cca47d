"""HAN: recorded answers of the published network, and that nothing about LLP is written into it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from coleaf_backbones.attention import Attention, Dropout
from coleaf_backbones.han import HybridAttentionEncoder

from coleaf_framework import Batch, create_anchor
from coleaf_framework.protocol import Progress
from tests.helpers.parity import inputs, weight
from tests.helpers.streams import SMALL, small_batch


def test_answers_as_published(parity: Path) -> None:
    published = json.loads((parity / "han.state_dict.json").read_text())
    used = {name: tuple(entry["shape"]) for name, entry in published.items() if entry["used_in_forward"]}
    net = create_anchor("han").double().eval()
    net.load_state_dict({name: weight(name, shape) for name, shape in used.items()})
    with torch.no_grad():
        output = net(**inputs())
    recorded = np.load(parity / "han.npz")
    answers = {
        "video_probs": output.video_probs,
        "audio_probs": output.modality_probs[:, 0],
        "visual_probs": output.modality_probs[:, 1],
        "segment_probs": output.segment_probs,
        "audio_tokens": output.tokens[:, :, 0],
        "visual_tokens": output.tokens[:, :, 1],
    }
    assert set(recorded) == set(answers)
    for name, answer in answers.items():
        np.testing.assert_allclose(answer.numpy(), recorded[name], atol=1e-5, rtol=0, err_msg=name)


@pytest.mark.parametrize("segments", [1, 7])
def test_any_shape(segments: int) -> None:
    net = create_anchor("han", num_classes=4, streams=SMALL, width=8, layers=2, heads=2)
    output = net(**small_batch(segments))
    assert output.segment_probs.shape == (3, segments, 2, 4)
    assert output.tokens.shape == (3, segments, 2, 8)


def test_padding_does_not_reach_the_answer() -> None:
    net = create_anchor("han", num_classes=4, streams=SMALL, width=8, layers=2).eval()
    short = small_batch(3)
    padded = {name: torch.cat([x, torch.randn(3, 2 * SMALL[name].frames, x.shape[2])], 1) for name, x in short.items()}
    mask = torch.tensor([[True] * 3 + [False] * 2] * 3)
    a, b = net(**short), net(**padded, mask=mask)
    torch.testing.assert_close(a.video_probs, b.video_probs)
    torch.testing.assert_close(a.segment_probs, b.segment_probs[:, :3])


def test_averaging_before_the_projection_changes_nothing() -> None:
    net = create_anchor("han", num_classes=4, streams=SMALL, width=8)
    frames = torch.randn(2, 12, 8)
    after = net.fc_v(frames).unflatten(1, (4, 3)).mean(2)
    torch.testing.assert_close(net.fc_v(frames.unflatten(1, (4, 3)).mean(2)), after)


@pytest.mark.parametrize("name", ["han", "ave", "avsdn"])
def test_guided_loss_smooths_visual_labels_only(name: str) -> None:
    net = create_anchor(name, num_classes=4, streams=SMALL, width=8)
    streams = small_batch(5)
    labels = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    output = net(**streams)
    terms = net.loss(output, Batch(streams=streams, labels=labels), Progress(1))
    bce = torch.nn.functional.binary_cross_entropy
    torch.testing.assert_close(terms["video"], bce(output.video_probs.clamp(max=1), labels))
    torch.testing.assert_close(terms["audio"], bce(output.modality_probs[:, 0], labels))
    torch.testing.assert_close(terms["visual"], bce(output.modality_probs[:, 1], 0.9 * labels + 0.05))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.97])
def test_dropout_drops_that_share_and_keeps_the_mean(p: float) -> None:
    """A million elements: the share lies within five deviations."""
    drop, n = Dropout(p), 10**6 + 3
    x = torch.ones(n, requires_grad=True)
    y = drop(x)
    share = float((y == 0).double().mean())
    assert abs(share - p) < 5 * (p * (1 - p) / n) ** 0.5 + 2**-16
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)), rtol=1e-3, atol=0)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert torch.equal(drop.eval()(x), x)


@pytest.mark.parametrize("p", [0.0, 1e-7, 1 - 1e-7, 1.0])
def test_dropout_at_the_ends_is_torchs(p: float) -> None:
    assert torch.isfinite(Dropout(p)(torch.ones(1000))).all()


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_values_may_pass_the_output_projection_first(heads: int) -> None:
    attention = Attention(8, heads).eval()
    query, key, value = attention.project(torch.randn(3, 5, 8))
    mask = torch.arange(5)[None] < torch.tensor([5, 1, 3])[:, None]
    plain = attention.attend(query, key, value, mask)
    torch.testing.assert_close(attention.attend_projected(query, key, attention.project_values(value), mask), plain)


def test_one_pass_with_and_without_cross_attention_equals_two() -> None:
    encoder = HybridAttentionEncoder(layers=2, width=8, heads=2, hidden=8, dropout=0.1).eval()
    audio, visual, mask = torch.randn(3, 5, 8), torch.randn(3, 5, 8), torch.tensor([[True] * 4 + [False]] * 3)
    alone, crossed = encoder.with_and_without_cross(audio, visual, mask)
    torch.testing.assert_close(crossed, encoder(audio, visual, mask))
    lone = torch.cat([audio, visual])
    for layer in encoder.layers:
        lone = layer.self_attention_only(lone, mask.repeat(2, 1))
    torch.testing.assert_close(alone, torch.stack(lone.chunk(2), dim=2))


@pytest.mark.parametrize("name", ["han", "cmpae"])
def test_without_cross_attention_no_token_depends_on_the_other_modality(name: str) -> None:
    options = {"noise_ratios": {"audio": 0.0, "visual": 0.0}} if name == "cmpae" else {}
    with_, without = (
        create_anchor(name, num_classes=4, streams=SMALL, width=8, layers=2, cross_attention=cross, **options).eval()
        for cross in (True, False)
    )
    assert any("cm_attn" in key for key in with_.state_dict())
    assert not any("cm_attn" in key for key in without.state_dict())
    streams = {key: torch.randn(2, 5 * spec.frames, spec.width) for key, spec in SMALL.items()}
    louder = streams | {"audio": 2 * streams["audio"]}
    for net, mixes in ((with_, True), (without, False)):
        visual, unmoved = (net(**given).tokens[:, :, 1] for given in (streams, louder))
        assert torch.equal(visual, unmoved) != mixes
    # Its video branch is the same with both: what it lacks is the other modality's context in its tokens alone.
    assert without.train()(**streams).modality_probs.shape == (2, 2, 4)
