"""HCMN: recorded answers of the published student and its helpers, their losses, and videos of any length."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coleaf_backbones.hcmn import HCMN, HCMNOutput
from coleaf_backbones.real_batch_norm import RealBatchNorm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from coleaf_framework import Batch, CoLeaFConfig, StreamSpec, check_anchor, create_anchor, import_checkpoint, wrap
from coleaf_framework.plugins import published_training
from coleaf_framework.protocol import Progress
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.training.stepping import Stepper
from tests.helpers.parity import inputs, weight, zoo_labels, zoo_weights
from tests.helpers.stream_sets import features, stream_sets
from tests.helpers.streams import SMALL, small_batch

BCE, MSE = F.binary_cross_entropy, F.mse_loss
HELPERS = {"audio": ("AudioNet", 1), "visual": ("VideoNet", 2)}


def small_net(**options: Any) -> HCMN:
    return create_anchor("hcmn", **{"num_classes": 4, "streams": SMALL, "width": 8, **options})  # type: ignore[return-value]


def used(shapes: Path) -> dict[str, Tensor]:
    """The drawn entries that the published forward reads."""
    entries = json.loads(shapes.read_text())
    return {name: x for name, x in zoo_weights(shapes).items() if entries[name]["used_in_forward"]}


@pytest.fixture
def published(zoo: Path) -> HCMN:
    """The published student with its helpers, in evaluation mode; loading refuses any name too many or too few."""
    net = create_anchor("hcmn").double().eval()
    net.load_state_dict(used(zoo / "HCMN.state_dict.json"))
    shapes = json.loads((zoo / "DHHN_training.state_dict.json").read_text())
    for modality, (_, seed) in HELPERS.items():
        own = {n.removeprefix(f"{modality}."): e["shape"] for n, e in shapes.items() if n.startswith(f"{modality}.")}
        net.helpers[modality].load_state_dict({name: weight(name, tuple(shape), seed) for name, shape in own.items()})
    return net  # type: ignore[return-value]


def test_the_student_answers_as_published(zoo: Path, published: HCMN) -> None:
    recorded = np.load(zoo / "HCMN.npz")
    with torch.no_grad():
        output = published(**inputs())
        projected = published.input_tokens(inputs())
        levels = published.pyramid(*projected, None)
    answers = {
        "video_probs": output.video_probs,
        "audio_probs": output.modality_probs[:, 0],
        "visual_probs": output.modality_probs[:, 1],
        "segment_probs": output.segment_probs,
        "audio_tokens": output.tokens[:, :, 0],
        "visual_tokens": output.tokens[:, :, 1],
        "first_level_video0": levels[0][0],
        "second_level_video0": levels[1][0],
        "projected_audio": projected[0],
        "projected_visual": projected[1],
    }
    assert set(answers) == {key for key in recorded if not key.startswith("loss/")}
    for name, answer in answers.items():
        np.testing.assert_allclose(answer.numpy(), recorded[name], atol=1e-5, rtol=0, err_msg=name)


def test_helpers_and_losses_are_as_published(zoo: Path, published: HCMN) -> None:
    recorded, student = np.load(zoo / "DHHN_training.npz"), np.load(zoo / "HCMN.npz")
    with torch.no_grad():
        answer = published(**inputs())
        helped = [net(inputs()) for net in published.helpers.values()]
    for modality, (segments, video) in zip(HELPERS, helped, strict=True):
        for name, x in (("segment_probs", segments), ("probs", video)):
            key = f"{modality}_{name}"
            np.testing.assert_allclose(x.numpy(), recorded[key], atol=1e-5, rtol=0, err_msg=key)
    output = HCMNOutput(
        answer.segment_probs,
        answer.video_probs,
        answer.tokens,
        answer.modality_probs,
        torch.stack([video for _, video in helped], dim=1),
    )
    terms = published.loss(output, Batch(inputs(), zoo_labels()), Progress(1))
    names = {name: f"student/{name}" for name in ("audio", "visual", "video", "follow_audio", "follow_visual", "apart")}
    names |= {"helper_audio": "audio_net", "helper_visual": "visual_net", "helpers_apart": "nets_apart"}
    assert set(terms) == set(names)
    assert {f"loss/{key}" for key in names.values()} == {key for key in recorded if key.startswith("loss/")}
    for name, key in names.items():
        assert terms[name].item() == pytest.approx(float(recorded[f"loss/{key}"]), abs=1e-5), name
    for name in ("audio", "visual", "video"):
        assert terms[name].item() == pytest.approx(float(student[f"loss/{name}"]), abs=1e-5), name


def test_a_published_checkpoint_loads_without_helpers(
    zoo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = zoo_weights(zoo / "HCMN.state_dict.json")
    torch.save({f"module.{name}": x for name, x in weights.items()}, tmp_path / "student.pt")
    net = import_checkpoint(tmp_path / "student.pt", "hcmn")
    assert net.helpers is None
    assert "4 parameters that hcmn does not use: hat_encoder.norm1.weight" in caplog.text
    with torch.no_grad():
        answer = net.double()(**inputs()).segment_probs.numpy()
    np.testing.assert_allclose(answer, np.load(zoo / "HCMN.npz")["segment_probs"], atol=1e-5, rtol=0)


def test_weights_without_helpers_leave_a_networks_own_as_they_are() -> None:
    net, other = small_net(), small_net()
    mine = copy.deepcopy(net.helpers.state_dict())
    net.load_state_dict(copy.deepcopy(other).without_helpers().state_dict())
    assert all(torch.equal(x, mine[name]) for name, x in net.helpers.state_dict().items())
    assert torch.equal(net.fc_prob.weight, other.fc_prob.weight)
    some = {name: x for name, x in other.state_dict().items() if name != "helpers.audio.fc_prob.bias"}
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"helpers\.audio\.fc_prob\.bias\""):
        net.load_state_dict(some)
    student = {name: x for name, x in small_net(helpers=False).state_dict().items() if name != "fc_a.bias"}
    with pytest.raises(RuntimeError, match="fc_a.bias"):
        net.load_state_dict(student)


def test_helpers_take_no_part_in_evaluation() -> None:
    net, streams = small_net(), small_batch(5)
    bare = copy.deepcopy(net).without_helpers()
    costs = []
    for each in (net.eval(), bare.eval()):
        with FlopCounterMode(display=False) as counter:
            output = each(**streams)
        assert output.helper_probs is None
        costs.append(counter.get_total_flops())
    assert costs[0] == costs[1] > 0
    assert torch.equal(net(**streams).segment_probs, bare(**streams).segment_probs)
    assert net.train()(**streams).helper_probs.shape == (3, 2, 4)
    with pytest.raises(ValueError, match=r"HCMN\.loss takes an output of training mode"):
        net.loss(net.eval()(**streams), Batch(streams, torch.ones(3, 4)), Progress(1))


def slow_pyramid(net: HCMN, streams: dict[str, Tensor]) -> list[Tensor]:
    """The three levels by PyTorch's own interpolation, one modality and scale after the other, in evaluation mode."""
    projected = net.input_tokens(streams)
    levels: list[Tensor] = []
    for scale, (stride, padding) in enumerate(((1, 0), (2, 1), (5, 2))):
        short = []
        for x, blocks in zip(projected, (net.conv_x1, net.conv_x2), strict=True):
            convolution, norm = blocks[scale].blocks[0]
            x = F.conv1d(x.mT, convolution.weight, stride=stride, padding=padding)
            x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
            short.append(x.relu().mT)
        tokens = net.hat_encoder(*short).flatten(2).mT  # (B, M D, T')
        long = F.interpolate(tokens, size=projected[0].shape[1], mode="nearest").mT.unflatten(2, (2, -1))
        levels.append(levels[-1] + long if levels else long)
    return levels


@pytest.mark.parametrize("segments", [1, 2, 5, 7, 12, 20, 61])
def test_any_number_of_segments(segments: int) -> None:
    net, streams = small_net(heads=2, hidden=5).eval(), small_batch(segments)
    for module in net.modules():
        if isinstance(module, RealBatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.normal_(module.bias)
    levels = slow_pyramid(net, streams)
    output = net(**streams)
    torch.testing.assert_close(output.tokens, levels[-1])
    expected = torch.stack([net.fc_prob(x).sigmoid() for x in levels]).mean(0)
    torch.testing.assert_close(output.segment_probs, expected)
    assert output.segment_probs.shape == (3, segments, 2, 4)


@settings(max_examples=25)
@given(
    streams=stream_sets(),
    lengths=st.lists(st.integers(1, 37), min_size=1, max_size=4),
    padding=st.integers(0, 7),
    num_classes=st.integers(1, 9),
)
def test_a_padded_video_answers_as_it_does_alone(
    streams: dict[str, StreamSpec], lengths: list[int], padding: int, num_classes: int
) -> None:
    """In evaluation, helpers included, and padding gets no gradient."""
    longest = max(lengths) + padding
    net = create_anchor("hcmn", num_classes=num_classes, streams=streams, width=8).double().eval()
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    batch = {name: x.double().requires_grad_() for name, x in features(streams, len(lengths), longest).items()}
    together = net(**batch, mask=mask)
    helped = [helper(batch, mask)[1] for helper in net.helpers.values()]
    read = torch.zeros(())
    for i, length in enumerate(lengths):
        own = {name: x[i : i + 1, : length * streams[name].frames] for name, x in batch.items()}
        alone = net(**own)
        for field in ("segment_probs", "tokens"):
            torch.testing.assert_close(getattr(together, field)[i, :length], getattr(alone, field)[0], msg=field)
        for field in ("video_probs", "modality_probs"):
            torch.testing.assert_close(getattr(together, field)[i], getattr(alone, field)[0], msg=field)
            read = read + getattr(together, field)[i].sum()
        for helper, probs in zip(net.helpers.values(), helped, strict=True):
            torch.testing.assert_close(probs[i], helper(own)[1][0])
            read = read + probs[i].sum()
        read = read + together.segment_probs[i, :length].sum() + together.tokens[i, :length].sum()
    for name, gradient in zip(batch, torch.autograd.grad(read, list(batch.values())), strict=True):
        assert not gradient[~mask.repeat_interleave(streams[name].frames, 1)].any()


def step(net: HCMN, modality_labels: Tensor | None = None) -> tuple[HCMNOutput, Batch, dict[str, Tensor]]:
    kind = net.fc_prob.weight.dtype
    streams = {name: x.to(kind) for name, x in small_batch(6).items()}
    batch = Batch(streams, torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]]).to(kind))
    if modality_labels is not None:
        batch = Batch(streams, batch.labels, modality_labels=modality_labels.to(kind))
    output = net(**streams)
    return output, batch, net.loss(output, batch, Progress(1))


def test_with_labels_of_either_modality_the_helpers_learn_them() -> None:
    """Targets are Pa and Pv; the video's stay the weak label, whatever was removed from a modality."""
    audio = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 1.0]])  # class 2 was removed from videos 0 and 2
    visual = torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1.0]])  # class 0 was removed from video 0
    smooth = 0.9 * visual + 0.05
    smooth[0, 0] = 0
    output, batch, terms = step(small_net(), torch.stack([audio, visual], dim=1))
    torch.testing.assert_close(terms["helper_audio"], BCE(output.helper_probs[:, 0], audio))
    torch.testing.assert_close(terms["helper_visual"], BCE(output.helper_probs[:, 1], smooth))
    torch.testing.assert_close(terms["visual"], BCE(output.modality_probs[:, 1], smooth))
    torch.testing.assert_close(terms["video"], BCE(output.video_probs, batch.labels))


def own_losses(output: HCMNOutput, labels: Tensor) -> list[Tensor]:
    """The published losses of the student, AudioNet and VideoNet, without clamps, which act on 0 and 1 alone."""
    audio, visual = output.modality_probs.unbind(1)
    heard, seen = output.helper_probs.unbind(1)
    student = BCE(audio, labels) + BCE(visual, 0.9 * labels + 0.05) + BCE(output.video_probs, labels)
    student = student + MSE(audio, heard.detach()) + MSE(visual, seen.detach()) - MSE(audio, visual)
    apart = -MSE(heard, seen)
    return [student, BCE(heard, labels) + apart, BCE(seen, labels) + apart]


def parts(net: HCMN) -> list[list[nn.Parameter]]:
    """Parameters of the student, of AudioNet and of VideoNet."""
    helpers = [list(helper.parameters()) for helper in net.helpers.values()]
    student = [x for name, x in net.named_parameters() if not name.startswith("helpers.")]
    return [student, *helpers]


def test_one_step_is_that_of_three_optimisers() -> None:
    """Two steps of the trainer's Adam equal those of the published three, each on its network's own loss alone."""
    torch.manual_seed(0)
    options = {"width": 8, "dropout": 0.0}
    model = wrap("hcmn", streams=SMALL, num_classes=4, anchor_options=options, config=CoLeaFConfig(enabled=False))
    model = model.double().train()
    net: HCMN = copy.deepcopy(model.anchor)
    config = TrainerConfig(learning_rate=3e-4, device="cpu")
    stepper = Stepper(model, config, torch.device("cpu"))
    own = [torch.optim.Adam(p, lr=rate) for p, rate in zip(parts(net), (3e-4, 6e-4, 6e-5), strict=True)]
    for number in range(2):
        streams = {name: x.double() for name, x in small_batch(6).items()}
        batch = Batch(streams, (torch.rand(3, 4) < 0.5).double())
        stepper.step([batch], Progress(1, number), lambda _: None)
        losses = own_losses(net(**streams), batch.labels)
        for loss, parameters in zip(losses, parts(net), strict=True):
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
                p.grad = gradient
            assert all(p.grad is not None for p in parameters)
        for optimizer in own:
            optimizer.step()
    moved = dict(model.anchor.named_parameters())
    for name, expected in net.named_parameters():
        torch.testing.assert_close(moved[name], expected, rtol=0, atol=1e-8, msg=name)


def test_learning_rates_of_the_helpers_are_those_published() -> None:
    assert small_net().learning_rate_factors == {"helpers.audio.": 2.0, "helpers.visual.": 0.2}
    retrained = small_net(helper_rates=[1, 1])
    assert retrained.learning_rate_factors == {"helpers.audio.": 1.0, "helpers.visual.": 1.0}
    assert small_net(helpers=False).learning_rate_factors == {}
    assert TrainerConfig(**published_training("hcmn")).learning_rate == 3e-4


def test_the_second_layer_of_video_net_begins_as_its_first() -> None:
    one, two = small_net().helpers["visual"].audio_encoder.layers
    torch.testing.assert_close(one.state_dict(), two.state_dict())
    assert one.linear1.weight is not two.linear1.weight


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "HCMN: width=12 is not a multiple of helper_heads=8"),
        ({"helpers": 1}, "HCMN: helpers=1: expected true or false"),
        ({"helper_heads": 0}, "HCMN: helper_heads=0: expected a whole number of at least 1"),
        ({"helper_rates": [1]}, r"HCMN: helper_rates=\[1\]: expected two numbers above 0"),
        ({"helper_rates": [1, -1]}, "expected two numbers above 0"),
        ({"helper_rates": [1, -1], "helpers": False}, "expected two numbers above 0"),
        ({"streams": {"a": StreamSpec(3, "audio")}}, "HCMN needs a stream of modality 'visual'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_net(**options)
    assert small_net(width=12, helper_heads=3).fc_prob.in_features == 12


@pytest.mark.parametrize("recipe", ["alone", "paper", "official"])
def test_it_runs_alone_and_in_coleaf(recipe: str) -> None:
    config = {
        "alone": CoLeaFConfig(enabled=False),
        "paper": CoLeaFConfig(),
        "official": CoLeaFConfig.official(),
    }[recipe]
    checked = check_anchor("hcmn", streams=SMALL, num_classes=4, anchor_options={"width": 8}, config=config)
    assert "two training steps change all of its 100 parameters" in checked


def test_helpers_are_frozen_where_no_loss_reads_them() -> None:
    config = CoLeaFConfig(anchor_loss="video")
    model = wrap("hcmn", streams=SMALL, num_classes=4, anchor_options={"width": 8}, config=config)
    frozen = {name for name, x in model.anchor.named_parameters() if not x.requires_grad}
    assert frozen == {name for name, _ in model.anchor.named_parameters() if name.startswith("helpers.")}
    rates = [group["lr"] for group in Stepper(model, TrainerConfig(), torch.device("cpu")).optimizer.param_groups]
    assert rates == [5e-4]


def test_bf16_trains() -> None:
    model = wrap("hcmn", streams=SMALL, num_classes=4, anchor_options={"width": 8}).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model(Batch(small_batch(6), torch.ones(3, 4)), Progress(2))
    assert all(torch.isfinite(x) for x in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in model.anchor.parameters() if x.grad is not None)
