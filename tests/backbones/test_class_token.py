"""The class-token Reference: recorded answers, unimodality, and the shared projections."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from coleaf_framework import create_reference
from coleaf_framework.protocol import LLP_STREAMS
from tests.helpers.parity import inputs, weight
from tests.helpers.streams import SMALL, small_batch


def test_answers_as_published(parity: Path) -> None:
    """Our parameter names and their place in the sequence differ; neither changes the answer."""
    published = json.loads((parity / "official_reference.state_dict.json").read_text())
    net = create_reference("class_token", streams=LLP_STREAMS, num_classes=25, width=512).double().eval()
    ours = {"fc_a": "projections.audio", "fc_v": "projections.visual", "fc_st": "projections.visual_st"}
    weights = {}
    for name, entry in published.items():
        if not entry["used_in_forward"]:
            continue
        modality, _, inner = name.partition(".")
        value = weight(inner, tuple(entry["shape"]), seed={"audio": 0, "visual": 1}[modality])
        first, _, rest = inner.partition(".")
        if first.startswith("cls_tokens"):
            inner, value = "class_tokens", value[0]
        elif first in ours:
            inner = f"{ours[first]}.{rest}"
        inner = inner.replace("hat_encoder.layers.0", "layer").replace("fc_fusion", "fusion")
        weights[f"branches.{modality}.{inner}"] = value
    net.load_state_dict(weights)
    with torch.no_grad():
        output = net(**inputs())
    recorded = np.load(parity / "official_reference.npz")
    tokens = torch.nn.functional.normalize(output.tokens, dim=-1)
    for m, modality in enumerate(("audio", "visual")):
        answers = {
            "probs": output.modality_probs[:, m],
            "segment_probs": output.segment_probs[:, :, m],
            "class_probs": output.class_probs[:, m],
            "unit_tokens": tokens[:, :, m],
        }
        for name, answer in answers.items():
            np.testing.assert_allclose(
                answer.numpy(), recorded[f"{modality}_{name}"], atol=1e-5, rtol=0, err_msg=f"{modality} {name}"
            )


def test_shared_projections_equal_the_plain_computation() -> None:
    net = create_reference("class_token", streams=SMALL, num_classes=4, width=8, heads=2).eval()
    branch = net.branches["audio"]
    segments = torch.randn(3, 5, 8)
    shared = branch.layer(segments, branch.class_tokens, None, True)
    x = torch.cat([segments, branch.class_tokens.expand(3, -1, -1)], dim=1)
    own = branch.layer.self_attn
    attended, _ = torch.nn.functional.multi_head_attention_forward(  # type: ignore[call-arg]
        *[x.transpose(0, 1)] * 3, 8, 2, own.in_proj_weight, own.in_proj_bias, None, None, False, 0.0,
        own.out_proj.weight, own.out_proj.bias,
    )  # fmt: skip
    plain = branch.layer.feed_forward(x + attended.transpose(0, 1))
    torch.testing.assert_close(shared, plain)
    for output in (shared, plain):
        branch.zero_grad()
        output.square().sum().backward()
        grads = [p.grad.clone() for p in (branch.class_tokens, branch.layer.self_attn.in_proj_weight)]
        if output is shared:
            expected = grads
    for a, b in zip(grads, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_what_nobody_reads_is_not_computed() -> None:
    """Without class probabilities the rest of the answer is the same."""
    net = create_reference("class_token", streams=SMALL, num_classes=4, width=8).eval()
    streams = small_batch(5)
    whole, lean = net(**streams), net(need_class_probs=False, **streams)
    assert lean.class_probs is None
    for field in ("segment_probs", "modality_probs", "tokens"):
        torch.testing.assert_close(getattr(lean, field), getattr(whole, field))


def test_each_branch_sees_its_own_modality_only() -> None:
    net = create_reference("class_token", streams=SMALL, num_classes=4, width=8).eval()
    streams = small_batch(5)
    before = net(**streams).segment_probs
    after = net(**(streams | {"audio": torch.randn(3, 5, 6)})).segment_probs
    assert not torch.equal(before[:, :, 0], after[:, :, 0])
    assert torch.equal(before[:, :, 1], after[:, :, 1])


def test_padding_does_not_reach_the_answer() -> None:
    net = create_reference("class_token", streams=SMALL, num_classes=4, width=8).eval()
    short = small_batch(3)
    padded = {name: torch.cat([x, torch.randn(3, 2 * SMALL[name].frames, x.shape[2])], 1) for name, x in short.items()}
    a, b = net(**short), net(**padded, mask=torch.tensor([[True] * 3 + [False] * 2] * 3))
    torch.testing.assert_close(a.modality_probs, b.modality_probs)
    torch.testing.assert_close(a.class_probs, b.class_probs)


def test_without_class_tokens_there_are_no_class_probabilities() -> None:
    net = create_reference("class_token", streams=SMALL, num_classes=4, width=8, class_tokens=False)
    assert net(**small_batch(5)).class_probs is None


def test_every_parameter_gets_a_gradient() -> None:
    net = create_reference("class_token", streams=SMALL, num_classes=4, width=8)
    output = net(**small_batch(5))
    (output.modality_probs.sum() + output.class_probs.square().sum() + output.tokens.square().sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
