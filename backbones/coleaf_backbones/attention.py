"""Attention blocks shared by the networks of this package. Shape letters: see `coleaf_framework.protocol`."""

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
        owner: name of the network, for error messages.
        sizes: name -> value, which must be a whole number of at least 1.
        rates: name -> dropout rate, which must be in [0,1).
        flags: name -> value, which must be True or False.

    Raises:
        ValueError: an option has another value; names it.
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


def require_divisor(owner: str, width: int, **heads: int) -> None:
    """Check that a width can be divided among attention heads.

    Args:
        owner: name of the network, for error messages.
        width: width, D.
        heads: name of an option -> number of heads.

    Raises:
        ValueError: a number does not divide the width; names it.
    """
    for name, value in heads.items():
        if width % value:
            raise ValueError(f"{owner}: width={width} is not a multiple of {name}={value}")


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017).

    Parameters have the names of `torch.nn.MultiheadAttention`, so that published weights load. Projection and attention
    are separate methods, so that tokens used several times are projected once.

    Args:
        width: width, D, a multiple of `heads`.
        heads: number of heads H.
        dropout: rate on the attention weights, in [0,1).

    Raises:
        ValueError: the width is not a multiple of the number of heads.
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
        """Queries, keys and values of `x` (..., D), each of the same shape."""
        query, key, value = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return query, key, value

    def project_query(self, x: Tensor) -> Tensor:
        """Queries alone of `x` (..., D), for attention to other tokens."""
        width = len(self.in_proj_bias) // 3
        return F.linear(x, self.in_proj_weight[:width], self.in_proj_bias[:width])

    def project_memory(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values alone of `x` (..., D), for tokens that others attend to."""
        width = len(self.in_proj_bias) // 3
        key, value = F.linear(x, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, dim=-1)
        return key, value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention over projected tokens.

        Args:
            query: (B,N,D), from `project`.
            key: (B,K,D), from `project`.
            value: (B,K,D), from `project`.
            mask: (B,K) bool, True where a key may be attended to; at least one per row.

        Returns:
            (B,N,D).
        """
        mixed = self._mix(query, key, rearrange(value, "b k (h d) -> b h k d", h=self.heads), mask)
        return self.out_proj(rearrange(mixed, "b h n d -> b n (h d)"))  # type: ignore[no-any-return]

    def project_values(self, value: Tensor) -> Tensor:
        """Apply `out_proj` to values (..., K, D) before attention; returns each head's part, (..., H, K, D).

        Weighting the values and `out_proj` are both linear, so they can be exchanged. That saves FLOPs where the same
        values are attended to several times: class tokens, or two passes over the same tokens.
        """
        parts = zip(value.chunk(self.heads, dim=-1), self.out_proj.weight.chunk(self.heads, dim=1), strict=True)
        return torch.stack([F.linear(part, weight) for part, weight in parts], dim=-3)

    def attend_projected(self, query: Tensor, key: Tensor, projected: Tensor, mask: Tensor | None = None) -> Tensor:
        """`attend` with values (B,H,K,D) from `project_values`; equal to `attend` up to rounding."""
        return self._mix(query, key, projected, mask).sum(1) + self.out_proj.bias

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        q, k = (rearrange(x, "b n (h d) -> b h n d", h=self.heads) for x in (query, key))
        attn_mask = None if mask is None else mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, value, attn_mask=attn_mask, dropout_p=dropout)


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with a four times faster CPU path, where drawing random numbers takes as long as a projection.

    On a CPU it draws 16 instead of 64 random bits per element, which rounds the rate to a multiple of 2^-16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        dropped = round(self.p * 2**16)
        ours = x.device.type == "cpu" and self.training and 0 < dropped < 2**16
        if not ours or torch.compiler.is_compiling():  # the compiler cannot trace `random_` with bounds
            return super().forward(x)
        whole = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        bits = whole.view(torch.int16)[: x.numel()].view(x.shape)
        return x * (bits >= dropped - 2**15).to(x.dtype).mul_(2**16 / (2**16 - dropped))


class FeedForward(nn.Module):
    """The part of HAN's layer after attention: LayerNorm, ReLU feed-forward block with residual, LayerNorm.

    A base class instead of a submodule, since published checkpoints have these parameters on the layer itself.

    Args:
        width: width, D.
        hidden: width of the feed-forward block.
        dropout: rate, in [0,1).
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Tokens (B,N,D), after attention and its residual connection -> (B,N,D)."""
        x = self.norm1(x)
        return self.norm2(  # type: ignore[no-any-return]
            x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x)))))
        )


def masked_softmax_over_time(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over dim 1 of (B,T,...), in which masked segments get weight 0."""
    if mask is not None:
        logits = logits.masked_fill(~mask.view(*mask.shape, *[1] * (logits.ndim - 2)), -torch.inf)
    return logits.softmax(dim=1)
