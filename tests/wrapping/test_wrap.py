"""wrap: what it accepts, and every complaint of the dry run."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, CoLeaFConfig, StreamSpec, wrap
from coleaf_framework.model.standardize import StandardizedAnchor, Standardizer
from coleaf_framework.protocol import Progress
from tests.helpers import published_style as nets
from tests.helpers.networks import NUM_CLASSES, STREAMS, TinyNet, batch_of
from tests.helpers.published_style import DECLARED


def spoiled(spoil: Callable[[dict[str, Tensor]], Any]) -> TinyNet:
    """A TinyNet whose output `spoil` changes."""
    net = TinyNet()
    net.spoil = spoil  # type: ignore[method-assign]
    return net


def with_field(**change: Callable[[Tensor], Tensor]) -> TinyNet:
    """A TinyNet of which some output fields are changed."""
    return spoiled(lambda out: AnchorOutput(**{k: change.get(k, lambda x: x)(v) for k, v in out.items()}))


@pytest.mark.parametrize("network", [TinyNet, TinyNet(), "han"])
def test_takes_a_class_a_network_and_a_name(network: Any) -> None:
    model = wrap(network)
    assert model.reference is not None
    if isinstance(network, TinyNet):
        assert model.anchor is network


def test_takes_a_mapping_with_the_field_names() -> None:
    model = wrap(spoiled(lambda out: out))
    assert model.infer(batch_of()).segment_probs.shape == (4, 5, 2, NUM_CLASSES)


def test_takes_an_adapter_for_anything_else() -> None:
    def adapter(net: nn.Module, streams: Any) -> AnchorOutput:
        segment_probs, video_probs, tokens, _ = net(**streams)
        return AnchorOutput(segment_probs, video_probs, tokens)

    model = wrap(spoiled(lambda out: tuple(out.values())), adapter=adapter)
    assert model.infer(batch_of()).modality_probs is not None


def test_the_reference_gets_the_anchors_token_width() -> None:
    model = wrap(TinyNet(width=9))
    assert model.reference is not None
    batch = batch_of()
    assert model.reference(**batch.streams).tokens.shape == (4, 5, 2, 9)


def test_a_class_gets_its_declaration_and_options_from_arguments() -> None:
    class Configurable(TinyNet):
        def __init__(self, num_classes: int, width: int) -> None:
            super().__init__(width)
            self.num_classes = num_classes

    assert wrap(Configurable, num_classes=3, anchor_options={"width": 16}).anchor.mix.in_features == 16
    with pytest.raises(TypeError, match="Configurable .* cannot be made from"):
        wrap(Configurable, num_classes=3)


def test_without_coleaf_there_is_no_reference() -> None:
    assert wrap(TinyNet, config=CoLeaFConfig(enabled=False)).reference is None


@pytest.mark.parametrize("missing", ["streams", "num_classes"])
def test_a_missing_declaration_is_named(missing: str) -> None:
    class Undeclared(TinyNet):
        pass

    setattr(Undeclared, missing, None)
    with pytest.raises(ValueError, match=f"Undeclared does not declare `{missing}`"):
        wrap(Undeclared)
    wrap(Undeclared, **{missing: {"streams": STREAMS, "num_classes": NUM_CLASSES}[missing]})  # type: ignore[arg-type]


def test_a_contradicted_declaration_is_named() -> None:
    with pytest.raises(ValueError, match="declares num_classes=3, but wrap was given 4"):
        wrap(TinyNet, num_classes=4)


def test_something_that_is_no_network_is_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        wrap(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no anchor is called 'ham'. Did you mean 'han'"):
        wrap("ham")


COMPLAINTS = {
    "wrong shape": (with_field(video_probs=lambda x: x[:, None]), r"video_probs has shape \(3, 1, 3\) where \(B,C\)"),
    "class count": (with_field(segment_probs=lambda x: x[..., :2]), r"segment_probs has shape \(3, 10, 2, 2\)"),
    "logits": (with_field(segment_probs=torch.logit), "if these are logits, return their sigmoid"),
    "above one": (with_field(modality_probs=lambda x: x + 1), r"modality_probs spans \[1\..*, .*\] where prob"),
    "NaN": (with_field(tokens=lambda x: x * float("nan")), "tokens holds NaN or inf"),
    "integers": (with_field(video_probs=lambda x: x.long()), r"video_probs is torch\.int64"),
    "float64": (with_field(tokens=lambda x: x.double()), r"tokens is torch\.float64, where float32"),
    "detached tokens": (with_field(tokens=Tensor.detach), "tokens carries no gradient"),
    "tuple": (spoiled(lambda out: tuple(out.values())), r"returns a tuple of 4 .* not an AnchorOutput"),
    "mapping without a field": (spoiled(lambda out: {"video_probs": out["video_probs"]}), r"it lacks \['segment_p"),
    "mapping with another field": (spoiled(lambda out: out | {"probs": 1}), r"may not have \['probs'\]"),
    "not a tensor": (spoiled(lambda out: out | {"tokens": None}), "tokens is None, not a tensor"),
    "folded and unfolded T": (
        with_field(tokens=lambda x: x[:, :10].repeat(1, x.shape[1] // 10, 1, 1)),
        r"tokens ignores 10 of T=20 segments of the stream 'audio'",
    ),
    "folded T": (with_field(segment_probs=lambda x: x.reshape(-1, 10, 2, 3)), "folds T=20 into the batch"),
    "cut T": (with_field(segment_probs=lambda x: x[:, :10]), "returns 10 segments for T=20"),
}


@pytest.mark.parametrize("name", COMPLAINTS)
def test_complaint(name: str) -> None:
    network, message = COMPLAINTS[name]
    with pytest.raises((ValueError, TypeError), match=message):
        wrap(network)


@pytest.mark.parametrize("leak", [lambda x: x + x[:1], lambda x: x + x[-1:], lambda x: x + x.mean(0)])
def test_a_network_that_mixes_videos_is_named(leak: Callable[[Tensor], Tensor]) -> None:
    class Mixes(TinyNet):
        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            return super().forward(leak(audio), visual)

    with pytest.raises(ValueError, match="segment_probs of one video depends on the other videos of its batch"):
        wrap(Mixes)


def test_classes_written_into_a_network_are_named() -> None:
    with pytest.raises(ValueError, match=r"segment_probs has shape \(3, 10, 2, 3\) where .*C=25"):
        wrap(
            nets.PositionalTuple(),
            streams=STREAMS,
            num_classes=25,
            **DECLARED[nets.PositionalTuple],
        )


def test_an_ignored_stream_is_named() -> None:
    class Deaf(TinyNet):
        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            return super().forward(torch.zeros_like(audio), visual)

    with pytest.raises(ValueError, match="segment_probs ignores the stream 'audio'"):
        wrap(Deaf)


def test_a_network_that_fails_is_quoted_with_its_input() -> None:
    net = TinyNet()
    net.streams = STREAMS | {"audio": StreamSpec(9, "audio")}
    with pytest.raises(ValueError, match=r"fails on a synthetic batch of T=10 with audio \(3, 10, 9\)"):
        wrap(net)


def test_a_fixed_number_of_segments_is_accepted_when_said() -> None:
    class TenOnly(TinyNet):
        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            if audio.shape[1] != 10:
                raise RuntimeError("10 segments only")
            return super().forward(audio, visual)

    with pytest.raises(ValueError, match=r"fails .* T=20 .* pass wrap\(\.\.\., segments=10\)"):
        wrap(TenOnly)
    model = wrap(TenOnly, segments=10)
    model.infer(batch_of(segments=10))
    with pytest.raises(ValueError, match="has T = 5 segments; TenOnly was wrapped with segments=10"):
        model.infer(batch_of(segments=5))


def test_a_network_that_ignores_its_mask_is_named() -> None:
    class Deceiver(TinyNet):
        def forward(self, audio: Tensor, visual: Tensor, mask: Tensor | None = None) -> Any:
            return super().forward(audio, visual)

    with pytest.raises(ValueError, match="Deceiver takes a mask, but video_probs of a video changes with the padding"):
        wrap(Deceiver)


def test_layers_that_start_at_zero_are_no_fault() -> None:
    net = TinyNet()
    nn.init.zeros_(net.classify.weight)
    wrap(net)
    assert not net.classify.weight.any()


def inside_ddp(folder: Path) -> nn.Module:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(TinyNet())
    finally:
        torch.distributed.destroy_process_group()


def standardized() -> nn.Module:
    statistics = {name: torch.ones(2, spec.width) for name, spec in STREAMS.items()}
    return StandardizedAnchor(Standardizer(statistics, STREAMS), TinyNet())


@pytest.mark.parametrize("kind", ["DataParallel", "DistributedDataParallel", "CoLeaF", "StandardizedAnchor"])
def test_networks_inside_something_else_are_refused(kind: str, tmp_path: Path) -> None:
    wrapped = {
        "DataParallel": lambda: nn.DataParallel(TinyNet()),
        "DistributedDataParallel": lambda: inside_ddp(tmp_path),
        "CoLeaF": lambda: wrap(TinyNet),
        "StandardizedAnchor": standardized,
    }[kind]()
    with pytest.raises(TypeError, match=r"pass its \.(module|anchor)"):
        wrap(wrapped)


def test_a_loss_module_called_loss_is_not_the_networks_own_loss() -> None:
    net = TinyNet()
    net.loss = nn.BCELoss()
    assert "anchor/video" in wrap(net)(batch_of())


def test_a_network_may_change_its_inputs_in_place() -> None:
    class InPlace(TinyNet):
        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            audio -= audio.mean((1, 2), keepdim=True)
            return super().forward(audio, visual)

    model, batch = wrap(InPlace), batch_of()
    before = {name: x.clone() for name, x in batch.streams.items()}
    model(batch)
    assert all(torch.equal(x, before[name]) for name, x in batch.streams.items())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda output, batch, progress: {"contrast": output.video_probs.sum()}, "'contrast' is the name of a term"),
        (lambda output, batch: {}, r"TinyNet\.loss\(output, batch, progress\) fails"),
        (lambda output, batch, progress: output.video_probs.sum(), "not a mapping of named scalar tensors"),
        (lambda output, batch, progress: {}, "TinyNet.loss returns an empty mapping"),
        (lambda output, batch, progress: {"mine": output.video_probs}, "'mine' is not a finite scalar"),
        (lambda output, batch, progress: {"mine": output.video_probs.sum() * float("nan")}, "'mine' is not a finite"),
    ],
)
def test_a_bad_loss_of_its_own_is_named(loss: Callable[..., Any], message: str) -> None:
    net = TinyNet()
    net.loss = loss
    with pytest.raises((ValueError, TypeError), match=message):
        wrap(net)


def test_the_dry_run_leaves_no_trace() -> None:

    class Normed(TinyNet):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(NUM_CLASSES)

        def spoil(self, output: dict[str, Tensor]) -> Any:
            output["video_probs"] = self.norm(output["video_probs"]).sigmoid()
            return AnchorOutput(**output)

    net = Normed()
    net.norm.eval()
    net.classify.weight.grad = torch.ones_like(net.classify.weight)
    before = {name: x.clone() for name, x in net.state_dict().items()}
    state, others = torch.get_rng_state(), (random.getstate(), np.random.get_state()[1].tolist())
    wrap(net, config=CoLeaFConfig(enabled=False))
    assert torch.equal(torch.get_rng_state(), state)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == others
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())
    assert not net.norm.training
    assert net.classify.training
    assert net.classify.weight.grad is not None
    assert net.classify.bias.grad is None


def test_a_network_gets_those_of_the_given_streams_that_it_declares() -> None:
    more = {**TinyNet.streams, "flow": StreamSpec(3, "visual")}
    assert wrap(TinyNet(), streams=more).streams == TinyNet.streams
    other = {**more, "audio": StreamSpec(7, "audio")}
    needed = r"audio \(audio, width 6\); visual \(visual, width 8, 2 frames a segment\)"
    given = r"audio \(audio, width 7\); visual .*; flow \(visual, width 3\)"
    with pytest.raises(ValueError, match=rf"TinyNet needs the streams {needed}, but was given {given}$"):
        wrap(TinyNet(), streams=other)


def test_a_loss_of_its_own_without_any_term_in_a_later_step_is_named() -> None:
    class Fickle(TinyNet):
        def loss(self, output: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
            return {} if progress.epoch == 2 else {"mine": output.video_probs.mean()}

    model = wrap(Fickle(), config=CoLeaFConfig(enabled=False))
    with pytest.raises(ValueError, match="the Anchor's own loss returned an empty mapping in this step"):
        model.update(batch_of(), Progress(2)).total()
