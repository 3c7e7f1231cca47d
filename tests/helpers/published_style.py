"""Small networks with the habits of published ones, one habit each, and how each is declared.

Their streams are those of `networks.py`: audio (B,T,6), visual (B,2T,8), 3 classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from coleaf_framework import DERIVE, CoLeaF, Constant, Out, Tap, wrap
from tests.helpers.networks import NUM_CLASSES as C
from tests.helpers.networks import STREAMS

D = 8


class Encoder(nn.Module):
    """Gives a pair (audio, visual), with or without looking across."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(D, D)

    def forward(self, audio: Tensor, visual: Tensor, with_ca: bool = True) -> tuple[Tensor, Tensor]:
        if not with_ca:
            return audio + self.mix(audio), visual + self.mix(visual)
        return audio + self.mix(visual), visual + self.mix(audio)


class LookAlike(nn.Module):
    """What all have: projections, an encoder that gives a pair, one classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.fc_a, self.fc_v = nn.Linear(6, D), nn.Linear(8, D)
        self.encoder, self.fc_prob = Encoder(), nn.Linear(D, C)

    def encode(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(self.fc_a(audio), self.fc_v(visual.unflatten(1, (-1, 2)).mean(2)))  # type: ignore[no-any-return]


class PositionalTuple(LookAlike):
    """Six tensors in an order of its own; modalities apart; visual first where they are stacked; never its tokens."""

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
        x1, x2 = self.encode(audio, visual)
        frame = self.fc_prob(torch.stack([x2, x1], dim=2)).sigmoid()
        v_prob, a_prob = frame.mean(1).unbind(1)
        return audio.mean(), frame.mean((1, 2)), a_prob, v_prob, frame, x1.norm()


class ApartLogits(LookAlike):
    """A dict of logits, audio and visual apart, classes before time; its classifier runs once for each modality."""

    def forward(self, audio: Tensor, visual: Tensor) -> dict[str, Any]:
        x1, x2 = self.encode(audio, visual)
        a, v = self.fc_prob(x1), self.fc_prob(x2)
        return {"frames": {"a": a.mT, "v": v.mT}, "video": (a + v).mean(1)}


class Evidential(LookAlike):
    """Dirichlet parameters of presence and absence instead of probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.fc_beta = nn.Linear(D, C)

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
        x = torch.stack(self.encode(audio, visual), dim=2)
        pair = torch.stack([self.fc_prob(x), self.fc_beta(x)], dim=-1).exp() + 1
        pooled = pair.mean(1)
        return pair, pooled[..., 0], pooled[..., 1], pair[..., 0].sigmoid().mean((1, 2)), x


class MixedOutside(LookAlike):
    """Encodes twice and mixes outside any module; needs an extra argument."""

    def forward(self, f_v: Tensor, f_a: Tensor, with_ca: bool) -> tuple[Tensor, Tensor]:
        audio, visual = self.fc_a(f_a), self.fc_v(f_v.unflatten(1, (-1, 2)).mean(2))
        plain, crossed = self.encoder(audio, visual, False), self.encoder(audio, visual, with_ca)
        mixed = [0.2 * x + 0.8 * y for x, y in zip(plain, crossed, strict=True)]
        probs = torch.stack([self.fc_prob(x) for x in mixed], dim=2).sigmoid()
        return probs, probs.mean((1, 2))


class LabelEmbeddings(LookAlike):
    """Compares its tokens with label embeddings, which it is given."""

    def forward(self, audio: Tensor, visual: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.stack(self.encode(audio, visual), dim=2)
        probs = (self.fc_prob(x) + x @ labels.T).sigmoid()
        return probs, probs.mean((1, 2))


class ClassWise(LookAlike):
    """Class-wise tokens (B,T,C,D) for either modality."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.decoder = nn.Parameter(torch.randn(C, D)), nn.Linear(D, D)

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
        a, v = (self.decoder(x[:, :, None] * self.queries) for x in self.encode(audio, visual))
        probs = torch.stack([a, v], dim=2).sum(-1).sigmoid()
        return probs, probs.mean(1), a, v


class TenSegments(LookAlike):
    """Has 10 segments written into it: T = 20 is folded into the batch without a word."""

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        a, v = self.encode(audio, visual)
        probs = torch.stack([self.fc_prob(x) for x in (a, v)], dim=2).sigmoid().view(-1, 10, 2, C)
        return probs, probs.mean((1, 2))


class CudaInside(LookAlike):
    """Calls `.cuda()` inside forward."""

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        a, v = self.encode(audio.cuda(), visual.to("cuda"))
        weights = torch.ones(C, device="cuda").cuda()
        probs = torch.stack([self.fc_prob(x) * weights for x in (a, v)], dim=2).sigmoid()
        return probs, probs.mean((1, 2))


class HalfDead(PositionalTuple):
    """Holds encoders that it never runs, as the published HAN does."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder, self.cmt_encoder = Encoder(), nn.Sequential(nn.Linear(D, D), nn.Linear(D, D))


class Checkpointed(PositionalTuple):
    """Runs its encoder under activation checkpointing."""

    use_reentrant = False

    def encode(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        projected = self.fc_a(audio), self.fc_v(visual.unflatten(1, (-1, 2)).mean(2))
        return checkpoint(self.encoder, *projected, use_reentrant=self.use_reentrant)  # type: ignore[no-any-return]


FRAMES = {"modality_probs": DERIVE, "segment_probs": 0, "video_probs": 1}
DECLARED: Mapping[Callable[[], nn.Module], Mapping[str, Any]] = {
    PositionalTuple: {
        "outputs": {"segment_probs": Out(4, order=("visual", "audio")), "video_probs": 1, "modality_probs": (2, 3)},
        "tokens": Tap("encoder"),
    },
    ApartLogits: {
        "outputs": {
            "segment_probs": Out("frames.a", visual="frames.v", layout="b c t", kind="logits"),
            "video_probs": Out("video", kind="logits"),
            "modality_probs": DERIVE,
        },
        "tokens": Tap("fc_prob", at="input", call={"audio": 0, "visual": 1}),
    },
    Evidential: {
        "outputs": {
            "segment_probs": Out(0, kind="dirichlet"),
            "video_probs": DERIVE,
            "modality_probs": Out(1, absence=2, kind="dirichlet"),
        },
        "tokens": 4,
    },
    MixedOutside: {
        "inputs": ("visual", "audio", Constant(True)),
        "outputs": FRAMES,
        "tokens": Tap("encoder", call=(0, 1), combine=(0.2, 0.8)),
    },
    LabelEmbeddings: {
        "inputs": {"audio": "audio", "visual": "visual", "labels": Constant(torch.ones(C, D))},
        "outputs": FRAMES,
        "tokens": Tap("fc_prob", at="input"),
    },
    ClassWise: {
        "outputs": {"segment_probs": 0, "video_probs": DERIVE, "modality_probs": 1},
        "tokens": Out(2, visual=3, layout="b t c d", reduce="mean"),
    },
    TenSegments: {"outputs": FRAMES, "tokens": Tap("encoder"), "segments": 10},
    CudaInside: {"outputs": FRAMES, "tokens": Tap("encoder"), "follow_device": True},
    HalfDead: {
        "outputs": {"segment_probs": Out(4, order=("visual", "audio")), "video_probs": 1, "modality_probs": (2, 3)},
        "tokens": Tap("encoder"),
    },
    Checkpointed: {
        "outputs": {"segment_probs": Out(4, order=("visual", "audio")), "video_probs": 1, "modality_probs": (2, 3)},
        "tokens": Tap("encoder"),
    },
}


def put_in(kind: Any, **changes: Any) -> CoLeaF:
    """A published-style network, wrapped as it is declared; `changes` come before the declaration."""
    return wrap(kind(), streams=STREAMS, num_classes=C, **{**DECLARED[kind], **changes})
