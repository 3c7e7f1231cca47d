"""CVCMS: recorded answers of the published network, its cross-video loss, and what is mixed when."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coleaf_backbones import cvcms
from coleaf_backbones.cvcms_loss import cross_video_loss, cross_video_similarities
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from coleaf_framework import (
    Batch,
    CoLeaFTrainer,
    TrainerConfig,
    check_anchor,
    create_anchor,
    import_checkpoint,
    recipe,
    wrap,
)
from coleaf_framework.protocol import Progress
from tests.helpers.parity import inputs, zoo_labels, zoo_weights
from tests.helpers.streams import SMALL, small_batch
from tests.helpers.two_ranks import require_same_by_two_ranks
from tests.helpers.videos import RandomVideos

ROOT = Path(__file__).parents[2]
QUIET = {"dropout": 0.0, "class_dropout": 0.0}
WIDTHS = {"width": 8, "class_width": 8}
RECORDED_PARTNERS = torch.tensor([1, 2, 3, 0])
LATE = Progress(3)


def small_net(**options: Any) -> Any:
    return create_anchor("cvcms", **{"num_classes": 4, "streams": SMALL, **WIDTHS, **options})


def published(zoo: Path, **options: Any) -> Any:
    shapes = zoo / "CVCMS.state_dict.json"
    used = {name for name, entry in json.loads(shapes.read_text()).items() if entry["used_in_forward"]}
    net = create_anchor("cvcms", **options).double()
    net.load_state_dict({name: x for name, x in zoo_weights(shapes).items() if name in used})
    return net


def fix_partners(monkeypatch: pytest.MonkeyPatch, partners: Tensor) -> None:
    monkeypatch.setattr(cvcms, "draw_partners", lambda videos, device: partners)


def answers(output: Any, prefix: str = "") -> dict[str, Tensor]:
    return {
        f"{prefix}video_probs": output.video_probs,
        f"{prefix}audio_probs": output.modality_probs[:, 0],
        f"{prefix}visual_probs": output.modality_probs[:, 1],
    }


@torch.no_grad()
def test_answers_and_losses_as_published(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_partners(monkeypatch, RECORDED_PARTNERS)
    net, streams = published(zoo, **QUIET), inputs()
    output = net.eval()(**streams)
    class_tokens = net.class_tokens(output.tokens)
    found = answers(output) | {
        "segment_probs": output.segment_probs,
        "audio_tokens": output.tokens[:, :, 0],
        "visual_tokens": output.tokens[:, :, 1],
        "audio_class_tokens_video0": class_tokens[0, :, 0],
        "visual_class_tokens_video0": class_tokens[0, :, 1],
    }
    order = torch.cat([torch.arange(4), RECORDED_PARTNERS])
    mixed = {name: x[order] for name, x in streams.items()} | {"audio": streams["audio"].repeat(2, 1, 1)}
    found |= answers(net(**mixed), "augmented_")

    labels = torch.stack([zoo_labels(13), zoo_labels(14)], dim=1)
    trained = net.train()(**streams)
    all_labels = torch.stack([labels[:, 0].repeat(2, 1), labels[order, 1]], dim=1)
    found["similarities"] = cross_video_similarities(
        trained.mixed_tokens, trained.mixed_time_logits, all_labels, None, net.temperature
    )
    terms = net.loss(trained, Batch(streams, labels.amax(1), modality_labels=labels), LATE)
    terms["cross_video"] = terms["cross_video"] / 0.85
    found |= {f"loss/{name}": term for name, term in terms.items()}

    recorded = np.load(zoo / "CVCMS.npz")
    assert set(recorded) == set(found)
    for name, answer in found.items():
        np.testing.assert_allclose(answer.numpy(), recorded[name], atol=1e-5, rtol=0, err_msg=name)


def test_published_checkpoints_load(zoo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = zoo_weights(zoo / "CVCMS.state_dict.json")
    torch.save(weights, tmp_path / "cvcms.pt")
    net = import_checkpoint(tmp_path / "cvcms.pt", "cvcms")
    assert all(torch.equal(x, weights[name]) for name, x in net.state_dict().items())
    assert "74 parameters that cvcms does not use: fc_prob.weight, " in caplog.text


def slow_cross_video(output: Any, labels: Tensor, mask: Tensor, partners: list[int], temperature: float) -> float:
    """The term by loops over videos, in Python's numbers."""
    videos = len(labels)
    present = (labels > 0.5).double().numpy()
    audio_of = [*range(videos), *range(videos)]
    visual_of = [*range(videos), *partners]

    def vector(row: int, video: int, m: int) -> Any:
        tokens, logits = (x[row, :, m].detach().numpy() for x in (output.mixed_tokens, output.mixed_time_logits))
        scores = {t: float(logits[t] @ present[video, m]) for t in range(len(tokens)) if mask[video, t]}
        total = sum(math.exp(x) for x in scores.values())
        summed = sum(math.exp(x) / total * tokens[t] for t, x in scores.items())
        return summed / math.sqrt(float(summed @ summed))

    loss = 0.0
    for i, heard in enumerate(audio_of):
        row = [float(vector(i, heard, 0) @ vector(j, seen, 1)) / temperature for j, seen in enumerate(visual_of)]
        matches = [bool((present[heard, 0] * present[seen, 1]).any()) for seen in visual_of]
        normalizer = math.log(sum(math.exp(x) for x in row))
        for x, match in zip(row, matches, strict=True):
            loss += match * (normalizer - x) / sum(matches) if any(matches) else 0.0
    return loss / len(audio_of)


@pytest.mark.parametrize("seed", range(5))
def test_cross_video_loss_by_loops(seed: int) -> None:
    """With soft labels, videos without a match, videos of unequal length and drawn partners."""
    torch.manual_seed(seed)
    net = small_net(**QUIET, temperature=0.3, cross_video_weight=2.0).double().train()
    streams = {name: x.double() for name, x in small_batch(6, videos=5).items()}
    mask = torch.arange(6) < torch.tensor([6, 1, 3, 6, 4])[:, None]
    labels = torch.rand(5, 2, 4).double() ** 2
    labels[0] = 0.05
    output = net(**streams, mask=mask)
    found = net.loss(output, Batch(streams, labels.amax(1), mask=mask, modality_labels=labels), LATE)["cross_video"]
    expected = slow_cross_video(output, labels, mask, output.partners.tolist(), temperature=0.3)
    assert expected > 0
    assert found.item() == pytest.approx(2 * expected, rel=1e-9)


def test_a_mixed_video_is_the_audio_of_one_and_the_images_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens and logits are those that the network has for such streams."""
    fix_partners(monkeypatch, torch.tensor([2, 2, 0]))
    net, streams = small_net(**QUIET), small_batch(5)
    output = net.train()(**streams)
    alone = net.eval()(**streams)
    mixed = net(**{name: x[[2, 2, 0]] for name, x in streams.items()} | {"audio": streams["audio"]})
    torch.testing.assert_close(output.mixed_tokens, torch.cat([alone.tokens, mixed.tokens]))
    torch.testing.assert_close(output.mixed_time_logits, net.fc_frame_att(output.mixed_tokens))
    torch.testing.assert_close(output.segment_probs, alone.segment_probs)
    torch.testing.assert_close(output.video_probs, alone.video_probs)


def test_padding_of_either_partner_reaches_no_mixed_video(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_partners(monkeypatch, torch.tensor([1, 2, 0]))
    net, streams = small_net(**QUIET).train(), small_batch(6)
    mask = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    for x in streams.values():
        x.requires_grad_()
    batch = Batch(streams, torch.ones(3, 4), mask=mask)
    terms = net.loss(net(**streams, mask=mask), batch, LATE)
    torch.stack(list(terms.values())).sum().backward()
    for name, x in streams.items():
        padded = ~mask.repeat_interleave(SMALL[name].frames, 1)
        assert not x.grad[padded].any()
        assert x.grad[~padded].any(-1).all()
    more = {name: torch.cat([x, 9 * torch.ones_like(x)], 1) for name, x in streams.items()}
    longer = net.loss(net(**more, mask=torch.cat([mask, torch.zeros_like(mask)], 1)), batch, LATE)
    torch.testing.assert_close(longer, terms)


def test_nothing_waits_for_the_device() -> None:
    """The device "meta" has shapes alone: whoever asks for a value there gets an error."""
    net, mask = small_net().to("meta").train(), torch.ones(3, 6, dtype=torch.bool, device="meta")
    streams = {name: x.to("meta") for name, x in small_batch(6).items()}
    batch = Batch(streams, torch.ones(3, 4, device="meta"), mask=mask)
    terms = net.loss(net(**streams, mask=mask), batch, LATE)
    torch.stack(list(terms.values())).sum().backward()
    assert terms["cross_video"].device.type == "meta"


def test_nothing_is_mixed_in_evaluation_alone_or_without_the_loss() -> None:
    one, many = small_batch(5, videos=1), small_batch(5)
    nets = [(small_net().eval(), many), (small_net().train(), one), (small_net(cross_video_weight=0).train(), many)]
    for net, streams in nets:
        output = net(**streams)
        assert output.partners is output.mixed_tokens is output.mixed_time_logits is output.mixed_mask is None
        terms = net.loss(output, Batch(streams, torch.ones(len(output.tokens), 4)), LATE)
        assert terms.get("cross_video", 0) == 0
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in net.parameters())
    assert "cross_video" not in terms  # nothing to log where it can never be on


def flops(net: Any, streams: dict[str, Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        net(**streams)
    return counter.get_total_flops()


def test_mixed_videos_cost_the_encoder_and_no_more() -> None:
    """Neither projections nor class tokens are computed again, and evaluation computes what a plain network does."""
    net, streams = small_net(**QUIET), small_batch(5)
    deployed = flops(net.eval(), streams)
    assert deployed == flops(small_net(**QUIET, cross_video_weight=0).train(), streams)
    with FlopCounterMode(display=False) as counter:
        net.fc_frame_att(net.hat_encoder(torch.randn(3, 5, 8), torch.randn(3, 5, 8)))
    assert flops(net.train(), streams) == deployed + counter.get_total_flops()


def bce(probs: Tensor, labels: Tensor) -> Tensor:
    return torch.nn.functional.binary_cross_entropy(probs, labels)


def test_epochs_and_labels_of_each_term() -> None:
    """Class 0 is heard only, 1 seen only, and 2 was removed from both: the video then lacks it too."""
    net, streams = small_net().train(), small_batch(5)
    labels = torch.tensor([[[1.0, 0, 0, 0], [0, 1.0, 0, 0]]]).expand(3, -1, -1)
    batch = Batch(streams, torch.tensor([[1.0, 1, 1, 0]]).expand(3, -1), modality_labels=labels)
    output = net(**streams)
    audio, visual = output.modality_probs.unbind(1)
    for epoch in (1, 2, 3, 40):
        terms = net.loss(output, batch, Progress(epoch))
        assert set(terms) == {"audio", "visual", "video"} | ({"cross_video"} if epoch > 2 else set())
        smoothed = 0.9 * labels[:, 1] + 0.05 if epoch < 3 else labels[:, 1]
        torch.testing.assert_close(terms["audio"], bce(audio, labels[:, 0]))
        torch.testing.assert_close(terms["visual"], bce(visual, smoothed))
        torch.testing.assert_close(terms["video"], bce(output.video_probs, labels.amax(1)))
    weak = net.loss(output, Batch(streams, batch.labels), LATE)
    torch.testing.assert_close(weak["video"], bce(output.video_probs, batch.labels))


def test_its_loss_is_computed_in_float32_under_autocast() -> None:
    net, streams = small_net().train(), small_batch(5)
    with torch.autocast("cpu", torch.bfloat16):
        output = net(**streams)
        term = net.loss(output, Batch(streams, torch.ones(3, 4)), LATE)["cross_video"]
    assert output.mixed_time_logits.dtype == torch.bfloat16
    labels = torch.ones(6, 2, 4)
    mixed = (output.mixed_tokens.float(), output.mixed_time_logits.float())
    exact = 0.85 * cross_video_loss(cross_video_similarities(*mixed, labels, None, 1.0), labels)
    assert term.dtype == torch.float32
    torch.testing.assert_close(term, exact)


def test_its_gradient_equals_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_partners(monkeypatch, torch.tensor([1, 0]))
    net = small_net(**QUIET).double().train()
    names, streams = list(SMALL), [x.double().requires_grad_() for x in small_batch(2, videos=2).values()]
    labels = torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0]]).double()

    def total(*values: Tensor) -> Tensor:
        batch = Batch(dict(zip(names, values, strict=True)), labels)
        return torch.stack(list(net.loss(net(**batch.streams), batch, LATE).values())).sum()

    assert torch.autograd.gradcheck(total, streams, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "CVCMS: temperature=0.0: expected a finite number above 0"),
        ({"temperature": "1"}, "CVCMS: temperature='1': expected"),
        ({"cross_video_weight": -1}, "cross_video_weight=-1: expected a finite number of at least 0"),
        ({"cross_video_weight": math.inf}, "cross_video_weight=inf: expected a finite number"),
        ({"cross_video_from": 0}, "cross_video_from=0: expected a whole number of at least 1"),
        ({"class_width": 0}, "class_width=0: expected a whole number"),
        ({"class_dropout": 1.0}, r"class_dropout=1.0: expected a rate in \[0, 1\)"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_net(**options)


def test_published_constants() -> None:
    """Those that no recorded answer can tell."""
    net = create_anchor("cvcms")
    hat, classes = net.hat_encoder.layers[0], net.av_class_encoder.layers[0]
    assert (hat.dropout.p, hat.self_attn.dropout, classes.dropout.p, classes.cm_attn.dropout) == (0.4, 0.4, 0.25, 0.25)
    assert [net.temperature, net.cross_video_from, net.cross_video_weight] == [1.0, 3, 0.85]


def test_published_schedule() -> None:
    config = recipe("published", "anchor.name=cvcms")
    trainer = config.trainer
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate) == (40, 64, 7e-5)
    assert (trainer.lr_step, trainer.lr_gamma, trainer.monitor) == (7, 0.5, ("event/Type@AV",))
    assert (config.coleaf.enabled, config.decision.gate) == (False, "video")


@pytest.mark.parametrize("name", ["paper", "official", "published"])
def test_it_trains_in_coleaf_and_alone(name: str) -> None:
    """Videos of unequal length, in steps of three, one and one micro-batch of a single video."""
    train = RandomVideos("train", [5, 9, 2, 7])
    config = recipe(name, "anchor.name=cvcms").coleaf
    model = wrap(
        "cvcms", streams=train.streams, num_classes=4, anchor_options=WIDTHS | {"cross_video_from": 2}, config=config
    )
    before = {key: x.clone() for key, x in model.anchor.state_dict().items()}
    history = CoLeaFTrainer(model, TrainerConfig(epochs=2, batch_size=3, accumulate=2, device="cpu"), quiet=True).fit(
        train
    )
    losses = [epoch["losses"] for epoch in history]
    assert all(math.isfinite(x) for epoch in losses for x in epoch.values())
    assert ["anchor/cross_video" in epoch for epoch in losses] == [False, True]
    assert losses[1]["anchor/cross_video"] > 0
    assert ("anchor/contrast" in losses[1]) == (name != "published")
    assert all(not torch.equal(x, before[key]) for key, x in model.anchor.state_dict().items())


def test_it_conforms() -> None:
    assert "two training steps change all of its 52 parameters" in check_anchor("cvcms", anchor_options=WIDTHS)


WORKER = """
train, quiet = RandomVideos("train", [5, 9, 2, 7]), {"dropout": 0.0}
options = {"width": 8, "class_width": 8, "class_dropout": 0.0, "cross_video_from": 1} | quiet
model = wrap("cvcms", streams=train.streams, num_classes=4, anchor_options=options, reference_options=quiet,
             config=CoLeaFConfig(anchor_warmup=0))
config = TrainerConfig(epochs=1, batch_size=4, accumulate=int(sys.argv[2]), device="cpu")
losses = CoLeaFTrainer(model, config, quiet=True).fit(train)[-1]["losses"]
"""


@pytest.mark.slow
def test_two_ranks_compute_what_two_micro_batches_do(tmp_path: Path) -> None:
    """Of two videos each, so that a video's partner is the other one of its own rank."""
    losses, _ = require_same_by_two_ranks(tmp_path, WORKER, alone=["2"], ranks=["1"], atol=1e-7)
    assert losses["anchor/cross_video"] > 0
