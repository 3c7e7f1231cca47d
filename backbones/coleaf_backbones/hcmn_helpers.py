"""AudioNet and VideoNet, which teach HCMN in training only (DHHN, ACM MM 2022).

Each reads one modality alone and answers for the whole video. Parameter names are those of the published code. Shape
letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from coleaf_backbones.attention import masked_softmax_over_time
from coleaf_backbones.han import HybridAttentionLayer
from coleaf_backbones.streams import StreamProjections
from coleaf_framework.protocol import Modality, StreamSpec


class SelfAttentionEncoder(nn.Module):
    """Layers of self-attention, which begin with the same weights, as those of `torch.nn.TransformerEncoder` do."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        layer = HybridAttentionLayer(width, heads, hidden, dropout, cross_attention=False)
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (B,T,D) and a mask (B,T) bool, True = real segment, or None -> (B,T,D)."""
        for layer in self.layers:
            x = layer(x, mask)
        return x


class HelperNetwork(StreamProjections):
    """A network of one modality: `rounds` times x + encoder(x), the same encoder each time, then attentive pooling.

    Args:
        modality: the one it reads.
        num_classes: number of classes, C.
        streams: of both modalities, as for `StreamProjections`.
        width: width, D.
        heads: number of attention heads, which divides the width.
        hidden: width of the feed-forward block.
        dropout: rate, in [0,1).
        layers: of the encoder.
        rounds: how often the encoder is applied.
    """

    def __init__(
        self,
        modality: Modality,
        num_classes: int,
        streams: Mapping[str, StreamSpec],
        width: int,
        heads: int,
        hidden: int,
        dropout: float,
        *,
        layers: int,
        rounds: int,
    ) -> None:
        super().__init__(type(self).__name__, streams, width, modalities=(modality,))
        self.modality: Modality = modality
        self.rounds = rounds
        # The published name, in VideoNet too.
        self.audio_encoder = SelfAttentionEncoder(layers, width, heads, hidden, dropout)
        self.fc_prob = nn.Linear(width, num_classes)
        self.fc_frame_att = nn.Linear(width, num_classes)

    def forward(self, streams: Mapping[str, Tensor], mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Answer for segments and for the video.

        Args:
            streams: name -> (B, frames * T, width); those of the other modality are not read.
            mask: (B,T) bool, True = real segment; None where all segments are real.

        Returns:
            (B,T,C) and (B,C), each in [0,1].
        """
        x = self.modality_tokens(self.modality, streams)
        for _ in range(self.rounds):
            x = x + self.audio_encoder(x, mask)
        segment_probs = self.fc_prob(x).sigmoid()
        return segment_probs, (masked_softmax_over_time(self.fc_frame_att(x), mask) * segment_probs).sum(1)


def helper_networks(
    num_classes: int, streams: Mapping[str, StreamSpec], width: int, heads: int, hidden: int, dropout: float
) -> nn.ModuleDict:
    """AudioNet, one layer applied four times, as "audio"; VideoNet, two layers applied three times, as "visual"."""
    shape = num_classes, streams, width, heads, hidden, dropout
    return nn.ModuleDict(
        {
            "audio": HelperNetwork("audio", *shape, layers=1, rounds=4),
            "visual": HelperNetwork("visual", *shape, layers=2, rounds=3),
        }
    )
