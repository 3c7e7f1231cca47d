"""Grouping, the block by which MGN gathers tokens into groups, softly or each into one.

Parameter names are those of the published checkpoints. Shape letters: B videos, S tokens to be grouped, G groups,
D width.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_backbones.mgn_blocks import MLP, TransformerBlock, attend

Kind = Literal["soft", "hard"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OTHER: dict[Kind, Kind] = {"soft": "hard", "hard": "soft"}


def assign(logits: Tensor, kind: Kind, *, noisy: bool) -> Tensor:
    """Weights by which each token belongs to the groups.

    Args:
        logits: (B,G,S), similarity of group and token.
        kind: "soft", a softmax over the groups; or "hard", 1 for the group of the largest logit and 0 for the others,
            with the gradient of the softmax (straight-through).
        noisy: with Gumbel noise (temperature 1) on the logits of a hard assignment.

    Returns:
        (B,G,S) in [0,1], of sum 1 over the groups, in at least float32.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # half-precision noise could be infinite
    if kind == "soft":
        return logits.softmax(dim=1)
    soft = F.gumbel_softmax(logits, tau=1.0, dim=1) if noisy else logits.softmax(dim=1)
    chosen = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return chosen + (soft - soft.detach())  # the bracket is exactly 0, so values are exactly 0 or 1


class CrossAttention(nn.Module):
    """Multi-head attention of groups to tokens.

    Args:
        width: width, D, a multiple of `heads`.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, groups: Tensor, x: Tensor) -> Tensor:
        """Groups (B,G,D) and tokens (B,S,D) -> (B,G,D)."""
        mixed = attend(self.q_proj(groups), self.k_proj(x), self.v_proj(x), self.heads)
        return self.proj(mixed)  # type: ignore[no-any-return]


class PreAssignment(nn.Module):
    """What groups learn of the tokens before these are assigned: attention, MLP, LayerNorm.

    Args:
        width: width, D, a multiple of `heads`.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, 4 * width)
        self.norm_post = nn.LayerNorm(width)

    def forward(self, groups: Tensor, x: Tensor) -> Tensor:
        """Groups (B,G,D) and tokens (B,S,D) -> groups (B,G,D)."""
        groups = groups + self.attn(groups, x)
        return self.norm_post(groups + self.mlp(self.norm2(groups)))  # type: ignore[no-any-return]


class Assignment(nn.Module):
    """Assign tokens to groups, and add to each group the mean of its tokens.

    The mean has 1 added to its divisor, as published, so a group of few tokens gets little.

    Args:
        width: width, D.
        kind: see `assign`; a hard assignment has Gumbel noise in training, and none in evaluation.
    """

    def __init__(self, width: int, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, groups: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Groups (B,G,D) and tokens (B,S,D) -> groups (B,G,D), and the weights (B,G,S) of `assign`."""
        logits = self.q_proj(groups) @ self.k_proj(x).mT / groups.shape[-1] ** 0.5
        weights = assign(logits, self.kind, noisy=self.training)
        value = self.v_proj(x)
        mean = (weights / (weights.sum(-1, keepdim=True) + 1)).to(value.dtype) @ value
        return groups + self.proj(mean), weights


class Grouping(nn.Module):
    """Gather tokens into groups.

    Args:
        groups: number of groups, G, the width of one of its layers.
        width: width, D, a multiple of `heads`.
        heads: number of heads.
        kind: "soft" or "hard" assignment.
    """

    def __init__(self, groups: int, width: int, heads: int, kind: Kind) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width)
        self.mlp_inter = MLP(groups, max(1, width // 2))
        self.norm_post_tokens = nn.LayerNorm(width)
        self.norm_x = nn.LayerNorm(width)
        self.pre_assign_attn = PreAssignment(width, heads)
        self.assign = Assignment(width, kind)
        self.norm_new_x = nn.LayerNorm(width)
        self.mlp_channels = MLP(width, 4 * width)

    def forward(self, x: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B,S,D) and groups (B,G,D) -> groups (B,G,D), and the weights (B,G,S) of `assign`."""
        x = self.norm_x(x)
        mixed = self.mlp_inter(self.norm_tokens(groups).mT).mT  # over the group axis, channel by channel
        groups = self.pre_assign_attn(self.norm_post_tokens(mixed), x)
        groups, weights = self.assign(groups, x)
        return groups + self.mlp_channels(self.norm_new_x(groups)), weights


class EncodedGrouping(nn.Module):
    """A transformer over tokens and groups together, then `Grouping` of the former into the latter.

    Args:
        layers: number of transformer blocks.
        groups: number of groups, G.
        width: width, D, a multiple of `heads`.
        heads: number of heads.
        kind: "soft" or "hard" assignment.
        drop_path: rate of the transformer's residual branches, in [0,1).
    """

    def __init__(self, layers: int, groups: int, width: int, heads: int, kind: Kind, drop_path: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, drop_path) for _ in range(layers))
        self.grouping = Grouping(groups, width, heads, kind)

    def encode(self, x: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B,S,D) and groups (B,G,D) -> both, after the transformer."""
        both = torch.cat([x, groups], dim=1)
        for block in self.blocks:
            both = block(both)
        return both[:, : x.shape[1]], both[:, x.shape[1] :]
