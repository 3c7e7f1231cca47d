"""MGN: recorded answers of the published network, its scores and losses, its fixed length, and its training."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coleaf_backbones import mgn_grouping
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coleaf_framework import (
    Batch,
    CoLeaFTrainer,
    StreamSpec,
    TrainerConfig,
    check_anchor,
    create_anchor,
    import_checkpoint,
    recipe,
    wrap,
)
from coleaf_framework.protocol import Progress
from tests.helpers.parity import inputs, zoo_labels, zoo_weights
from tests.helpers.stream_sets import features, stream_sets
from tests.helpers.streams import SMALL, small_batch
from tests.helpers.two_ranks import require_same_by_two_ranks
from tests.helpers.videos import RandomVideos

ROOT = Path(__file__).parents[2]
TINY = {"segments": 4, "width": 8, "layers": 1, "joint_layers": 2}
KINDS = {"MGN": "soft", "MGN_hard": "hard"}


def small_net(**options: Any) -> Any:
    return create_anchor("mgn", **{"num_classes": 5, "streams": SMALL, **TINY, **options})


def randomised(net: Any, deviation: float = 0.4) -> Any:
    """With weights under which tokens and classes differ, which they hardly do at first."""
    with torch.no_grad():
        for x in net.parameters():
            x.add_(deviation * torch.randn_like(x))
    return net


@torch.no_grad()
@pytest.mark.parametrize("name", KINDS)
def test_answers_and_losses_as_published(zoo: Path, name: str) -> None:
    shapes = zoo / f"{name}.state_dict.json"
    assert all(entry["used_in_forward"] for entry in json.loads(shapes.read_text()).values())
    net = create_anchor("mgn", assignment=KINDS[name]).double().eval()
    net.load_state_dict(zoo_weights(shapes))
    output = net(**inputs())
    found = {
        "video_probs": output.video_probs,
        "audio_probs": output.modality_probs[:, 0],
        "visual_probs": output.modality_probs[:, 1],
        "segment_probs": output.segment_probs,
        "audio_class_logits": output.class_logits[0],
        "visual_class_logits": output.class_logits[1],
        "audio_class_tokens": output.class_tokens[:, 0],
        "visual_class_tokens": output.class_tokens[:, 1],
        "joint_class_tokens": output.joint_class_tokens,
    }
    found |= {f"loss/{key}": x for key, x in net.loss(output, Batch({}, zoo_labels()), Progress(1)).items()}
    recorded = np.load(zoo / f"{name}.npz")
    assert set(recorded) == set(found)
    for key, x in found.items():
        np.testing.assert_allclose(x.numpy(), recorded[key], atol=1e-5, rtol=0, err_msg=key)


@pytest.mark.parametrize("name", KINDS)
def test_published_checkpoints_load(zoo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    drawn, path = zoo_weights(zoo / f"{name}.state_dict.json"), tmp_path / "MGN_Net.pt"
    torch.save({f"module.{key}": x for key, x in drawn.items()}, path)
    with caplog.at_level(logging.WARNING):
        net = import_checkpoint(path, "mgn", assignment=KINDS[name])
    assert not caplog.messages  # none of its parameters is unused
    assert all(torch.equal(x, drawn[key]) for key, x in net.state_dict().items())
    with torch.no_grad():
        answer = net.double()(**inputs()).segment_probs
    np.testing.assert_allclose(answer.numpy(), np.load(zoo / f"{name}.npz")["segment_probs"], atol=1e-5, rtol=0)


def test_each_loss_term_by_loops() -> None:
    net, streams = randomised(small_net()).double(), {n: x.double() for n, x in small_batch(4).items()}
    labels = (torch.rand(3, 5) < 0.5).double()
    of_modalities = labels[:, None] * (torch.rand(3, 2, 5) < 0.5)
    output = net(**streams)

    def bce(p: Tensor, y: Tensor) -> float:
        pairs = zip(p.flatten().tolist(), y.flatten().tolist(), strict=True)
        return -sum(b * math.log(a) + (1 - b) * math.log(1 - a) for a, b in pairs) / p.numel()

    def token_loss(logits: Tensor) -> float:
        rows = logits.tolist()
        return sum(math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(rows)) / len(rows)

    terms = net.loss(output, Batch({}, labels, modality_labels=of_modalities), Progress(1))
    visual = 0.95 * of_modalities[:, 1] + 0.05 * (1 - labels)
    assert {key: x.item() for key, x in terms.items()} == pytest.approx(
        {
            "video": bce(output.video_probs, labels),
            "audio": bce(output.modality_probs[:, 0], of_modalities[:, 0]),
            "visual": bce(output.modality_probs[:, 1], visual),
            "audio_tokens": token_loss(net.fc_cls(net.audio_token)),
            "visual_tokens": token_loss(net.fc_cls(net.visual_token)),
        }
    )


@settings(max_examples=15)
@given(
    streams=stream_sets(),
    videos=st.integers(1, 3),
    segments=st.integers(1, 12),
    classes=st.integers(1, 7),
    assignment=st.sampled_from(["soft", "hard"]),
)
def test_any_shape_and_every_video_as_by_itself(
    streams: dict[str, StreamSpec], videos: int, segments: int, classes: int, assignment: str
) -> None:
    options = {"num_classes": classes, "streams": streams, "assignment": assignment}
    net = randomised(small_net(**options | {"segments": segments})).double().eval()
    batch = {name: x.double() for name, x in features(streams, videos, segments).items()}
    output = net(**batch)
    assert output.segment_probs.shape == (videos, segments, 2, classes)
    assert output.tokens.shape == (videos, segments, 2, 8)
    assert output.video_probs.shape == (videos, classes)
    assert ((output.segment_probs >= 0) & (output.segment_probs <= 1)).all()
    alone = [net(**{name: x[i : i + 1] for name, x in batch.items()}) for i in range(videos)]
    for field in ("segment_probs", "video_probs", "modality_probs", "tokens"):
        torch.testing.assert_close(torch.cat([getattr(x, field) for x in alone]), getattr(output, field), msg=field)


def slow_scores(net: Any, output: Any, audio_weights: Tensor, visual_weights: Tensor) -> Tensor:
    """Segment scores (B,T,M,C) before they are cut, from the weights (B,C,T) of the segments."""
    b, _, c = output.modality_probs.shape
    scores = torch.zeros(b, 4, 2, c)
    for m, weights in enumerate((audio_weights, visual_weights)):
        for i in range(b):
            for k in range(c):
                row = weights[i, k].tolist()
                total = sum(map(math.exp, row))
                for t in range(4):
                    factor = row[t] if net.assignment == "hard" else 1 + math.exp(row[t]) / total
                    scores[i, t, m, k] = output.modality_probs[i, m, k] * factor
    return scores


def weights_of(net: Any, streams: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """The answer, and the weights by which each grouping gathered its tokens."""
    seen: dict[str, Tensor] = {}
    groupings = {
        "audio": net.audio_cug.grouping,
        "visual": net.visual_cug.grouping,
        "joint": net.av_mcg.grouping,
        "han": net.audio_cug.han_encoder,
    }
    handles = [
        module.assign.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out[1].detach()}))
        for name, module in groupings.items()
    ]
    output = net(**streams)
    for handle in handles:
        handle.remove()
    return output, seen


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_scores_are_cut_at_one_and_decide_as_uncut_ones(assignment: str) -> None:
    net = randomised(small_net(assignment=assignment)).eval()
    with torch.no_grad():
        net.fc_prob_a.bias.fill_(2.5)
    output, seen = weights_of(net, small_batch(4))
    uncut = slow_scores(net, output, seen["audio"], seen["visual"])
    torch.testing.assert_close(output.segment_probs, uncut.clamp(max=1))
    assert (uncut > 1).any() == (assignment == "soft")
    for threshold in torch.linspace(0.01, 1, 34).tolist():
        decided, expected = output.segment_probs >= threshold, uncut >= threshold
        assert torch.equal(decided[(uncut - threshold).abs() > 1e-5], expected[(uncut - threshold).abs() > 1e-5])


def test_tokens_are_what_the_class_groupings_gather() -> None:
    net, seen = small_net().eval(), []
    for module in (net.audio_cug.grouping, net.visual_cug.grouping):
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    tokens = net(**small_batch(4)).tokens
    assert torch.equal(tokens, torch.stack(seen, dim=2))
    assert tokens.requires_grad


def test_audio_tokens_are_visual_ones_enriched_and_visual_ones_hear_nothing() -> None:
    net, streams = randomised(small_net()).eval(), small_batch(4)
    before = net(**streams).tokens
    louder = net(**streams | {"audio": 2 * streams["audio"]}).tokens
    seen = net(**streams | {"visual": 2 * streams["visual"]}).tokens
    assert torch.equal(louder[:, :, 1], before[:, :, 1])
    assert not torch.allclose(louder[:, :, 0], before[:, :, 0])
    assert not torch.allclose(seen[:, :, 0], before[:, :, 0])


def test_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MGN takes videos of 4 segments.* T = 6: set anchor\.options\.segments"):
        small_net()(**small_batch(6))
    model = wrap("mgn", streams=SMALL, num_classes=5, anchor_options=TINY)
    assert model.segments == 4
    with pytest.raises(ValueError, match=r"has T = 6 segments; MGN works for T = 4 only \(anchor\.options\.segments\)"):
        model.infer(Batch(small_batch(6), torch.zeros(3, 5)))


def test_a_mask_is_refused_by_the_network_and_in_coleaf() -> None:
    mask = torch.tensor([[True, True, True, False]] * 3)
    with pytest.raises(ValueError, match="MGN takes the streams .* has \\['mask'\\], which it was not made for"):
        small_net()(**small_batch(4), mask=mask)
    model = wrap("mgn", streams=SMALL, num_classes=5, anchor_options=TINY)
    with pytest.raises(ValueError, match="videos of this batch differ in length, but MGN takes no mask"):
        model.infer(Batch(small_batch(4), torch.zeros(3, 5), mask=mask))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"assignment": "firm"}, "MGN: assignment='firm': expected one of soft, hard"),
        ({"joint_assignment": 1}, "MGN: joint_assignment=1: expected one of soft, hard"),
        ({"segments": 0}, "MGN: segments=0: expected a whole number of at least 1"),
        ({"joint_layers": 1.5}, r"MGN: joint_layers=1\.5: expected a whole number"),
        ({"width": 12}, "MGN: width=12 is not a multiple of heads=8"),
        ({"drop_path": 1}, r"MGN: drop_path=1: expected a rate in \[0, 1\)"),
        ({"streams": {"a": StreamSpec(3, "audio")}}, "MGN needs a stream of modality 'visual'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_net(**options)


def test_initial_values_are_the_published_ones() -> None:
    net = create_anchor("mgn")
    weights = torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, torch.nn.Linear)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, torch.nn.Linear | torch.nn.LayerNorm))
    assert not net.audio_token.any()
    assert not net.visual_token.any()
    assert {m.rate for m in net.modules() if hasattr(m, "rate")} == {0.1}


def test_published_schedule() -> None:
    config = recipe("published", "anchor.name=mgn")
    trainer = config.trainer
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate, trainer.seed) == (40, 16, 3e-4, 1)
    assert (trainer.lr_step, trainer.lr_gamma, trainer.monitor) == (10, 0.1, ("segment/Type@AV",))
    assert (config.coleaf.enabled, config.decision.gate) == (False, "video")


@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("name", ["paper", "official", "published"])
def test_it_conforms_alone_and_in_coleaf(name: str, assignment: str) -> None:
    """`check_anchor` trains two steps, which must move every parameter."""
    config, options = recipe(name, "anchor.name=mgn").coleaf, TINY | {"assignment": assignment}
    assert "is returned without leftover hooks" in check_anchor(
        "mgn", streams=SMALL, num_classes=5, anchor_options=options, config=config
    )


@pytest.mark.parametrize("name", ["paper", "official", "published"])
def test_it_trains_on_data_in_coleaf_and_alone(name: str) -> None:
    train, config = RandomVideos("train", [4] * 4), recipe(name, "anchor.name=mgn", "coleaf.anchor_warmup=0").coleaf
    model = wrap("mgn", streams=train.streams, num_classes=4, anchor_options=TINY, config=config)
    trainer = CoLeaFTrainer(model, TrainerConfig(epochs=1, batch_size=3, accumulate=2, device="cpu"), quiet=True)
    losses = trainer.fit(train)[0]["losses"]
    terms = {"anchor/video", "anchor/audio", "anchor/visual", "anchor/audio_tokens", "anchor/visual_tokens"}
    assert terms <= set(losses)
    assert ("anchor/contrast" in losses) == (name != "published")
    assert all(math.isfinite(x) for x in losses.values())
    with pytest.raises(ValueError, match=r"video 'train01' has T = 5 segments; MGN works for T = 4 only"):
        trainer.fit(RandomVideos("train", [4, 5]))


WORKER = """
from coleaf_backbones import mgn_grouping
assign = mgn_grouping.assign
mgn_grouping.assign = lambda logits, kind, noisy: assign(logits, kind, noisy=False)
train, options = RandomVideos("train", [4] * 3), {"segments": 4, "width": 8, "layers": 1, "joint_layers": 2}
model = wrap("mgn", streams=train.streams, num_classes=4, anchor_options=options | {"drop_path": 0.0},
             reference_options={"dropout": 0.0}, config=CoLeaFConfig(anchor_warmup=0))
with torch.no_grad():  # class tokens of zeros would give fc_cls no gradient, and small weights one of rounding
    for x in model.anchor.parameters():
        x.add_(0.3 * torch.randn_like(x))
losses = CoLeaFTrainer(model, TrainerConfig(epochs=1, batch_size=4, device="cpu"), quiet=True).fit(train)[-1]["losses"]
"""


@pytest.mark.slow
def test_two_ranks_compute_what_one_process_does(tmp_path: Path) -> None:
    """Of two and one videos. Without noise, which differs from rank to rank; weights count once, not per rank."""
    _, gradients = require_same_by_two_ranks(tmp_path, WORKER, atol=1e-6)
    assert gradients["anchor.fc_cls.weight"].any()


@pytest.mark.parametrize(("assignment", "joint"), [("soft", "soft"), ("hard", "hard"), ("soft", "hard")])
def test_which_assignments_are_hard_and_which_have_noise(
    monkeypatch: pytest.MonkeyPatch, assignment: str, joint: str
) -> None:
    """The block that enriches visual tokens with audio assigns in the other way than the class groupings."""
    net = randomised(small_net(assignment=assignment, joint_assignment=joint, drop_path=0.0))
    streams, real = small_batch(4), mgn_grouping.assign
    hard = {"audio": assignment, "visual": assignment, "joint": joint, "han": mgn_grouping.OTHER[assignment]}
    noisy: list[bool] = []

    def listen(logits: Tensor, kind: str, *, noisy: bool) -> Tensor:
        asked.append((kind, noisy))
        return real(logits, kind, noisy=noisy)

    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(mgn_grouping, "assign", listen)
    for training in (True, False):
        _, seen = weights_of(net.train(training), streams)
        for name, weights in seen.items():
            assert set(weights.unique().tolist()) <= {0.0, 1.0} if hard[name] == "hard" else weights.max() < 1, name
            torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]))
        noisy += [was for _, was in asked]
        asked.clear()
    assert noisy == [True] * 4 + [False] * 4
    outputs = [net.eval()(**streams).segment_probs for _ in range(2)]
    assert torch.equal(*outputs)
