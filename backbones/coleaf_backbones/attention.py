"""Attention blocks shared by the networks here. Shape letters: see `coleaf_framework.protocol`."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017).

    Parameters carry the names of `torch.nn.MultiheadAttention`, so that published weights load; projections
    are callable by themselves, so that what all videos share is projected once.

    Args:
        width: D, a multiple of `heads`.
        heads: number of heads.
        dropout: on the attention weights, in [0,1).
    """

    def __init__(self, width: int, heads: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project_query(self, x: Tensor) -> Tensor:
        """Queries of `x` (..., D): the same shape."""
        width = x.shape[-1]
        return F.linear(x, self.in_proj_weight[:width], self.in_proj_bias[:width])

    def project_key_value(self, x: Tensor) -> Tensor:
        """Keys and values of `x` (..., D), side by side: (..., 2D)."""
        width = x.shape[-1]
        return F.linear(x, self.in_proj_weight[width:], self.in_proj_bias[width:])

    def attend(self, query: Tensor, key_value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention over projected tokens.

        Args:
            query: (B,N,D), projected. key_value: (B,K,2D), projected.
            mask: (B,K) bool, True where a key may be attended to; each row has at least one.

        Returns: (B,N,D).
        """
        q = rearrange(query, "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(key_value, "b k (two h d) -> two b h k d", two=2, h=self.heads)
        attn_mask = None if mask is None else mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=dropout)
        return self.out_proj(rearrange(mixed, "b h n d -> b n (h d)"))  # type: ignore[no-any-return]

    def forward(self, query: Tensor, key_value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of tokens `query` (B,N,D) over tokens `key_value` (B,K,D); `mask` as in `attend`."""
        return self.attend(self.project_query(query), self.project_key_value(key_value), mask)


class FeedForward(nn.Module):
    """What follows attention in HAN's layer: residual, LayerNorm, ReLU feed-forward, residual, LayerNorm.

    A base class, not a submodule: published checkpoints name these parameters on the layer itself.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        """(B,N,D) after attention and its residual -> (B,N,D)."""
        x = self.norm1(x)
        return self.norm2(  # type: ignore[no-any-return]
            x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x)))))
        )


def average_frames(x: Tensor, frames: int) -> Tensor:
    """(B, frames * T, width) -> (B,T,width), the mean of each segment's frames."""
    return x if frames == 1 else rearrange(x, "b (t k) d -> b t k d", k=frames).mean(2)


def masked_softmax_over_time(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over dim 1 of (B,T,...), in which masked segments get no weight."""
    if mask is not None:
        logits = logits.masked_fill(~mask.view(*mask.shape, *[1] * (logits.ndim - 2)), -torch.inf)
    return logits.softmax(dim=1)
