"""The training signal: what the table says, and what `wrap` refuses or warns of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, Batch, CoLeaF, CoLeaFConfig, Tap, training_signal, wrap
from coleaf_framework.protocol import Progress
from coleaf_framework.wrapping.measurement import measure
from tests.helpers.networks import NUM_CLASSES, STREAMS, TinyNet, batch_of
from tests.helpers.signal_networks import FROM_LOGITS, Recurrent, TwoHeads, put_in

ALONE = CoLeaFConfig(enabled=False)


def changing(model: CoLeaF, term: str) -> set[str]:
    """The submodules of the Anchor whose weights change a term of the loss when they are moved; without gradients."""
    batch = batch_of()
    before = model(batch)[f"anchor/{term}"].item()
    found = set()
    for name, x in model.anchor.named_parameters():
        kept = x.detach().clone()
        with torch.no_grad():
            x.add_(0.3 * torch.randn_like(x))
        if model(batch)[f"anchor/{term}"].item() != before:
            found.add(name.partition(".")[0])
        with torch.no_grad():
            x.copy_(kept)
    return found


@pytest.mark.parametrize("term", ["video", "audio", "visual", "contrast", "cooccurrence", "pseudo_labels"])
def test_the_table_names_the_submodules_that_change_a_term(term: str) -> None:
    config = CoLeaFConfig(contrast="nce", pseudo_label_weight=1.0, pseudo_label_form="soft")
    model = put_in(TwoHeads(), config=config).eval()
    signal = model.training_signal()
    assert term in signal.terms
    assert {row.path for row in signal.submodules if row.shares[term]} == changing(model, term)


def test_the_table_counts_numbers_and_is_read_as_text() -> None:
    class Half(TwoHeads):
        def loss(self, output: AnchorOutput, batch: Any, progress: Any) -> dict[str, Tensor]:
            kernel = self.fc_prob.weight
            return {"mine": output.segment_probs.mean(), "decay": kernel.square().mean()}

    signal = put_in(Half(), config=CoLeaFConfig.strong()).training_signal()
    assert signal.terms == ("mine", "decay", "pseudo_labels", "contrast", "cooccurrence")
    assert signal.share("fc_prob", "decay") == 24 / 27
    row = next(line.split() for line in str(signal).splitlines() if line.startswith("fc_prob"))
    assert row == ["fc_prob", "27", "100%", "89%", "100%", "-", "100%"]


def test_a_submodule_with_most_parameters_is_shown_by_its_parts() -> None:
    class Deep(TwoHeads):
        hidden = 64

    paths = [row.path for row in put_in(Deep()).training_signal().submodules]
    assert paths == ["fc_a", "fc_v", "mix", "fc_prob", "fc_video.0", "fc_video.2"]


def test_the_table_is_the_same_each_time_and_leaves_no_trace() -> None:
    net = TwoHeads()
    before = {k: x.clone() for k, x in net.state_dict().items()}
    first, second = put_in(net).training_signal(), put_in(net).training_signal()
    assert first == second
    assert all(torch.equal(x, before[k]) for k, x in net.state_dict().items())
    assert all(x.grad is None for x in net.parameters())


def test_the_table_of_a_loaded_model_is_measured_when_asked(tmp_path: Any) -> None:
    model = put_in(TwoHeads())
    model.save(tmp_path)
    loaded = CoLeaF.load(tmp_path, anchor=TwoHeads())
    with pytest.raises(ValueError, match="a loaded model has no training signal yet"):
        loaded.training_signal()
    assert training_signal(loaded) == model.training_signal()


def test_the_table_of_a_network_needs_no_model() -> None:
    assert training_signal(TinyNet()) == wrap(TinyNet()).training_signal()


@pytest.mark.parametrize("name", ["han", "cmpae"])
@pytest.mark.parametrize(
    "config", [CoLeaFConfig(), CoLeaFConfig.official(), CoLeaFConfig.strong(), ALONE], ids=["p", "o", "s", "alone"]
)
def test_nothing_is_said_of_the_plugins(name: str, config: CoLeaFConfig, caplog: pytest.LogCaptureFixture) -> None:
    options = {"width": 8} | ({"noise_ratios": {"audio": 0.5, "visual": 0.5}} if name == "cmpae" else {})
    wrap(name, config=config, num_classes=3, anchor_options=options)
    assert not caplog.records


def test_contrast_that_reaches_no_parameter_is_refused() -> None:
    class Raw(TwoHeads):
        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            raw = torch.cat([audio, audio[..., :2]], -1), visual.unflatten(1, (-1, 2)).mean(2)
            return (*super().forward(audio, visual), torch.stack(raw, dim=2))

    with pytest.raises(ValueError, match="Raw: contrast gives no parameter a gradient, so it trains nothing"):
        put_in(Raw(), tokens=3)
    put_in(Raw(), tokens=2)


def test_contrast_that_is_the_same_for_all_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="TinyNet: contrast is the same whatever its tokens are"):
        wrap(TinyNet(), segments=1)  # one segment has none to be told from
    wrap(TinyNet(), segments=1, config=CoLeaFConfig(contrast="none"))


def test_tokens_from_before_the_encoder_are_refused() -> None:
    early, late = (Tap("fc_a"), Tap("fc_v")), Tap("fc_prob", at="input")
    with pytest.raises(
        ValueError, match=r"tokens are from before the encoder: .* does not train encoder.*Tap\('fc_prob', at='input'\)"
    ):
        put_in(Recurrent(), outputs=FROM_LOGITS, tokens=early)
    put_in(Recurrent(), outputs=FROM_LOGITS, tokens=late)


def test_attention_over_time_in_the_classifier_is_no_encoder() -> None:
    class Segmentwise(Recurrent):
        mixes = False

    put_in(Segmentwise(), outputs=FROM_LOGITS, tokens=Tap("encoder", call={"audio": 0, "visual": 1}))


def test_a_segment_head_that_no_label_reaches_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no label trains fc_prob \(2\), .* its loss \(video\) .*anchor_loss='own'"):
        put_in(TwoHeads(), config=CoLeaFConfig(anchor_loss="video"))
    put_in(TwoHeads(), config=CoLeaFConfig(anchor_loss="own"))


def test_a_loss_that_reads_segments_in_some_epochs_only_is_no_fault() -> None:
    def phased(raw: Any, batch: Batch, progress: Progress) -> Tensor:
        return raw[1].mean() + (5 <= progress.epoch < 20) * raw[0].mean()

    put_in(TwoHeads(), loss=phased)


def test_a_part_of_the_segment_head_that_no_label_reaches_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Apart(TwoHeads):
        def __init__(self) -> None:
            super().__init__()
            self.fc_seen = nn.Linear(8, NUM_CLASSES)

        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            tokens = self.encode(audio, visual)
            heard, seen = self.fc_prob(tokens[:, :, 0]), self.fc_seen(tokens[:, :, 1])
            return torch.stack([heard, seen], 2).sigmoid(), self.fc_video(tokens.mean((1, 2))).sigmoid(), tokens

    put_in(Apart(), loss=lambda raw, batch: raw[0][:, :, 0].mean() + raw[1].mean())
    assert "trains a part of what computes segment_probs: no label reaches fc_seen (2)" in caplog.text
    caplog.clear()
    put_in(Apart(), loss=lambda raw, batch: raw[0].mean() + raw[1].mean())
    assert not caplog.records


def test_a_baseline_that_trains_less_than_half_of_its_parameters_is_refused() -> None:
    class Broad(TwoHeads):
        hidden = 64

    with pytest.raises(ValueError, match=r"no loss \(loss\) trains 771 of the 998 .* fc_video \(4\): pass wrap"):
        put_in(Broad(), config=ALONE, loss=lambda raw, batch: raw[0].mean())
    put_in(Broad(), config=ALONE, loss=lambda raw, batch: raw[0].mean() + raw[1].mean())


def test_parameters_that_no_output_depends_on_are_only_frozen() -> None:
    class Unused(TwoHeads):
        def __init__(self) -> None:
            super().__init__()
            self.old = nn.Linear(64, 64)

    assert put_in(Unused()).frozen == ("old.weight", "old.bias")


def test_an_undeclared_output_of_frozen_parameters_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Third(TwoHeads):
        def __init__(self) -> None:
            super().__init__()
            self.fc_global = nn.Linear(8, NUM_CLASSES)

        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            *others, tokens = super().forward(audio, visual)
            return self.fc_global(tokens.mean((1, 2))), *others, tokens

    outputs: Any = {"segment_probs": 1, "video_probs": 2, "modality_probs": "derive"}
    assert put_in(Third(), outputs=outputs, tokens=3).frozen == ("fc_global.weight", "fc_global.bias")
    assert "its output 0 (3, 3) depends on fc_global (2), which no declared field reads" in caplog.text


def test_tokens_that_miss_most_of_the_network_are_named(caplog: pytest.LogCaptureFixture) -> None:
    class Broad(TwoHeads):
        def __init__(self) -> None:
            super().__init__()
            self.fc_prob = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, NUM_CLASSES))  # type: ignore[assignment]

    put_in(Broad())
    assert "tokens depend on 200 of the 971 parameters that compute segment_probs, and not on fc_prob" in caplog.text
    caplog.clear()
    put_in(Broad(), tokens=Tap("fc_prob.1", at="input"))
    assert "tokens depend" not in caplog.text


def test_reference_labels_that_the_loss_never_reads_are_named(caplog: pytest.LogCaptureFixture) -> None:
    class Weak(TwoHeads):
        def loss(self, output: AnchorOutput, batch: Any, progress: Any) -> dict[str, Tensor]:
            assert output.modality_probs is not None
            return {"mine": (output.modality_probs - self.labels(batch)).square().mean() + output.video_probs.mean()}

        def labels(self, batch: Any) -> Tensor:
            return batch.labels[:, None]

    class Refined(Weak):
        def labels(self, batch: Any) -> Tensor:
            return batch.each_modality_labels()

    config = CoLeaFConfig(reference_labels=True)
    put_in(Weak(), config=config)
    assert "Weak: its loss never reads Batch.modality_labels, so reference_labels does nothing" in caplog.text
    caplog.clear()
    put_in(Refined(), config=config)
    assert not caplog.records


def test_what_is_measured_says_which_default_is_taken() -> None:
    def default(net: nn.Module) -> str:
        def run(net: nn.Module, streams: Any, mask: Any) -> AnchorOutput:
            return AnchorOutput(*net(**streams)) if isinstance(net, TwoHeads) else net(**streams)

        how = CoLeaFConfig(), put_in(TwoHeads()).label_loss
        return measure(net, run, STREAMS, NUM_CLASSES, None, *how).label_loss.default

    assert (default(TwoHeads()), default(TinyNet())) == ("modalities", "video")


def test_an_adapter_that_refers_to_the_network_itself_is_measured_on_it() -> None:
    net = TwoHeads()
    before = {name: x.clone() for name, x in net.state_dict().items()}
    whole: Any = {"streams": STREAMS, "num_classes": NUM_CLASSES}
    found = training_signal(net, lambda _, streams: AnchorOutput(*net(**streams)), **whole)
    assert found.share("fc_prob", "audio") == 1
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())
