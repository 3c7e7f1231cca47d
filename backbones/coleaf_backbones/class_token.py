"""The class-token Reference of CoLeaF (ECCV 2024, eq. 5-7): unimodal self-attention with one learnable token per class.

Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coleaf_backbones.attention import Attention, FeedForward, masked_softmax_over_time, require_options
from coleaf_backbones.streams import project_linearly, require_given, require_streams, streams_of
from coleaf_framework.protocol import MODALITIES, ReferenceOutput, StreamSpec


class ClassTokenLayer(FeedForward):
    """Self-attention over [segment tokens; class tokens] (eq. 6), then HAN's feed-forward block.

    Class tokens are the same for every video, so they are projected once per batch instead of once per video.

    Args:
        width: width, D.
        heads: number of attention heads.
        hidden: width of the feed-forward block.
        dropout: rate, in [0,1).
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(width, hidden, dropout)
        self.self_attn = Attention(width, heads, dropout)

    def forward(self, segments: Tensor, classes: Tensor | None, mask: Tensor | None, encode_classes: bool) -> Tensor:
        """Encode segment tokens together with class tokens.

        Args:
            segments: (B,T,D).
            classes: (C,D), or None.
            mask: (B,T) bool, True = real segment; None where all segments are real.
            encode_classes: also return encoded class tokens. With False they are only keys and values, not queries.

        Returns:
            (B,T+C,D), segment tokens first; (B,T,D) without class tokens or `encode_classes`.
        """
        attention = self.self_attn
        query, key, value = attention.project(segments)
        value, x = attention.project_values(value), segments
        if classes is not None:

            def join(x: Tensor, shared: Tensor) -> Tensor:
                return torch.cat([x, shared.to(x.dtype).expand(len(x), *shared.shape)], dim=-2)

            class_query, class_key, class_value = attention.project(classes)
            key, value = join(key, class_key), join(value, attention.project_values(class_value))
            if encode_classes:
                x, query = join(x, classes), join(query, class_query)
            if mask is not None:
                mask = torch.cat([mask, mask.new_ones(len(mask), len(classes))], dim=1)
        return self.feed_forward(x + self.dropout(attention.attend_projected(query, key, value, mask)))


class UnimodalBranch(nn.Module):
    """One modality of the Reference.

    Args:
        streams: this modality's streams; several are projected separately and fused by a Linear.
        num_classes: number of classes, C.
        width: width, D.
        heads: number of attention heads.
        hidden: width of the feed-forward block.
        dropout: rate, in [0,1).
        class_tokens: whether to use the learnable class tokens of eq. 5.
    """

    def __init__(
        self,
        streams: Mapping[str, StreamSpec],
        num_classes: int,
        width: int,
        heads: int,
        hidden: int,
        dropout: float,
        class_tokens: bool,
    ) -> None:
        super().__init__()
        self.frames = {name: spec.frames for name, spec in streams.items()}
        self.projections = nn.ModuleDict({name: nn.Linear(spec.width, width) for name, spec in streams.items()})
        self.fusion = nn.Linear(len(streams) * width, width) if len(streams) > 1 else nn.Identity()
        self.class_tokens = nn.Parameter(0.02 * torch.randn(num_classes, width)) if class_tokens else None
        self.layer = ClassTokenLayer(width, heads, hidden, dropout)
        self.fc_prob = nn.Linear(width, num_classes)
        self.fc_frame_att = nn.Linear(width, num_classes)

    def forward(
        self, streams: Mapping[str, Tensor], mask: Tensor | None, encode_classes: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Run the branch.

        Args:
            streams: name -> (B, frames * T, width) float.
            mask: (B,T) bool, True = real segment; None where all segments are real.
            encode_classes: whether to compute class probabilities.

        Returns:
            Segment probabilities (B,T,C), modality probabilities (B,C), tokens (B,T,D), and class probabilities (B,C)
            or None.
        """
        projected = [
            project_linearly(projection, streams[name], self.frames[name])
            for name, projection in self.projections.items()
        ]
        segments = self.fusion(torch.cat(projected, dim=-1))
        length = segments.shape[1]
        encoded = self.layer(segments, self.class_tokens, mask, encode_classes)
        tokens, classes = encoded[:, :length], encoded[:, length:]
        segment_probs = self.fc_prob(tokens).sigmoid()
        over_time = masked_softmax_over_time(self.fc_frame_att(tokens), mask)
        class_probs = classes.mean(-1).sigmoid() if classes.shape[1] else None
        return segment_probs, (over_time * segment_probs).sum(1), tokens, class_probs  # eq. 7


class ClassTokenReference(nn.Module):
    """The Reference branch: one self-attention layer per modality, without shared parameters.

    The layer is HAN's without cross-attention (residual, LayerNorm, feed-forward), as in the published code; the paper
    only says "self-attention layer".

    Args:
        streams: all streams; each modality's branch reads its own.
        num_classes: number of classes, C.
        width: width, D, the Anchor's token width.
        class_tokens: with class tokens (eq. 5) or without (Table 4).
        heads: number of attention heads.
        hidden: width of the feed-forward block; D with None.
        dropout: rate, in [0,1).

    Raises:
        ValueError: a modality has no stream, or an option is out of range.
    """

    paper = (
        "Sardari, Mustafa, Jackson, Hilton: CoLeaF: A Contrastive-Collaborative Learning Framework for Weakly "
        "Supervised Audio-Visual Video Parsing. ECCV 2024"
    )
    licence = "none stated"

    def __init__(
        self,
        streams: Mapping[str, StreamSpec],
        num_classes: int,
        width: int,
        class_tokens: bool = True,
        heads: int = 1,
        hidden: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "width": width, "heads": heads}
        sizes |= {} if hidden is None else {"hidden": hidden}
        flags = {"class_tokens": class_tokens}
        require_options("the class-token Reference", sizes=sizes, rates={"dropout": dropout}, flags=flags)
        require_streams("the class-token Reference", streams)
        self.streams = dict(streams)
        self.branches = nn.ModuleDict()
        for modality in MODALITIES:
            own = streams_of(modality, streams)
            self.branches[modality] = UnimodalBranch(
                own, num_classes, width, heads, hidden or width, dropout, class_tokens
            )

    def forward(
        self, *, mask: Tensor | None = None, need_class_probs: bool = True, **streams: Tensor
    ) -> ReferenceOutput:
        """Run both branches.

        Args:
            mask: (B,T) bool, True = real segment; None where all segments are real.
            need_class_probs: False skips the class probabilities.
            streams: name -> (B, frames * T, width) float.

        Returns:
            Probabilities (B,T,M,C) and (B,M,C) in [0,1], and tokens (B,T,M,D); class probabilities (B,M,C), or None
            where they are skipped or the network has no class tokens.

        Raises:
            ValueError: a stream is missing or unknown.
        """
        require_given("the class-token Reference", self.streams, streams)
        segment, modality, tokens, classes = zip(
            *(branch(streams, mask, need_class_probs) for branch in self.branches.values()), strict=True
        )
        return ReferenceOutput(
            segment_probs=torch.stack(segment, dim=2),
            modality_probs=torch.stack(modality, dim=1),
            tokens=torch.stack(tokens, dim=2),
            class_probs=None if classes[0] is None else torch.stack(classes, dim=1),
        )
