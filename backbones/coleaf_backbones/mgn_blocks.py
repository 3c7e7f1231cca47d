"""Pre-norm transformer blocks of MGN, with drop path. Parameter names are those of the published checkpoints.

Shape letters: B videos, N tokens, D width.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Module):
    """Linear, exact GELU, Linear, over the last axis.

    Args:
        width: length of that axis, before and after.
        hidden: length in between.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Multi-head scaled dot-product attention of projected tokens.

    Args:
        query: (B,N,D).
        key: (B,K,D).
        value: (B,K,D).
        heads: number of heads, a divisor of D.

    Returns:
        (B,N,D), before the output projection.
    """
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=heads) for x in (query, key, value))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values.

    Args:
        width: width, D, a multiple of `heads`.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B,N,D) -> (B,N,D)."""
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        return self.proj(attend(query, key, value, self.heads))  # type: ignore[no-any-return]


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., ECCV 2016): in training, a residual branch is left out for a share of the videos.

    What is kept is divided by the share that is kept, so that the mean stays the same.

    Args:
        rate: share of the videos, in [0,1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B,...) -> the same shape."""
        if not self.training or not self.rate:
            return x
        kept = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


class TransformerBlock(nn.Module):
    """`x += Att(LN1 x)`, `x += MLP(LN2 x)`, with drop path on both branches.

    Args:
        width: width, D, a multiple of `heads`.
        heads: number of heads.
        drop_path: rate, in [0,1).
    """

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B,N,D) -> (B,N,D)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]
