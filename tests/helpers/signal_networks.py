"""Small Anchors that a loss term does not reach everywhere, and how they are declared.

Their streams are those of `networks.py`: audio (B,T,6), visual (B,2T,8), 3 classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework import DERIVE, CoLeaF, Out, wrap
from tests.helpers.networks import NUM_CLASSES as C
from tests.helpers.networks import STREAMS

D = 8


class TwoHeads(nn.Module):
    """Returns (segment probabilities, video probabilities, tokens); the video has a head of its own."""

    hidden = D

    def __init__(self) -> None:
        super().__init__()
        self.fc_a, self.fc_v, self.mix = nn.Linear(6, D), nn.Linear(8, D), nn.Linear(D, D)
        self.fc_prob = nn.Linear(D, C)
        self.fc_video = nn.Sequential(nn.Linear(D, self.hidden), nn.Tanh(), nn.Linear(self.hidden, C))

    def encode(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Tokens (B,T,M,D)."""
        x = torch.stack([self.fc_a(audio), self.fc_v(visual.unflatten(1, (-1, 2)).mean(2))], dim=2).tanh()
        return x + self.mix(x.flip(2))

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        tokens = self.encode(audio, visual)
        return self.fc_prob(tokens).sigmoid(), self.fc_video(tokens.mean((1, 2))).sigmoid(), tokens


class Recurrent(nn.Module):
    """Returns segment logits (B,T,M,C); an encoder reads each modality's segments one after another."""

    mixes = True

    def __init__(self) -> None:
        super().__init__()
        self.fc_a, self.fc_v = nn.Linear(6, D), nn.Linear(8, D)
        self.encoder = nn.GRU(D, D, batch_first=True) if self.mixes else nn.Linear(D, D)
        self.fc_prob, self.fc_att = nn.Linear(D, C), nn.Linear(D, C)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        inputs = self.fc_a(audio), self.fc_v(visual.unflatten(1, (-1, 2)).mean(2))
        halves = [self.encoder(x)[0] if self.mixes else self.encoder(x) for x in inputs]
        x = torch.stack(halves, dim=2)
        return self.fc_prob(x) * self.fc_att(x).softmax(1)


BY_PLACE: dict[str, Any] = {"segment_probs": 0, "video_probs": 1, "modality_probs": DERIVE}
FROM_LOGITS: dict[str, Any] = {
    "segment_probs": Out(0, kind="logits"),
    "video_probs": DERIVE,
    "modality_probs": DERIVE,
}


def put_in(net: nn.Module, **changes: Any) -> CoLeaF:
    """A network that returns (segment probabilities, video probabilities, tokens), wrapped; `changes` come first."""
    return wrap(net, **{"outputs": BY_PLACE, "tokens": 2, "streams": STREAMS, "num_classes": C, **changes})
