"""CoLeaF as a module: which terms there are and when, who is taught, saving and loading."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from coleaf_framework import AnchorOutput, CoLeaF, CoLeaFConfig, StreamSpec, load_anchor, losses, wrap
from coleaf_framework.protocol import Progress
from coleaf_framework.storage import WEIGHTS, read_tensors, write_tensors
from tests.helpers.networks import STREAMS, TinyNet, batch_of

ANCHOR_TERMS = {"anchor/contrast", "anchor/cooccurrence"}
BASE = {"anchor/video", "reference/video", "reference/class_tokens"}


class MaskedNet(TinyNet):
    """TinyNet that can be told about padding."""

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor | None = None) -> Any:
        output = super().forward(audio, visual)
        modality_probs = losses.pool_segments(output.segment_probs, mask)
        return AnchorOutput(output.segment_probs, modality_probs.mean(1), output.tokens)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (1, BASE),
        (2, BASE | ANCHOR_TERMS),
        (3, BASE | ANCHOR_TERMS),
        (4, BASE | ANCHOR_TERMS | {"reference/self_modality"}),
    ],
)
def test_terms_start_when_the_recipe_says(epoch: int, expected: set[str]) -> None:
    assert set(wrap(TinyNet)(batch_of(), Progress(epoch))) == expected


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"contrast": "none"}, {"anchor/contrast"}),
        ({"cooccurrence_weight": 0.0}, {"anchor/cooccurrence"}),
        ({"self_modality_weight": 0.0}, {"reference/self_modality"}),
    ],
)
def test_each_term_can_be_switched_off(change: dict[str, Any], gone: set[str]) -> None:
    everything = BASE | ANCHOR_TERMS | {"reference/self_modality"}
    assert set(wrap(TinyNet, config=CoLeaFConfig(**change))(batch_of())) == everything - gone


def test_class_tokens_can_be_switched_off() -> None:
    terms = wrap(TinyNet, reference_options={"class_tokens": False})(batch_of())
    assert "reference/class_tokens" not in terms


def test_variants_of_the_contrast() -> None:
    batch, values = batch_of(), {}
    for kind in ("event_aware", "nce", "bce"):
        torch.manual_seed(1)
        model = wrap(TinyNet, config=CoLeaFConfig(contrast=kind, contrast_weight=2.0)).eval()
        values[kind] = model(batch)["anchor/contrast"]
        anchor, reference = model.infer(batch), model.reference(**batch.streams)
        expected = {
            "event_aware": losses.event_aware_contrast(
                anchor.tokens, reference.tokens, losses.event_weights(reference.modality_probs, 0.5), temperature=0.2
            ),
            "nce": losses.event_aware_contrast(anchor.tokens, reference.tokens, torch.ones(4, 2), temperature=0.2),
            "bce": losses.pseudo_label_cross_entropy(anchor.modality_probs, reference.modality_probs, threshold=0.5),
        }[kind]
        torch.testing.assert_close(values[kind], 2 * expected)


def test_each_branch_is_taught_by_its_own_terms_only() -> None:
    model = wrap(TinyNet)
    terms = model(batch_of())
    for branch, other in (("anchor", model.reference), ("reference", model.anchor)):
        model.zero_grad()
        own = [term for name, term in terms.items() if name.startswith(branch)]
        torch.stack(own).sum().backward(retain_graph=True)
        assert all(p.grad is None or not p.grad.any() for p in other.parameters()), branch
        taught = model.anchor if branch == "anchor" else model.reference
        assert any(p.grad is not None and p.grad.any() for p in taught.parameters()), branch


def test_one_backward_updates_both_branches_as_two_would() -> None:
    batch, grads = batch_of(), []
    for together in (True, False):
        torch.manual_seed(1)
        model = wrap(TinyNet).eval()
        terms = model(batch)
        if together:
            torch.stack(list(terms.values())).sum().backward()
        else:
            for branch in ("anchor", "reference"):
                own = [term for name, term in terms.items() if name.startswith(branch)]
                torch.stack(own).sum().backward(retain_graph=True)
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_an_anchors_own_loss_replaces_the_default() -> None:
    net = TinyNet()
    net.loss = lambda output, batch, progress: {"mine": output.video_probs.mean()}
    terms = wrap(net, config=CoLeaFConfig(enabled=False))(batch_of())
    assert set(terms) == {"anchor/mine"}


def test_unequal_lengths_need_a_network_that_takes_a_mask() -> None:
    batch = batch_of(lengths=[5, 3, 1, 2])
    with pytest.raises(ValueError, match="TinyNet takes no mask"):
        wrap(TinyNet)(batch)
    assert all(torch.isfinite(term) for term in wrap(MaskedNet)(batch).values())


def test_an_adapter_can_be_told_about_unequal_lengths() -> None:
    seen = []

    def adapter(net: Any, streams: Any, mask: Tensor | None = None) -> Any:
        seen.append(mask)
        return net(**streams, mask=mask)

    batch = batch_of(lengths=[5, 3, 1, 2])
    wrap(MaskedNet, adapter=adapter)(batch)
    assert seen[-1] is batch.mask


def test_a_batch_without_a_stream_is_named() -> None:
    batch = batch_of()
    with pytest.raises(ValueError, match=r"lacks the streams \['visual'\]"):
        wrap(TinyNet).infer(type(batch)(streams={"audio": batch.streams["audio"]}, labels=batch.labels))


def statistics() -> dict[str, Tensor]:
    return {n: torch.stack([torch.full((s.width,), 3.0), torch.full((s.width,), 2.0)]) for n, s in STREAMS.items()}


def test_standardised_streams_reach_both_branches() -> None:
    torch.manual_seed(1)
    raw = wrap(TinyNet).eval()
    torch.manual_seed(1)
    standardised = wrap(TinyNet, statistics=statistics()).eval()
    batch = batch_of()
    shifted = type(batch)(streams={n: 2 * x + 3 for n, x in batch.streams.items()}, labels=batch.labels)
    for name, term in raw(batch).items():
        torch.testing.assert_close(standardised(shifted)[name], term, msg=name)


def test_models_can_be_copied() -> None:
    model = wrap("han", anchor_options={"width": 8})
    assert copy.deepcopy(model).anchor.streams == model.anchor.streams


def test_saved_and_loaded_models_answer_alike(tmp_path: Path) -> None:
    streams = {
        "audio": StreamSpec(6, "audio"),
        "visual": StreamSpec(8, "visual", frames=2),
        "visual_st": StreamSpec(4, "visual"),
    }
    model = wrap(
        "han",
        streams=streams,
        num_classes=4,
        anchor_options={"width": 8, "heads": 2},
        statistics={n: torch.rand(2, s.width) + 0.5 for n, s in streams.items()},
    ).eval()
    model.save(tmp_path)
    x = {n: torch.randn(2, s.frames * 5, s.width) for n, s in streams.items()}
    again = CoLeaF.load(tmp_path).eval()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    anchor = load_anchor(tmp_path)
    expected = model.infer(batch_like(x))
    torch.testing.assert_close(anchor(**x).video_probs, expected.video_probs)
    assert not any("reference" in name for name in anchor.state_dict())


def batch_like(streams: dict[str, Tensor]) -> Any:
    from coleaf_framework import Batch

    return Batch(streams=streams, labels=torch.zeros(2, 4))


def test_an_adapter_is_asked_for_when_it_is_needed(tmp_path: Path) -> None:
    def adapter(net: Any, streams: Any) -> Any:
        return net(**streams)

    wrap(TinyNet, adapter=adapter, statistics=statistics()).save(tmp_path)
    for load in (CoLeaF.load, load_anchor):
        with pytest.raises(ValueError, match="wrapped with an adapter: pass adapter="):
            load(tmp_path, anchor=TinyNet())
    anchor = load_anchor(tmp_path, anchor=TinyNet(), adapter=adapter)
    assert anchor(**batch_of().streams).video_probs.shape == (4, 3)


def test_tied_weights_are_saved(tmp_path: Path) -> None:
    net = TinyNet()
    net.again = net.mix
    wrap(net).save(tmp_path)
    other = TinyNet()
    other.again = other.mix
    assert torch.equal(load_anchor(tmp_path, anchor=other).mix.weight, net.mix.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": None}, r"'audio': expected shape \(2, 6\), found none"),
        ({"audio": torch.ones(2, 1)}, r"found \(2, 1\)"),
        ({"audio": torch.zeros(2, 6)}, "deviations above 0"),
    ],
)
def test_wrong_statistics_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrap(TinyNet, statistics={k: v for k, v in (statistics() | change).items() if v is not None})


def test_a_network_of_ones_own_is_loaded_into_it(tmp_path: Path) -> None:
    model = wrap(TinyNet())
    model.save(tmp_path)
    with pytest.raises(ValueError, match="TinyNet, not a plugin: pass anchor="):
        CoLeaF.load(tmp_path)
    net = TinyNet()
    assert load_anchor(tmp_path, anchor=net) is net
    assert torch.equal(net.mix.weight, model.anchor.mix.weight)


def test_a_checkpoint_of_another_class_count_is_refused(tmp_path: Path) -> None:
    wrap("han", anchor_options={"width": 8}).save(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("num_classes: 25", "num_classes: 4"))
    with pytest.raises(ValueError, match=r"does not fit HAN with 4 classes: .*\(25, 8\), the network's \(4, 8\)"):
        CoLeaF.load(tmp_path)


def test_weights_of_another_kind_of_number_are_refused(tmp_path: Path) -> None:
    wrap(TinyNet).save(tmp_path)
    tensors = read_tensors(tmp_path / WEIGHTS)
    write_tensors(tmp_path / WEIGHTS, tensors | {"anchor.mix.weight": tensors["anchor.mix.weight"].char()})
    with pytest.raises(ValueError, match=r"anchor\.mix\.weight is torch\.int8, the network's torch\.float32"):
        CoLeaF.load(tmp_path, anchor=TinyNet())


@pytest.mark.parametrize("damage", [b"", b"\x80\x04K\x01.", b"garbage" * 100])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: bytes) -> None:
    wrap(TinyNet).save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(damage)
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged"):
        CoLeaF.load(tmp_path, anchor=TinyNet())


def test_the_output_protocol_needs_only_three_fields() -> None:
    net = TinyNet()
    net.spoil = lambda out: AnchorOutput(out["segment_probs"], out["video_probs"], out["tokens"])  # type: ignore[method-assign]
    output = wrap(net).infer(batch_of())
    torch.testing.assert_close(output.modality_probs, losses.pool_segments(output.segment_probs))


@pytest.mark.parametrize("change", [{}, {"update": "reference_first", "contrast_form": "official"}])
def test_the_mean_weights_theta_are_observed_and_train_nothing(change: dict[str, Any]) -> None:
    model = wrap(TinyNet(), config=CoLeaFConfig(**change), reference_options={"dropout": 0.0})
    batch = batch_of()
    terms, observed = model.update(batch)
    assert model.reference is not None
    probs = model.reference(**batch.streams).modality_probs
    expected = losses.event_weights(probs, 0.5, inclusive="contrast_form" in change).mean(0)
    assert torch.equal(torch.stack([observed["theta/audio"], observed["theta/visual"]]), expected)
    assert not any(x.requires_grad for x in observed.values())
    assert not any("theta" in name for name in terms)


def test_theta_is_not_observed_where_it_weighs_nothing() -> None:
    for change, epoch in (({"contrast": "none"}, 9), ({"contrast": "nce"}, 9), ({}, 1), ({"enabled": False}, 9)):
        model = wrap(TinyNet(), config=CoLeaFConfig(**change))  # type: ignore[arg-type]
        assert model.update(batch_of(), Progress(epoch)).observations == {}
