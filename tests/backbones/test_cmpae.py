"""CMPAE: recorded answers of the published networks, its loss, and that nothing about LLP is written into it."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coleaf_framework import Batch, StreamSpec, create_anchor, wrap
from coleaf_framework.protocol import Progress
from tests.helpers.parity import inputs, weight

SMALL = {
    "audio": StreamSpec(6, "audio"),
    "visual": StreamSpec(8, "visual", frames=3),
    "visual_st": StreamSpec(4, "visual"),
}
NO_NOISE = {"audio": 0.0, "visual": 0.0}


def small_streams(segments: int, videos: int = 3, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {name: torch.randn(videos, s.frames * segments, s.width, dtype=dtype) for name, s in SMALL.items()}


def small_net(**options: Any) -> Any:
    return create_anchor(
        "cmpae", **{"num_classes": 4, "streams": SMALL, "width": 8, "noise_ratios": NO_NOISE, **options}
    )


@pytest.mark.parametrize("name", ["cmpae", "official_anchor"])
def test_answers_as_published(parity: Path, name: str) -> None:
    published = json.loads((parity / f"{name}.state_dict.json").read_text())
    used = {key: tuple(entry["shape"]) for key, entry in published.items() if entry["used_in_forward"]}
    net = create_anchor("cmpae", dropout=0.0, absence_dropout=0.0, visual_dropout=0.0).double()
    net.load_state_dict({key: weight(key, shape) for key, shape in used.items()})
    with torch.no_grad():
        trained, deployed = net.train()(**inputs()), net.eval()(**inputs())
    recorded = np.load(parity / f"{name}.npz")
    seen = set()
    for prefix, output in (("cross", trained), ("unimodal", trained.unimodal)):
        answers = {
            "video_probs": trained.video_probs,
            "global_uncertainty": trained.video_uncertainty,
            "audio_probs": output.modality_probs[:, 0],
            "visual_probs": output.modality_probs[:, 1],
            "audio_uncertainty": output.modality_uncertainty[:, 0],
            "visual_uncertainty": output.modality_uncertainty[:, 1],
            "segment_probs": output.segment_probs,
            "segment_uncertainty": output.segment_uncertainty,
        }
        for key, answer in answers.items():
            seen.add(f"{prefix}/{key}")
            expected = recorded[f"{prefix}/{key}"]
            np.testing.assert_allclose(answer.numpy(), expected, atol=1e-5, rtol=0, err_msg=f"{prefix}/{key}")
    assert seen == set(recorded)
    fused = 0.7 * recorded["cross/segment_probs"] + 0.3 * recorded["unimodal/segment_probs"]
    np.testing.assert_allclose(deployed.segment_probs.numpy(), fused, atol=1e-5, rtol=0)
    for m, modality in enumerate(("audio", "visual")):
        fused = 0.7 * recorded[f"cross/{modality}_probs"] + 0.3 * recorded[f"unimodal/{modality}_probs"]
        np.testing.assert_allclose(deployed.modality_probs[:, m].numpy(), fused, atol=1e-5, rtol=0)


@pytest.mark.parametrize("segments", [1, 7])
def test_any_shape(segments: int) -> None:
    output = small_net(layers=2, heads=2)(**small_streams(segments))
    assert output.segment_probs.shape == (3, segments, 2, 4)
    assert output.tokens.shape == (3, segments, 2, 8)


def test_padding_does_not_reach_the_answer() -> None:
    net, short = small_net(layers=2).eval(), small_streams(3)
    padded = {name: torch.cat([x, torch.randn(3, 2 * SMALL[name].frames, x.shape[2])], 1) for name, x in short.items()}
    mask = torch.tensor([[True] * 3 + [False] * 2] * 3)
    a, b = net(**short), net(**padded, mask=mask)
    for field in ("video_probs", "modality_probs", "video_uncertainty"):
        torch.testing.assert_close(getattr(a, field), getattr(b, field))
    torch.testing.assert_close(a.segment_probs, b.segment_probs[:, :3])


def test_frames_are_averaged_after_their_projection() -> None:
    net, streams = small_net().eval(), small_streams(2)
    averaged = streams["visual"].unflatten(1, (2, 3)).mean(2).repeat_interleave(3, 1)
    assert not torch.allclose(net(**streams).segment_probs, net(**{**streams, "visual": averaged}).segment_probs)


def test_it_fits_into_coleaf() -> None:
    model = wrap("cmpae", streams=SMALL, num_classes=4, anchor_options={"width": 8, "noise_ratios": NO_NOISE})
    labels = (torch.rand(5, 4) < 0.5).float()
    terms = model(Batch(small_streams(4, videos=5), labels), Progress(2))
    assert {"anchor/mutual", "anchor/audio_visual_contrast", "anchor/contrast", "anchor/cooccurrence"} <= set(terms)


def test_labels_are_denoised_from_the_second_epoch_on() -> None:
    net = small_net(noise_ratios={"audio": 0.8, "visual": [0.8, 0.8, 0.0, 0.8]})
    batch = Batch(small_streams(4, videos=10), torch.ones(10, 4))
    output = net(**batch.streams)
    first, second = (net.modality_labels(output, batch, Progress(epoch)) for epoch in (1, 2))
    assert torch.equal(first[:, 0], torch.ones(10, 4))
    torch.testing.assert_close(first[:, 1], torch.full((10, 4), 0.95))
    assert (second < first).any(0).any(0).tolist() == [True, True, True, True]
    torch.testing.assert_close(second[:, 1, 2], torch.full((10,), 0.95))
    assert second[:, 1].unique().tolist() == pytest.approx([0.05, 0.95])


def slow_mutual(output: Any, labels: Tensor, step: int) -> float:
    total = 0.0
    for b in range(len(labels)):
        u = max(output.video_uncertainty[b].item(), 0.9)
        for c in range(labels.shape[1]):
            p, q = (x[b, :, c].max().item() for x in (output.modality_probs, output.modality_uncertainty))
            q = output.modality_uncertainty[b, int(output.modality_probs[b, :, c].argmax()), c].item()
            mean, mean_u = (x[b, :, c].mean().item() for x in (output.modality_probs, output.modality_uncertainty))
            y, video = labels[b, c].item(), output.video_probs[b, c].item()
            weight = u if step % 2 else 1 - u
            total += weight * ((1 - q) * (video - p) ** 2 * y + (1 - mean_u) * (video - mean) ** 2 * (1 - y))
    return total / labels.numel()


@pytest.mark.parametrize("step", [0, 1])
def test_mutual_loss(step: int) -> None:
    net = small_net().double()
    batch = Batch(small_streams(4, dtype=torch.float64), (torch.rand(3, 4) < 0.5).double())
    output = net(**batch.streams)
    found = net.loss(output, batch, Progress(1, step))["mutual"]
    assert found.item() == pytest.approx(slow_mutual(output, batch.labels, step))
    taught = torch.autograd.grad(found, [net.classifier2.weight, net.fc_prob.weight], allow_unused=True)
    through_squares = [x is not None and bool(x.any()) for x in taught]
    assert through_squares[0] == (step == 1)  # odd steps teach the video branch, even ones only the modalities


@pytest.mark.parametrize(("epoch", "step"), [(1, 0), (2, 1)])
def test_gradients_equal_differences(epoch: int, step: int) -> None:
    net = small_net(dropout=0.0, absence_dropout=0.0, visual_dropout=0.0, noise_ratios={"audio": 0.5, "visual": 0.5})
    net = net.double()
    streams = small_streams(2, dtype=torch.float64)
    labels = torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1]]).double()
    names = list(streams)

    def total(*values: Tensor) -> Tensor:
        batch = Batch(dict(zip(names, values, strict=True)), labels)
        terms = net.loss(net(**batch.streams), batch, Progress(epoch, step))
        terms.pop("mutual")  # its stopped gradients are no differences
        return torch.stack(list(terms.values())).sum()

    inputs_ = [x.requires_grad_() for x in streams.values()]
    assert torch.autograd.gradcheck(total, inputs_, atol=1e-6, rtol=1e-4)


def test_ratios_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"noise_ratios\['visual'\] must be one value or 4"):
        small_net(noise_ratios={"audio": 0.1, "visual": [0.1, 0.2]})
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got 1.5"):
        small_net(noise_ratios={"audio": 1.5, "visual": 0})
    with pytest.raises(ValueError, match="must have the keys"):
        small_net(noise_ratios={"audio": 0.1})


def test_without_published_ratios_it_says_that_nothing_is_denoised() -> None:
    with pytest.warns(UserWarning, match="published for LLP's 25 classes only; with 4"):
        net = small_net(noise_ratios=None)
    assert not net.noise_ratios.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert create_anchor("cmpae").noise_ratios.shape == (2, 25)


def test_published_constants() -> None:
    """Those that no recorded answer can tell, since they act in training or on extreme values only."""
    net = create_anchor("cmpae")
    assert (net.visual_dropout.p, net.v2a[1].p, net.a2v[1].p, net.hat_encoder.layers[0].dropout.p) == (
        0.5,
        0.2,
        0.2,
        0.1,
    )
    assert dict(net.decision) == {"gate": "modality", "gate_threshold": 0.45, "segment_threshold": 0.25}
    assert net.noise_ratios[1, 0].item() == pytest.approx(0.99398556)
    assert net.noise_ratios[0, 2].item() == pytest.approx(0.02083333)
    from coleaf_backbones.cmpae import evidence

    extreme = torch.tensor([-1e3, -10.0, 10.0, 1e3])
    assert evidence(extreme).tolist() == pytest.approx([math.exp(x / 0.8) for x in (-10, -10, 10, 10)])
    assert evidence(extreme.bfloat16()).dtype == torch.float32


def test_visual_dropout_is_on_visual_tokens_before_the_classifiers() -> None:
    net, streams = small_net(dropout=0.0, absence_dropout=0.0, visual_dropout=0.5).train(), small_streams(4)
    heard: list[Tensor] = []
    handle = net.fc_prob.register_forward_pre_hook(lambda _, args: heard.append(args[0]))
    tokens = net(**streams).tokens
    handle.remove()
    audio, visual = heard[-1].unbind(2)  # with cross-attention
    assert torch.equal(audio, tokens[:, :, 0])
    dropped = visual == 0
    assert 0.2 < dropped.float().mean() < 0.8
    torch.testing.assert_close(visual[~dropped], 2 * tokens[:, :, 1][~dropped])


def test_the_losses_weights_and_the_contrasts_mask() -> None:
    net = small_net(dropout=0.0, absence_dropout=0.0, visual_dropout=0.0)
    streams, labels = small_streams(4), (torch.rand(3, 4) < 0.5).float()
    mask = torch.tensor([[True] * 4, [True] * 3 + [False], [True] * 2 + [False] * 2])
    output = net(**streams, mask=mask)
    terms = net.loss(output, Batch(streams, labels, mask=mask), Progress(1))
    bce = torch.nn.functional.binary_cross_entropy
    torch.testing.assert_close(terms["audio"], 2 * bce(output.modality_probs[:, 0], labels))
    torch.testing.assert_close(terms["visual"], 0.6 * bce(output.modality_probs[:, 1], 0.9 * labels + 0.05))
    torch.testing.assert_close(terms["video"], 0.6 * bce(output.video_probs, labels))
    one = [
        net.loss(
            net(**{n: x[i : i + 1, : r * SMALL[n].frames] for n, x in streams.items()}),
            Batch({}, labels[i : i + 1]),
            Progress(1),
        )["audio_visual_contrast"]
        for i, r in enumerate((4, 3, 2))
    ]
    torch.testing.assert_close(terms["audio_visual_contrast"], torch.stack(one).mean())
