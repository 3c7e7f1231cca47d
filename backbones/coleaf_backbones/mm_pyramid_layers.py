"""Layers of MM-Pyramid: attention within a window of segments, and a dilated convolution over time.

Parameter names are those of the published checkpoints. Shape letters: see `coleaf_framework.protocol`; N and K are
numbers of queries and keys, H is the number of heads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_backbones.attention import Dropout

# Temporal blocks are published with two names for each convolution: it is a member of its own and of a sequence.
SECOND_NAMES = {"net.0.": "conv1.", "net.2.": "conv2."}


def visible_segments(segments: int, reaches: list[int], mask: Tensor | None, device: torch.device) -> list[Tensor]:
    """Which segments each segment attends to: those up to `reach` away that are real, and always itself.

    Itself also where it is padding, since attention to nothing at all is NaN in some of PyTorch's implementations. They
    are made anew in every forward: tensors kept from an earlier one could be inference tensors, which cannot be trained
    with, and what they cost is small beside one projection.

    Args:
        segments: T.
        reaches: number of segments to either side, one per level.
        mask: (B,T) bool, True = real segment; None where all segments are real.
        device: of the masks.

    Returns:
        Per level bool of shape (B,1,T,T), or (1,1,T,T) without a mask; True where query n may attend to key k.
    """
    position = torch.arange(segments, device=device)
    distance = (position[:, None] - position).abs()[None, None]
    if mask is None:
        return [distance <= reach for reach in reaches]
    usable = mask[:, None, None, :] | (distance == 0)
    return [(distance <= reach) & usable for reach in reaches]


def without_second_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which `net.0` is called `conv1`, and `net.2` `conv2`.

    Where both names are there and hold different tensors, that of the second name is kept: PyTorch loads it last.

    Args:
        tensors: name -> tensor, of temporal blocks or of networks that have some.
    """
    kept = dict(tensors)
    for name, x in tensors.items():
        for second, first in SECOND_NAMES.items():
            before, found, parameter = name.rpartition(second)
            if found and parameter in ("weight", "bias"):
                del kept[name]
                kept[before + first + parameter] = x
    return kept


class SeparateAttention(nn.Module):
    """Multi-head attention in which queries come from other tokens than keys and values.

    Args:
        width: width, D, a multiple of `heads`.
        heads: number of heads H.
        dropout: rate on the attention weights, in [0,1).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(4))  # query, key, value, output

    def forward(self, query: Tensor, context: Tensor, seen: Tensor | None) -> Tensor:
        """Attend from `query` to `context`.

        Args:
            query: (...,N,D).
            context: (...,K,D).
            seen: bool that broadcasts to (...,H,N,K), True where a query may attend to a key; None for everywhere.

        Returns:
            (...,N,D).
        """
        q, k, v = (
            rearrange(linear(x), "... n (h d) -> ... h n d", h=self.heads)
            for linear, x in zip(self.linears, (query, context, context), strict=False)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        return self.linears[3](rearrange(mixed, "... h n d -> ... n (h d)"))  # type: ignore[no-any-return]


class TransformerLayer(nn.Module):
    """z = q + Att(LN(q), k, v), then z + FF(LN(z)): of the attention's inputs, only queries are normalised.

    Args:
        width: width, D.
        heads: number of attention heads.
        hidden: width of the feed-forward block.
        dropout: rate inside the feed-forward block and before either sum, in [0,1).
        attention_dropout: rate on the attention weights, in [0,1).
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.self_attn = SeparateAttention(width, heads, attention_dropout)
        w_1, w_2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.feed_forward = nn.Sequential(OrderedDict(w_1=w_1, relu=nn.ReLU(), dropout=Dropout(dropout), w_2=w_2))
        self.sublayer = nn.ModuleList(nn.Sequential(OrderedDict(norm=nn.LayerNorm(width))) for _ in range(2))
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, context: Tensor, seen: Tensor | None = None) -> Tensor:
        """Queries (...,N,D), context (...,K,D) for keys and values, `seen` as `SeparateAttention` -> (...,N,D)."""
        z = query + self.dropout(self.self_attn(self.sublayer[0](query), context, seen))
        return z + self.dropout(self.feed_forward(self.sublayer[1](z)))  # type: ignore[no-any-return]


class TemporalBlock(nn.Module):
    """relu(y + conv(relu(dilated conv(y)))) along time, with kernels of 3 and 1.

    State dicts that call the convolutions `net.0` and `net.2` load too; see `without_second_names`.

    Args:
        width: width, D.
        reach: distance in segments between the dilated kernel's taps, at least 1.
    """

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, padding=reach, dilation=reach)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, y: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens (B,T,D), mask (B,T) bool, True = real segment, or None -> (B,T,D)."""
        x = y if mask is None else y.masked_fill(~mask[:, :, None], 0)  # as the convolution pads beyond the ends
        x = self.conv2(F.relu(self.conv1(rearrange(x, "b t d -> b d t"))))
        return F.relu(y + rearrange(x, "b d t -> b t d"))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *arguments: Any) -> None:
        own = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(prefix)}
        state_dict.update(without_second_names(own))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
