"""Attention blocks shared by the networks here. Shape letters: see `coleaf_framework.protocol`."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


def require_options(
    owner: str, *, sizes: Mapping[str, Any], rates: Mapping[str, Any], flags: Mapping[str, Any]
) -> None:
    """Check a constructor's options.

    Args:
        owner: whose they are, for the message.
        sizes: whole numbers of at least 1. rates: of dropout, in [0,1). flags: True or False.

    Raises:
        ValueError: one is something else; names it.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{owner}: {name}={value!r}: expected a whole number of at least 1")
    for name, value in rates.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ValueError(f"{owner}: {name}={value!r}: expected a rate in [0, 1)")
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{owner}: {name}={value!r}: expected true or false")


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017).

    Parameters carry the names of `torch.nn.MultiheadAttention`, so that published weights load; projections
    are callable by themselves, so that what is shared is projected once.

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

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of `x` (..., D): each the same shape."""
        query, key, value = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return query, key, value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention over projected tokens.

        Args:
            query: (B,N,D). key, value: (B,K,D).
            mask: (B,K) bool, True where a key may be attended to; each row has at least one.

        Returns:
            (B,N,D).
        """
        mixed = self._mix(query, key, rearrange(value, "b k (h d) -> b h k d", h=self.heads), mask)
        return self.out_proj(rearrange(mixed, "b h n d -> b n (h d)"))  # type: ignore[no-any-return]

    def project_values(self, value: Tensor) -> Tensor:
        """Projected values (..., K, D) as they leave `out_proj`, each head's part: (..., H, K, D).

        Mixing values and `out_proj` are both linear, so the projection may come first. That saves arithmetic where
        several queries share values: class tokens, or two passes over the same tokens.
        """
        parts = zip(value.chunk(self.heads, dim=-1), self.out_proj.weight.chunk(self.heads, dim=1), strict=True)
        return torch.stack([F.linear(part, weight) for part, weight in parts], dim=-3)

    def attend_projected(self, query: Tensor, key: Tensor, projected: Tensor, mask: Tensor | None = None) -> Tensor:
        """`attend` with values (B,H,K,D) from `project_values`: the same answer up to rounding."""
        return self._mix(query, key, projected, mask).sum(1) + self.out_proj.bias

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        q, k = (rearrange(x, "b n (h d) -> b h n d", h=self.heads) for x in (query, key))
        attn_mask = None if mask is None else mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, value, attn_mask=attn_mask, dropout_p=dropout)


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, four times faster on a CPU, where drawing its random numbers takes as long as a projection.

    There 16 random bits decide on an element instead of 64, so the probability is the next multiple of 2^-16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        dropped = round(self.p * 2**16)
        if x.device.type != "cpu" or not self.training or not 0 < dropped < 2**16:
            return super().forward(x)
        whole = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        bits = whole.view(torch.int16)[: x.numel()].view(x.shape)
        return x * (bits >= dropped - 2**15).to(x.dtype).mul_(2**16 / (2**16 - dropped))


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
        self.dropout = Dropout(dropout)

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
