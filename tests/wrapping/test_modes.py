"""Networks that answer differently in evaluation, from call to call, or the same for both modalities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from coleaf_framework import AnchorOutput, CoLeaFConfig, Out, wrap
from tests.helpers.networks import NUM_CLASSES, STREAMS, TinyNet
from tests.helpers.signal_networks import FROM_LOGITS, TwoHeads, put_in

ALONE = CoLeaFConfig(enabled=False)


def with_field(**change: Callable[[Tensor], Tensor]) -> TinyNet:
    """A TinyNet of which some output fields are changed."""
    net = TinyNet()
    net.spoil = lambda out: AnchorOutput(  # type: ignore[method-assign]
        **{k: change.get(k, lambda x: x)(v) for k, v in out.items()}
    )
    return net


def test_narrow_tokens_are_refused_where_a_reference_teaches_them() -> None:
    with pytest.raises(
        ValueError, match="TinyNet: tokens have width D = 7, too narrow for contrast, which needs at lea"
    ):
        wrap(TinyNet(width=7))
    wrap(TinyNet(width=8))
    wrap(TinyNet(width=7), config=ALONE)


def both(x: Tensor) -> Tensor:
    """Audio in the place of visual too."""
    return x[:, :, :1].expand_as(x)


@pytest.mark.parametrize("field", ["segment_probs", "tokens"])
def test_identical_modalities_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"TinyNet: {field} of the two modalities are identical"):
        wrap(with_field(**{field: both}))


def test_tokens_of_a_modality_that_depend_on_no_stream_are_refused() -> None:
    def constant(x: Tensor) -> Tensor:
        return torch.stack([x[:, :, 0], torch.ones_like(x[:, :, 1])], dim=2)

    with pytest.raises(ValueError, match="TinyNet: tokens of the visual modality depend on no stream"):
        wrap(with_field(tokens=constant))


@pytest.mark.parametrize("training", [True, False])
def test_dropout_in_evaluation_is_refused(training: bool) -> None:
    net = with_field(video_probs=lambda x: functional.dropout(x, 0.1, training=training).clamp(max=1))
    if not training:
        wrap(net)
        return
    with pytest.raises(ValueError, match="video_probs of the same batch changes from call to call in evaluation mode"):
        wrap(net)


def test_state_kept_from_batch_to_batch_is_refused() -> None:
    class Remembers(TinyNet):
        last = torch.zeros(8)

        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            shift, self.last = self.last, visual.detach().mean((0, 1))
            return super().forward(audio, visual + shift)

    class Knows(Remembers):
        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            self.last = torch.zeros(8)
            return super().forward(audio, visual)

    with pytest.raises(ValueError, match=r"Remembers: segment_probs of the same batch .* keep no state between calls"):
        wrap(Remembers())
    wrap(Knows())


class Logits(TwoHeads):
    """Returns logits of segments, in training at least."""

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        tokens = self.encode(audio, visual)
        logits = self.fc_prob(tokens)
        return (logits if self.training else self.answer(logits)), self.fc_video(tokens.mean((1, 2))), tokens

    def answer(self, logits: Tensor) -> Tensor:
        return logits


class Squashed(Logits):
    def answer(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


def test_logits_that_are_probabilities_in_evaluation_are_refused() -> None:
    outputs = {**FROM_LOGITS, "video_probs": Out(1, kind="logits")}
    with pytest.raises(ValueError, match="Squashed: segment_probs is declared as kind='logits'.* applied twice"):
        put_in(Squashed(), outputs=outputs)
    put_in(Logits(), outputs=outputs)

    def adapter(net: Any, streams: Any) -> AnchorOutput:
        segment, video, tokens = net(**streams)
        return AnchorOutput(segment.sigmoid() if net.training else segment, video.sigmoid(), tokens)

    wrap(Squashed(), adapter=adapter, streams=STREAMS, num_classes=NUM_CLASSES)


def test_an_output_that_is_missing_in_evaluation_is_named_with_what_there_is() -> None:
    class Short(TwoHeads):
        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            segment, video, tokens = super().forward(audio, visual)
            return (segment, video, tokens) if self.training else (segment, video)

    with pytest.raises(
        ValueError, match=r"Short in evaluation mode fails .* a tuple of 2 \(\(2, 20, 2, 3\), \(2, 3\)\)"
    ):
        put_in(Short())


def test_a_mapping_that_lacks_a_field_in_evaluation_is_named() -> None:
    class Short(TinyNet):
        def spoil(self, output: dict[str, Tensor]) -> Any:
            return output if self.training else {k: x for k, x in output.items() if k != "tokens"}

    with pytest.raises(ValueError, match=r"Short in evaluation mode returns a mapping with .* it lacks \['tokens'\]"):
        wrap(Short())


@pytest.mark.parametrize("training", [True, False])
def test_values_out_of_range_name_the_mode(training: bool) -> None:
    class Wide(TinyNet):
        def spoil(self, output: dict[str, Tensor]) -> Any:
            factor = 3 if self.training == training else 1
            return {**output, "video_probs": factor * output["video_probs"]}

    mode = "training" if training else "evaluation"
    with pytest.raises(ValueError, match=f"Wide in {mode} mode: video_probs spans"):
        wrap(Wide())
