"""HAN, the Hybrid Attention Network (Tian, Li, Xu, ECCV 2020), as an Anchor.

Parameter names are those of the published checkpoints; parameters that the published code never uses are left out.
Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from coleaf_backbones.attention import Attention, FeedForward, require_divisor, require_options
from coleaf_backbones.mmil import MMILAnchor
from coleaf_framework.protocol import LLP_STREAMS, StreamSpec


def exchange_modalities(x: Tensor) -> Tensor:
    """Both modalities as one batch (2B,...), audio first -> the same, visual first."""
    return x.reshape(2, -1, *x.shape[1:]).flip(0).flatten(0, 1)


class HybridAttentionLayer(FeedForward):
    """Eq. 1-2 of CoLeaF: x + cross-attention + self-attention, then the feed-forward block.

    Both modalities share the weights.

    Args:
        width: width, D.
        heads: number of attention heads.
        hidden: width of the feed-forward block.
        dropout: rate, in [0,1).
        cross_attention: False leaves cross-attention out.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, cross_attention: bool = True) -> None:
        super().__init__(width, hidden, dropout)
        self.self_attn = Attention(width, heads, dropout)
        self.cm_attn = Attention(width, heads, dropout) if cross_attention else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens of both modalities, audio first, (2B,T,D), and their mask (2B,T) or None -> (2B,T,D)."""
        if self.cm_attn is None:
            return self.self_attention_only(x, mask)
        return self.feed_forward(x + self.dropout(self._self(x, mask)) + self.dropout(self._cross(x, mask)))

    def self_attention_only(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`forward` without cross-attention."""
        return self.feed_forward(x + self.dropout(self._self(x, mask)))

    def with_and_without_cross(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`self_attention_only` and `forward` of the same tokens, each with its own dropout."""
        query, key, value = self.self_attn.project(x)
        value = self.self_attn.project_values(value)
        one, two = (x + self.dropout(self.self_attn.attend_projected(query, key, value, mask)) for _ in range(2))
        return self.feed_forward(one), self.feed_forward(two + self.dropout(self._cross(x, mask)))

    def _self(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = self.self_attn.project(x)
        return self.self_attn.attend(query, key, value, mask)

    def _cross(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Each modality's tokens attend to the other's."""
        assert self.cm_attn is not None
        query, key, value = self.cm_attn.project(x)
        mask = None if mask is None else exchange_modalities(mask)
        return self.cm_attn.attend(query, exchange_modalities(key), exchange_modalities(value), mask)


class HybridAttentionEncoder(nn.Module):
    """A stack of hybrid attention layers; both modalities are processed as one batch, since they share weights."""

    def __init__(
        self, layers: int, width: int, heads: int, hidden: int, dropout: float, cross_attention: bool = True
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            HybridAttentionLayer(width, heads, hidden, dropout, cross_attention) for _ in range(layers)
        )

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor | None = None) -> Tensor:
        """Input tokens, two (B,T,D) -> output tokens (B,T,M,D).

        Args:
            audio: (B,T,D).
            visual: (B,T,D).
            mask: (B,T) bool, True = real segment; (B,T,M) where the modalities' differ; None where all are real.
        """
        x, mask = self._join(audio, visual, mask)
        for layer in self.layers:
            x = layer(x, mask)
        return self._split(x)

    def without_cross(self, audio: Tensor, visual: Tensor, mask: Tensor | None = None) -> Tensor:
        """`forward` without cross-attention."""
        x, mask = self._join(audio, visual, mask)
        for layer in self.layers:
            x = cast(HybridAttentionLayer, layer).self_attention_only(x, mask)
        return self._split(x)

    def with_and_without_cross(
        self, audio: Tensor, visual: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Output tokens without and with cross-attention, two (B,T,M,D)."""
        x, mask = self._join(audio, visual, mask)
        first, *others = (cast(HybridAttentionLayer, layer) for layer in self.layers)
        alone, crossed = first.with_and_without_cross(x, mask)
        for layer in others:
            alone, crossed = layer.self_attention_only(alone, mask), layer(crossed, mask)
        return self._split(alone), self._split(crossed)

    @staticmethod
    def _join(audio: Tensor, visual: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if mask is not None:
            mask = mask.repeat(2, 1) if mask.ndim == 2 else torch.cat(mask.unbind(2))
        return torch.cat([audio, visual]), mask

    @staticmethod
    def _split(x: Tensor) -> Tensor:
        return rearrange(x, "(m b) t d -> b t m d", m=2)


class HAN(MMILAnchor):
    """HAN with its attentive pooling (CoLeaF eq. 1-4) and its guided loss.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Each is projected; several
            of one modality are then concatenated and fused. Published checkpoints have LLP's three.
        width: width, D, 512 as published.
        layers: number of encoder layers, 1 as published.
        heads: number of attention heads, 1 as published.
        hidden: width of the feed-forward block; D with None.
        dropout: rate, in [0,1).
        cross_attention: False leaves cross-attention out, which gives unimodal tokens (Table 1 of CoLeaF).

    Raises:
        ValueError: a modality has no stream, or an option is out of range.

    Example:
        >>> streams = {"clap": StreamSpec(6, "audio"), "clip": StreamSpec(8, "visual", frames=2)}
        >>> han = HAN(num_classes=4, streams=streams, width=8)
        >>> han(clap=torch.randn(3, 5, 6), clip=torch.randn(3, 10, 8)).video_probs.shape
        torch.Size([3, 4])
    """

    paper = (
        "Tian, Li, Xu: Unified Multisensory Perception: Weakly-Supervised Audio-Visual Video Parsing. ECCV 2020, "
        "arXiv:2007.10558"
    )
    licence = "none stated"
    published_training: Mapping[str, object] = {
        "epochs": 40,
        "batch_size": 16,
        "learning_rate": 3e-4,
        "lr_step": 10,
        "lr_gamma": 0.1,
        "monitor": ("segment/Type@AV",),
    }

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        width: int = 512,
        layers: int = 1,
        heads: int = 1,
        hidden: int | None = None,
        dropout: float = 0.1,
        cross_attention: bool = True,
    ) -> None:
        sizes = {"num_classes": num_classes, "width": width, "layers": layers, "heads": heads}
        sizes |= {} if hidden is None else {"hidden": hidden}
        flags = {"cross_attention": cross_attention}
        owner = type(self).__name__  # MA and JoMoLD are the same network
        require_options(owner, sizes=sizes, rates={"dropout": dropout}, flags=flags)
        require_divisor(owner, width, heads=heads)
        super().__init__(owner, num_classes, streams, width)
        self.hat_encoder = HybridAttentionEncoder(layers, width, heads, hidden or width, dropout, cross_attention)
        self.add_classifiers(width)

    def encode(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> Tensor:
        """Input tokens of either modality, two (B,T,D) -> output tokens (B,T,M,D)."""
        return self.hat_encoder(audio, visual, mask)  # type: ignore[no-any-return]
