"""Parameters that no loss teaches: found, named, frozen and thawed; and those that only seem dead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import DERIVE, AnchorOutput, CoLeaF, CoLeaFConfig, Tap, load_anchor, wrap
from coleaf_framework.protocol import Progress
from tests.helpers import published_style as nets
from tests.helpers.networks import NUM_CLASSES, STREAMS
from tests.helpers.published_style import DECLARED, put_in


def test_dead_parameters(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"6 of its .* no gradient: audio_encoder \(2\), cmt_encoder \(4\)"):
        put_in(nets.HalfDead, dead_parameters="error")
    model = put_in(nets.HalfDead)
    assert "audio_encoder (2), cmt_encoder (4); they are frozen" in caplog.text
    assert len(model.frozen) == 6
    assert not model.anchor.audio_encoder.mix.weight.requires_grad
    model.strip()
    assert model.anchor.audio_encoder.mix.weight.requires_grad
    assert put_in(nets.HalfDead, dead_parameters="ignore").frozen == ()
    with pytest.raises(ValueError, match="neither 'freeze' nor"):
        put_in(nets.HalfDead, dead_parameters="drop")


def test_what_only_the_own_loss_uses_is_not_dead() -> None:
    class WithLoss(nets.HalfDead):
        def loss(self, output: AnchorOutput, batch: Any, progress: Progress) -> dict[str, Tensor]:
            late = self.cmt_encoder(output.tokens).mean() if progress.epoch > 1 else output.tokens.mean()
            return {"mine": late + output.video_probs.mean()}

    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.HalfDead]}
    assert all(name.startswith("audio_encoder") for name in wrap(WithLoss(), **whole).frozen)


def test_a_head_that_no_loss_reads_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class VideoHead(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.global_head = nn.Linear(8, NUM_CLASSES)

        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            first, _, *others = super().forward(audio, visual)
            x = torch.stack(self.encode(audio, visual), dim=2).mean((1, 2))
            return (first, self.global_head(x).sigmoid(), *others)

        def loss(self, output: AnchorOutput, batch: Any, progress: Progress) -> dict[str, Tensor]:
            return {"mine": output.segment_probs.mean()}

    tap = Tap("encoder", call="last")
    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.PositionalTuple], "tokens": tap}
    assert wrap(VideoHead(), **whole).frozen == ("global_head.weight", "global_head.bias")
    assert "global_head (2)" in caplog.text


def test_a_segment_head_that_no_loss_reads_is_refused() -> None:
    class OwnHead(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.frames_only = nn.Linear(nets.D, NUM_CLASSES)

        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            *others, _, norm = super().forward(audio, visual)
            x = torch.stack(self.encode(audio, visual)[::-1], dim=2)
            return (*others, self.frames_only(x).sigmoid(), norm)

    tap = Tap("encoder", call="last")
    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.PositionalTuple], "tokens": tap}
    with pytest.raises(ValueError, match=r"no label trains frames_only .*'modality_probs': DERIVE"):
        wrap(OwnHead(), **whole)
    derived = {**whole, "outputs": {**whole["outputs"], "modality_probs": DERIVE}}
    assert wrap(OwnHead(), **derived).frozen == ()  # co-occurrence reads what is pooled from it


def test_functions_that_close_over_the_network_do_not_make_it_dead() -> None:
    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, "dead_parameters": "error"}
    net = nets.PositionalTuple()

    def adapter(_: nn.Module, streams: Any) -> AnchorOutput:
        *_, frames, _ = net(**streams)
        return AnchorOutput(frames.flip(2), frames.mean((1, 2)), torch.stack(net.encode(**streams), dim=2))

    assert wrap(net, adapter=adapter, **whole).frozen == ()

    class OwnLoss(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.aux = nn.Linear(nets.D, 1)
            self.loss = lambda output, batch, progress: {
                "mine": self.aux(output.tokens).mean() + output.video_probs.sum()
            }

    assert wrap(OwnLoss(), **whole, **DECLARED[nets.PositionalTuple]).frozen == ()


def test_a_loss_that_reads_some_labels_and_epochs_only_kills_nothing() -> None:
    class Prototypes(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.prototypes = nn.ParameterList(torch.randn(nets.D) for _ in range(NUM_CLASSES))
            self.late = nn.Linear(nets.D, 1)

        def loss(self, output: AnchorOutput, batch: Any, progress: Progress) -> dict[str, Tensor]:
            assert output.modality_probs is not None
            mean = output.tokens.mean((1, 2))
            pulls = [(mean - p).square().mean() for c, p in enumerate(self.prototypes) if batch.labels[:, c].any()]
            terms = {"video": output.video_probs.mean(), "pull": sum(pulls, torch.zeros(()))}
            late = self.late(output.tokens).mean() if 21 <= progress.epoch < 29 else torch.zeros(())
            return {**terms, "late": late}

    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.PositionalTuple]}
    assert wrap(Prototypes(), **whole, dead_parameters="error").frozen == ()


def test_a_second_wrap_begins_with_what_the_owner_made(tmp_path: Path) -> None:
    class ModalityHead(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(nets.D, NUM_CLASSES)

        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            first, video, _, _, frames, last = super().forward(audio, visual)
            a, v = self.encode(audio, visual)
            return first, video, self.head(a).sigmoid().mean(1), self.head(v).sigmoid().mean(1), frames, last

    net, tap = ModalityHead(), Tap("encoder", call="last")
    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.PositionalTuple], "tokens": tap}
    alone = wrap(net, **whole, config=CoLeaFConfig(enabled=False))
    assert alone.frozen == ("head.weight", "head.bias")
    alone.save(tmp_path)
    assert wrap(net, **whole).frozen == ()
    assert net.head.weight.requires_grad
    assert all(p.requires_grad for p in load_anchor(tmp_path, anchor=ModalityHead()).parameters())
    with pytest.raises(ValueError, match="does not fit PositionalTuple"):
        CoLeaF.load(tmp_path, anchor=nets.PositionalTuple())


def test_layers_dropped_at_random_are_not_dead() -> None:
    class LayerDrop(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(nets.D, nets.D) for _ in range(6))

        def encode(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
            a, v = super().encode(audio, visual)
            for block in self.blocks:
                if not self.training or torch.rand(()) > 0.5:
                    a, v = a + block(a), v + block(v)
            return a, v

    assert wrap(LayerDrop(), streams=STREAMS, num_classes=NUM_CLASSES, **DECLARED[nets.PositionalTuple]).frozen == ()


def test_what_is_frozen_is_frozen_again_when_loaded(tmp_path: Path) -> None:
    model = put_in(nets.HalfDead)
    model.save(tmp_path)
    loaded = CoLeaF.load(tmp_path, anchor=nets.HalfDead())
    assert loaded.frozen == model.frozen
    assert not loaded.anchor.audio_encoder.mix.weight.requires_grad


def test_a_wrap_that_fails_leaves_nothing_frozen() -> None:
    net = nets.HalfDead()
    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.HalfDead]}
    with pytest.raises(ValueError, match="no reference is called"):
        wrap(net, **whole, reference="clas_token")
    assert all(p.requires_grad for p in net.parameters())
