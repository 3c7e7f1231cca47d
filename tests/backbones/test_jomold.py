"""JoMoLD: recorded answers of the published network in both modes, its denoising, and its loss in stages 1 and 3."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coleaf_backbones.jomold import JoMoLDOutput
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, normalize

from coleaf_framework import Batch, CoLeaFConfig, check_anchor, create_anchor, import_checkpoint, wrap
from coleaf_framework.plugins import published_decision, published_training
from coleaf_framework.protocol import AnchorOutput, Progress
from tests.helpers.parity import inputs, zoo_labels, zoo_weights
from tests.helpers.streams import SMALL, small_batch

NO_NOISE = {"audio": 0.0, "visual": 0.0}
QUIET = {"dropout": 0.0, "visual_dropout": 0.0}


def small_net(**options: Any) -> Any:
    return create_anchor(
        "jomold", **{"num_classes": 4, "streams": SMALL, "width": 8, "noise_ratios": NO_NOISE} | options
    )


def similarities(output: AnchorOutput) -> Tensor:
    """(B,T,T) / 0.2, audio tokens with visual tokens, in the plain way."""
    audio, visual = normalize(output.tokens, dim=-1).unbind(2)
    return audio @ visual.mT / 0.2


@pytest.mark.parametrize("cross_attention", [True, False])
def test_answers_as_published(zoo: Path, tmp_path: Path, cross_attention: bool) -> None:
    """From a checkpoint with every published entry; without cross-attention as an estimator of its own, too."""
    torch.save(zoo_weights(zoo / "JoMoLD.state_dict.json"), tmp_path / "jomold.pt")
    net = import_checkpoint(tmp_path / "jomold.pt", "jomold", cross_attention=cross_attention, **QUIET).double()
    streams, recorded, seen = inputs(), np.load(zoo / "JoMoLD.npz"), set()
    batch = Batch(streams, zoo_labels())
    with torch.no_grad():
        trained, deployed = net.train()(**streams), net.eval()(**streams)
    outputs = {"cross": deployed, "unimodal": trained.unimodal} if cross_attention else {"unimodal": deployed}
    for mode, output in outputs.items():
        terms = net.loss(JoMoLDOutput(**{**vars(output), "unimodal": None}), batch, Progress(1))
        audio_weight = 2 if cross_attention else 1
        answers = {
            "video_probs": output.video_probs,
            "audio_probs": output.modality_probs[:, 0],
            "visual_probs": output.modality_probs[:, 1],
            "segment_probs": output.segment_probs,
            "audio_tokens": output.tokens[:, :, 0],
            "visual_tokens": output.tokens[:, :, 1],
            "similarities": similarities(output).flatten(0, 1),
            "loss/contrast": terms["audio_visual_contrast"],
            "loss/audio": terms["audio"] / audio_weight,
            "loss/visual": terms["visual"],
            "loss/video": terms["video"],
        }
        for name, answer in answers.items():
            seen.add(f"{mode}/{name}")
            expected = recorded[f"{mode}/{name}"]
            np.testing.assert_allclose(answer.numpy(), expected, atol=1e-5, rtol=0, err_msg=f"{mode}/{name}")
    assert seen == {name for name in recorded if cross_attention or name.startswith("unimodal/")}


def test_labels_are_denoised_as_recorded(procedures: Path) -> None:
    with np.load(procedures) as file:
        found = {name.removeprefix("jomold/"): torch.from_numpy(file[name]) for name in file if "jomold" in name}
    ratios = {m: found[f"{m}_ratio"].tolist() for m in ("audio", "visual")}
    net = create_anchor("jomold", width=8, noise_ratios=ratios)
    probs = torch.stack([found["audio_probs"], found["visual_probs"]], dim=2)
    for i, labels in enumerate(found["labels"]):
        alone = AnchorOutput(probs[i, :, None], labels, probs[i, :, None], probs[i])
        output = JoMoLDOutput(**vars(alone), unimodal=alone)
        for epoch in (1, 2):
            given = net.modality_labels(output, Batch({}, labels), Progress(epoch))
            expected = torch.stack([found[f"epoch{epoch}/{m}_targets"][i] for m in ("audio", "visual")], dim=1)
            torch.testing.assert_close(given, expected.to(given.dtype))
        assert (given == 0).any(0).any(-1).all()  # labels of either modality were removed


def test_the_unimodal_answer_is_made_in_training_alone_without_gradient_and_with_its_own_dropout() -> None:
    net, streams = small_net(), small_batch(5)
    assert net.eval()(**streams).unimodal is None
    output = net.train()(**streams)
    assert output.unimodal is not None
    assert not output.unimodal.modality_probs.requires_grad
    assert output.modality_probs.requires_grad
    alone = small_net(cross_attention=False, **QUIET)
    alone.load_state_dict({k: x for k, x in net.state_dict().items() if "cm_attn" not in k})
    assert alone.train()(**streams).unimodal is None
    assert not torch.allclose(output.unimodal.modality_probs, alone(**streams).modality_probs)  # dropout
    still = small_net(**QUIET)
    still.load_state_dict(net.state_dict())
    torch.testing.assert_close(still.train()(**streams).unimodal.modality_probs, alone(**streams).modality_probs)


def test_visual_dropout_is_on_visual_tokens_before_the_three_classifiers() -> None:
    net, streams = small_net(dropout=0.0), small_batch(4)
    heard: list[Tensor] = []
    for layer in (net.fc_prob, net.fc_frame_att, net.fc_av_att):
        layer.register_forward_pre_hook(lambda _, args: heard.append(args[0]))
    tokens = net.train()(**streams).tokens
    first, *others = heard[-3:]  # with cross-attention
    assert all(torch.equal(first, other) for other in others)
    audio, visual = first.unbind(2)
    assert torch.equal(audio, tokens[:, :, 0])
    dropped = visual == 0
    assert 0.2 < dropped.float().mean() < 0.8
    torch.testing.assert_close(visual[~dropped], 2 * tokens[:, :, 1][~dropped])


def test_the_loss_of_stages_1_and_3() -> None:
    streams, labels = small_batch(4), torch.tensor([[1.0, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1]])
    for cross_attention, weight in ((True, 2), (False, 1)):
        net = small_net(cross_attention=cross_attention).train()
        output = net(**streams)
        terms = net.loss(output, Batch(streams, labels), Progress(2))
        audio, visual = output.modality_probs.unbind(1)
        torch.testing.assert_close(terms["audio"], weight * binary_cross_entropy(audio, labels))
        torch.testing.assert_close(terms["visual"], binary_cross_entropy(visual, 0.9 * labels + 0.05))
        torch.testing.assert_close(terms["video"], binary_cross_entropy(output.video_probs, labels))
        q = torch.full((4, 4), 0.1 / 3).fill_diagonal_(0.9)
        contrast = -(similarities(output).softmax(-1) * q).sum(-1).log().mean()
        torch.testing.assert_close(terms["audio_visual_contrast"], contrast)


def test_removed_labels_teach_one_modality_and_not_the_video() -> None:
    net = small_net(noise_ratios={"audio": 0.0, "visual": 0.5})
    labels = torch.ones(2, 4)
    probs = torch.tensor([[0.9, 0.1], [0.6, 0.7]])[..., None].expand(2, 2, 4)  # the first is heard, hardly seen
    output = net.train()(**small_batch(4, videos=2))
    output = replace(output, unimodal=replace(output.unimodal, modality_probs=probs))
    batch = Batch({}, labels)
    terms = net.loss(output, batch, Progress(2))
    audio, visual = output.modality_probs.unbind(1)
    seen = torch.tensor([[0.0], [0.95]]).expand(2, 4)
    torch.testing.assert_close(terms["visual"], binary_cross_entropy(visual, seen))
    torch.testing.assert_close(terms["audio"], 2 * binary_cross_entropy(audio, labels))
    torch.testing.assert_close(terms["video"], binary_cross_entropy(output.video_probs, labels))
    known = replace(batch, modality_labels=torch.stack([0 * labels, labels], 1))  # a class known to be seen stays
    torch.testing.assert_close(net.modality_labels(output, known, Progress(2))[:, 1], 0.95 * labels)


@pytest.mark.parametrize("segments", [1, 7])
def test_any_shape(segments: int) -> None:
    output = small_net(layers=2, heads=2)(**small_batch(segments))
    assert output.segment_probs.shape == output.unimodal.segment_probs.shape == (3, segments, 2, 4)


def test_padding_reaches_neither_answer_nor_loss() -> None:
    net, short = small_net(layers=2, **QUIET).train(), small_batch(3)
    padded = {name: torch.cat([x, torch.randn(3, 2 * SMALL[name].frames, x.shape[2])], 1) for name, x in short.items()}
    mask = torch.tensor([[True] * 3 + [False] * 2] * 3)
    a, b = net(**short), net(**padded, mask=mask)
    for one, other in ((a, b), (a.unimodal, b.unimodal)):
        torch.testing.assert_close(one.modality_probs, other.modality_probs)
        torch.testing.assert_close(one.segment_probs, other.segment_probs[:, :3])
    labels = torch.ones(3, 4)
    plain = net.loss(a, Batch(short, labels), Progress(1))
    torch.testing.assert_close(net.loss(b, Batch(padded, labels, mask=mask), Progress(1)), plain)


@pytest.mark.parametrize("config", [CoLeaFConfig(), CoLeaFConfig.official(), CoLeaFConfig(enabled=False)])
def test_it_trains_alone_and_in_coleaf(config: CoLeaFConfig) -> None:
    options = {"width": 8, "noise_ratios": {"audio": 0.5, "visual": 0.5}}
    model = wrap("jomold", streams=SMALL, num_classes=4, anchor_options=options, config=config)
    terms = model(Batch(small_batch(4), (torch.rand(3, 4) < 0.5).float()), Progress(6))
    assert {"anchor/audio_visual_contrast", "anchor/video"} <= set(terms)
    assert ("anchor/contrast" in terms) == config.enabled
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in model.anchor.parameters())


def test_it_conforms() -> None:
    check_anchor("jomold", anchor_options={"width": 8})


def test_refusals_name_it() -> None:
    with pytest.raises(ValueError, match=r"JoMoLD: noise_ratios\['visual'\] must be one value or 4"):
        small_net(noise_ratios={"audio": 0.1, "visual": [0.1, 0.2]})
    with pytest.raises(ValueError, match=r"JoMoLD: visual_dropout=1: expected a rate in \[0, 1\)"):
        small_net(visual_dropout=1)
    with pytest.raises(ValueError, match="network of stage 1, which denoises nothing"):
        small_net(cross_attention=False, noise_ratios={"audio": 0.1, "visual": 0})


def test_ratios_where_none_are_given() -> None:
    with pytest.warns(UserWarning, match="JoMoLD: label-noise ratios are published for LLP's 25 classes only; with 4"):
        assert not small_net(noise_ratios=None).noise_ratios.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert create_anchor("jomold").noise_ratios[1, 0].item() == pytest.approx(0.99398556)
        assert not small_net(cross_attention=False, noise_ratios=None).noise_ratios.any()


def test_published_run() -> None:
    training = published_training("jomold")
    assert (training["epochs"], training["batch_size"], training["learning_rate"]) == (25, 128, 5e-4)
    assert (training["lr_step"], training["lr_gamma"], training["seed"]) == (6, 0.25, 6)
    assert training["monitor"] == ("event/A",)
    assert published_decision("jomold") == {"gate": "modality", "gate_threshold": 0.5, "segment_threshold": 0.5}
    assert create_anchor("jomold").visual_dropout.p == 0.5
