"""MM-Pyramid: recorded answers of the published network, its windows, and that nothing about LLP is written into it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coleaf_backbones.mm_pyramid_layers import TemporalBlock, TransformerLayer, visible_segments
from torch import Tensor

from coleaf_framework import Batch, CoLeaFConfig, check_anchor, create_anchor, import_checkpoint, wrap
from coleaf_framework.protocol import Progress
from coleaf_framework.record.settings import load_config
from tests.helpers.parity import inputs, zoo_labels, zoo_weights
from tests.helpers.streams import SMALL, small_batch

NAMES = ("MM_Pyramid", "MM_Pyramid_half")
# At full scale most probabilities are 0 or 1, and the published answer itself is this far from the exact one.
PROBABILITIES = {"MM_Pyramid": 5e-3, "MM_Pyramid_half": 1e-5}
OF_THE_LARGEST = {"MM_Pyramid": 2e-4, "MM_Pyramid_half": 1e-6}


def drawn(zoo: Path, name: str) -> dict[str, Tensor]:
    """A published checkpoint's tensors; those of MM_Pyramid_half, except weights of norms, are halved."""
    factor = 0.5 if name.endswith("half") else 1.0
    weights = zoo_weights(zoo / f"{name}.state_dict.json")
    return {key: x if "norm" in key and key.endswith("weight") else factor * x for key, x in weights.items()}


def is_used(zoo: Path, name: str) -> dict[str, bool]:
    entries = json.loads((zoo / f"{name}.state_dict.json").read_text())
    return {key: entry["used_in_forward"] for key, entry in entries.items()}


def small_net(**options: Any) -> Any:
    return create_anchor("mm_pyramid", **{"num_classes": 4, "streams": SMALL, "width": 8, "heads": 2, **options})


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_published(zoo: Path, name: str) -> None:
    """The recording's index 0 is what the published loop takes for audio: the visual stream."""
    net = create_anchor("mm_pyramid").double().eval()
    used = is_used(zoo, name)
    net.load_state_dict({key: x for key, x in drawn(zoo, name).items() if used[key]})
    with torch.no_grad():
        output = net(**inputs())
        audio_levels, visual_levels = net.MMP["capture"](*net.input_tokens(inputs()), None)
        logits = net.fc_prob(output.tokens)
    probabilities = {
        "video_probs": output.video_probs,
        "audio_probs": output.modality_probs[:, 1],
        "visual_probs": output.modality_probs[:, 0],
        "segment_probs": output.segment_probs.flip(2),
    }
    others = {
        "segment_logits": logits.flip(2),
        "audio_tokens": output.tokens[:, :, 0],
        "visual_tokens": output.tokens[:, :, 1],
        "audio_levels_video0": audio_levels[0].transpose(0, 1),
        "visual_levels_video0": visual_levels[0].transpose(0, 1),
    }
    recorded = np.load(zoo / f"{name}.npz")
    assert set(recorded) == {*probabilities, *others, "loss/audio", "loss/visual", "loss/video"}
    for key, answer in probabilities.items():
        np.testing.assert_allclose(answer.numpy(), recorded[key], atol=PROBABILITIES[name], rtol=0, err_msg=key)
    for key, answer in others.items():
        atol = OF_THE_LARGEST[name] * np.abs(recorded[key]).max()
        np.testing.assert_allclose(answer.numpy(), recorded[key], atol=atol, rtol=0, err_msg=key)
    # The published roles; in float32, which rounds the largest probability of a loss, 1 - 1e-7.
    published = replace(
        output, video_probs=output.video_probs.float(), modality_probs=output.modality_probs.flip(1).float()
    )
    terms = net.loss(published, Batch(inputs(), zoo_labels()), Progress(1))
    for key, term in terms.items():
        assert float(term) == pytest.approx(float(recorded[f"loss/{key}"]), abs=PROBABILITIES[name]), key


def test_the_loss_smooths_the_labels_of_the_visual_stream() -> None:
    net, streams = small_net(), small_batch(5)
    labels = (torch.rand(3, 4) < 0.5).float()
    output = net(**streams)
    terms = net.loss(output, Batch(streams, labels), Progress(1))
    p, q = output.modality_probs.unbind(1)
    smooth = torch.where(labels > 0, 0.95, 0.05)
    assert set(terms) == {"video", "audio", "visual"}
    torch.testing.assert_close(terms["audio"], -(labels * p.log() + (1 - labels) * (1 - p).log()).mean())
    torch.testing.assert_close(terms["visual"], -(smooth * q.log() + (1 - smooth) * (1 - q).log()).mean())
    video = output.video_probs.clamp(1e-7, 1 - 1e-7)
    torch.testing.assert_close(terms["video"], -(labels * video.log() + (1 - labels) * (1 - video).log()).mean())


def test_audio_stands_first() -> None:
    """Without the shared cross-attention's output, each modality is computed from its own streams."""
    net = small_net().eval()
    with torch.no_grad():
        for name, x in net.named_parameters():
            if ".la2.weight" in name or ".lv2.weight" in name:
                x.zero_()
            if ".la2.bias" in name or ".lv2.bias" in name:
                x.fill_(-1e4)
            if ".la1.weight" in name or ".lv1.weight" in name:
                x[:, 8:] = 0
    streams = small_batch(5)
    before, after = net(**streams), net(**streams | {"audio": 2 * streams["audio"]})
    assert not torch.allclose(before.tokens[:, :, 0], after.tokens[:, :, 0])
    assert torch.equal(before.tokens[:, :, 1], after.tokens[:, :, 1])


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_token_depends_on_segments_within_its_windows_and_on_no_other(levels: int) -> None:
    """Attention and convolution reach 2^l segments each at level l, so L levels reach 2 (2^L - 1)."""
    reach, at = 2 * (2**levels - 1), 16
    net = small_net(levels=levels).double().eval()
    streams = {name: x.double().requires_grad_() for name, x in small_batch(33).items()}
    gradients = torch.autograd.grad(net(**streams).tokens[:, at].square().sum(), list(streams.values()))
    for spec, gradient in zip(SMALL.values(), gradients, strict=True):
        touched = gradient.unflatten(1, (33, spec.frames)).abs().amax((0, 2, 3)) > 0
        assert touched.nonzero().flatten().tolist() == [t for t in range(33) if abs(t - at) <= reach]


def test_a_segment_sees_up_to_its_reach() -> None:
    near, far = visible_segments(4, [1, 8], None, torch.device("cpu"))
    assert near[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert far.all()
    padded, _ = visible_segments(4, [1, 8], torch.tensor([[True, True, False, False]]), torch.device("cpu"))
    assert padded[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("segments", [1, 10, 12, 20])
def test_any_number_of_segments(segments: int) -> None:
    """The published code takes 4 videos of 20 segments for 8 of 10, and fails on 12."""
    net = small_net().eval()
    streams = small_batch(segments, videos=4)
    output = net(**streams)
    assert output.segment_probs.shape == (4, segments, 2, 4)
    assert output.tokens.shape == (4, segments, 2, 8)
    alone = net(**{name: x[:1] for name, x in streams.items()})
    torch.testing.assert_close(output.tokens[:1], alone.tokens)


@pytest.mark.parametrize("extra", [1, 40])
def test_padding_does_not_reach_the_answer(extra: int) -> None:
    """40 segments are further than any window reaches: padding there has nothing but itself to attend to."""
    net, short = small_net().eval(), small_batch(3)
    padded = {
        name: torch.cat([x, 100 * torch.randn(3, extra * SMALL[name].frames, x.shape[2])], 1).requires_grad_()
        for name, x in short.items()
    }
    mask = torch.tensor([[True] * 3 + [False] * extra] * 3)
    a, b = net(**short), net(**padded, mask=mask)
    for field in ("video_probs", "modality_probs"):
        torch.testing.assert_close(getattr(a, field), getattr(b, field))
    torch.testing.assert_close(a.tokens, b.tokens[:, :3])
    assert torch.isfinite(b.tokens).all()
    for name, gradient in zip(padded, torch.autograd.grad(b.tokens[:, :3].sum(), list(padded.values())), strict=True):
        assert not gradient[:, 3 * SMALL[name].frames :].any()


def test_layers_against_a_plain_computation() -> None:
    """Only queries are normalised; the scale is that of a head's width, not of D."""
    layer = TransformerLayer(width=6, heads=2, hidden=5, dropout=0.0, attention_dropout=0.0).double()
    torch.nn.init.normal_(layer.sublayer[0].norm.weight)
    x, y = torch.randn(4, 6).double(), torch.randn(3, 6).double()
    to_q, to_k, to_v, out = layer.self_attn.linears
    q, k, v = to_q(layer.sublayer[0](x)), to_k(y), to_v(y)
    heads = [(q[:, h] @ k[:, h].T / 3**0.5).softmax(1) @ v[:, h] for h in (slice(0, 3), slice(3, 6))]
    z = x + out(torch.cat(heads, 1))
    ff = layer.feed_forward
    torch.testing.assert_close(layer(x, y), z + ff.w_2(ff.w_1(layer.sublayer[1](z)).relu()))

    block = TemporalBlock(width=6, reach=2).double()
    expected = torch.empty(1, 5, 6).double()
    y = torch.randn(1, 5, 6).double()
    for t in range(5):
        taps = [(i, t + 2 * (i - 1)) for i in range(3) if 0 <= t + 2 * (i - 1) < 5]
        inner = sum(block.conv1.weight[:, :, i] @ y[0, at] for i, at in taps) + block.conv1.bias
        expected[0, t] = (y[0, t] + block.conv2.weight[:, :, 0] @ inner.relu() + block.conv2.bias).relu()
    torch.testing.assert_close(block(y, None), expected)


@pytest.mark.parametrize("same", [True, False])
def test_of_two_names_of_a_convolution_the_second_is_in_force(same: bool) -> None:
    """As where PyTorch loads the published network, whatever the order in the file."""
    net, other = small_net(), small_net()
    weights = dict(net.state_dict())
    assert not [name for name in weights if ".net." in name]
    first = {name: x for name, x in weights.items() if "conv1" in name or "conv2" in name}
    assert len(first) == 2 * 4 * 2 * 2
    second = {
        name.replace("conv1", "net.0").replace("conv2", "net.2"): x if same else x + 1 for name, x in first.items()
    }
    expected = weights | {name: x if same else x + 1 for name, x in first.items()}
    for both in (weights | second, second | weights, {n: x for n, x in weights.items() if n not in first} | second):
        other.load_state_dict(both)
        converted = net.published_tensors(both)
        for name, x in other.state_dict().items():
            assert torch.equal(x, expected[name]), name
            assert torch.equal(converted[name], expected[name]), name
    assert set(converted) == set(weights)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*net\.1\.weight"):
        other.load_state_dict(weights | {"MMP.capture.vnetwork.0.net.1.weight": torch.zeros(8)})


def test_a_published_checkpoint_is_imported_and_told_about(
    zoo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = drawn(zoo, "MM_Pyramid_half")
    torch.save(weights, tmp_path / "best.pt")
    net = import_checkpoint(tmp_path / "best.pt", "mm_pyramid").double()
    with torch.no_grad():
        output = net(**inputs())
    recorded = np.load(zoo / "MM_Pyramid_half.npz")
    np.testing.assert_allclose(output.segment_probs.flip(2), recorded["segment_probs"], atol=1e-5, rtol=0)
    unused = sum(not used for used in is_used(zoo, "MM_Pyramid_half").values())
    assert f"{unused} parameters that mm_pyramid does not use: " in caplog.text
    assert "best.pt: MM-Pyramid's published code stacks the visual stream first" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12, "heads": 8}, "MMPyramid: width=12 is not a multiple of heads=8"),
        ({"levels": 0}, "MMPyramid: levels=0: expected a whole number of at least 1"),
        ({"hidden": 2.5}, "MMPyramid: hidden=2.5: expected a whole number of at least 1"),
        ({"dropout": 1.0}, r"MMPyramid: dropout=1.0: expected a rate in \[0, 1\)"),
        ({"attention_dropout": -0.1}, r"MMPyramid: attention_dropout=-0.1: expected a rate in \[0, 1\)"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_net(**options)


def test_it_conforms() -> None:
    assert "does not mix the videos of a batch" in check_anchor("mm_pyramid", anchor_options={"width": 16})


@pytest.mark.parametrize("config", [CoLeaFConfig(enabled=False), CoLeaFConfig(), CoLeaFConfig.official()])
def test_it_learns_alone_and_in_coleaf(config: CoLeaFConfig) -> None:
    options = {"width": 8, "dropout": 0.0, "attention_dropout": 0.0}
    model = wrap("mm_pyramid", streams=SMALL, num_classes=4, config=config, anchor_options=options)
    batch = Batch(small_batch(6, videos=5), (torch.rand(5, 4) < 0.5).float())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def guided() -> float:
        with torch.no_grad():
            return sum(float(x) for x in model.anchor.loss(model.infer(batch), batch, Progress(4)).values())

    before = guided()
    for step in range(6):
        when = Progress(4, step)
        shared = model.shared_pass(batch, when)
        for which in model.updates(when):
            output = model.update(batch, when, which, shared)
            optimizer.zero_grad()
            output.total().backward()
            optimizer.step()
    assert guided() < 0.95 * before


def test_its_published_schedule_is_a_recipe() -> None:
    config = load_config(settings=("recipe=published", "anchor.name=mm_pyramid"))
    trainer = config.trainer
    assert (trainer.learning_rate, trainer.epochs, trainer.lr_step, trainer.lr_gamma) == (1e-4, 40, 10, 0.1)
    assert (trainer.seed, trainer.monitor, config.coleaf.enabled) == (1, ("segment/Type@AV",), False)


def test_published_constants() -> None:
    """Those that no recorded answer can tell, since they act in training alone."""
    net = create_anchor("mm_pyramid", streams=SMALL)
    layer = net.MMP["capture"].msa[3].cmablock["layer"]
    assert (layer.dropout.p, layer.feed_forward.dropout.p, layer.self_attn.dropout) == (0.2, 0.2, 0.1)
