"""MGN's blocks against slow loops: assignment and its noise, grouping, transformer, drop path."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from coleaf_backbones.mgn_blocks import DropPath, TransformerBlock
from coleaf_backbones.mgn_grouping import Assignment, EncodedGrouping, Grouping, assign
from torch import Tensor, nn

Array = Any


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def linear(module: nn.Linear, x: Array) -> Array:
    return x @ module.weight.detach().numpy().T + module.bias.detach().numpy()


def norm(module: nn.LayerNorm, x: Array) -> Array:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return scaled * module.weight.detach().numpy() + module.bias.detach().numpy()


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def mlp(module: Any, x: Array) -> Array:
    return linear(module.fc2, gelu(linear(module.fc1, x)))


def attention(query: Array, key: Array, value: Array, heads: int) -> Array:
    """One video, head by head: (N,D), (K,D), (K,D) -> (N,D)."""
    size = query.shape[1] // heads
    parts = []
    for h in range(heads):
        at = slice(h * size, (h + 1) * size)
        parts.append(softmax(query[:, at] @ key[:, at].T / math.sqrt(size), 1) @ value[:, at])
    return np.concatenate(parts, axis=1)


def slow_grouping(m: Any, x: Array, g: Array, kind: str, heads: int) -> tuple[Array, Array]:
    """One video: tokens (S,D) and groups (G,D) -> groups (G,D) and weights (G,S)."""
    x, g = norm(m.norm_x, x), norm(m.norm_tokens, g)
    p = norm(m.norm_post_tokens, np.stack([mlp(m.mlp_inter, g[:, c]) for c in range(g.shape[1])], axis=1))
    pre = m.pre_assign_attn
    q, k, v = linear(pre.attn.q_proj, p), linear(pre.attn.k_proj, x), linear(pre.attn.v_proj, x)
    p = p + linear(pre.attn.proj, attention(q, k, v, heads))
    p = norm(pre.norm_post, p + mlp(pre.mlp, norm(pre.norm2, p)))
    logits = linear(m.assign.q_proj, p) @ linear(m.assign.k_proj, x).T / math.sqrt(x.shape[1])
    weights = softmax(logits, 0)
    if kind == "hard":
        weights = np.array([[float(i == logits[:, s].argmax()) for s in range(len(x))] for i in range(len(p))])
    v, n = linear(m.assign.v_proj, x), np.zeros_like(p)
    for i in range(len(p)):
        n[i] = sum(weights[i, s] * v[s] for s in range(len(x))) / (weights[i].sum() + 1)
    n = linear(m.assign.proj, n) + p
    return n + mlp(m.mlp_channels, norm(m.norm_new_x, n)), weights


def randomised(module: Any) -> Any:
    with torch.no_grad():
        for x in module.parameters():
            x.add_(0.3 * torch.randn_like(x))
    return module.double().eval()


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize(("tokens", "groups"), [(7, 3), (1, 5), (4, 1)])
def test_grouping_by_loops(kind: Any, tokens: int, groups: int) -> None:
    module = randomised(Grouping(groups, 8, 2, kind))
    x, g = torch.randn(2, tokens, 8).double(), torch.randn(2, groups, 8).double()
    with torch.no_grad():
        found, weights = module(x, g)
    for i in range(2):
        expected, expected_weights = slow_grouping(module, x[i].numpy(), g[i].numpy(), kind, heads=2)
        np.testing.assert_allclose(weights[i].numpy(), expected_weights, atol=1e-12)
        np.testing.assert_allclose(found[i].numpy(), expected, atol=1e-10)


def test_transformer_by_loops_over_tokens_and_then_groups() -> None:
    module = randomised(EncodedGrouping(2, 3, 8, 2, "soft", drop_path=0.5))
    x, g = torch.randn(1, 4, 8).double(), torch.randn(1, 3, 8).double()
    with torch.no_grad():
        tokens, groups = module.encode(x, g)
    both = torch.cat([x, g], 1)[0].numpy()
    for block in module.blocks:
        q, k, v = np.split(linear(block.attn.qkv, norm(block.norm1, both)), 3, axis=1)
        both = both + linear(block.attn.proj, attention(q, k, v, 2))
        both = both + mlp(block.mlp, norm(block.norm2, both))
    np.testing.assert_allclose(tokens[0].numpy(), both[:4], atol=1e-10)
    np.testing.assert_allclose(groups[0].numpy(), both[4:], atol=1e-10)


def test_a_hard_assignment_is_exactly_one_group_and_has_the_gradient_of_the_soft_one() -> None:
    logits, weight = torch.randn(3, 5, 7, dtype=torch.float64), torch.randn(3, 5, 7, dtype=torch.float64)
    gradients = []
    for kind in ("soft", "hard"):
        given = logits.clone().requires_grad_()
        weights = assign(given, kind, noisy=False)  # type: ignore[arg-type]
        gradients.append(torch.autograd.grad((weights * weight).sum(), given)[0])
    assert weights.unique().tolist() == [0.0, 1.0]
    assert torch.equal(weights.argmax(1), logits.argmax(1))
    assert torch.equal(weights.sum(1), torch.ones(3, 7, dtype=torch.float64))
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0])


def test_gumbel_noise_draws_each_group_with_its_probability() -> None:
    """20,000 draws: each share lies within five deviations."""
    probs, n = torch.tensor([0.6, 0.3, 0.1]), 20_000
    logits = probs.log()[None, :, None].expand(1, 3, n)
    drawn = assign(logits, "hard", noisy=True)
    assert drawn.unique().tolist() == [0.0, 1.0]
    shares = drawn[0].mean(1)
    assert ((shares - probs).abs() < 5 * (probs * (1 - probs) / n).sqrt()).all()
    assert torch.equal(assign(logits, "hard", noisy=False)[0, 0], torch.ones(n))


def test_noise_acts_in_training_alone_and_on_hard_assignments_alone() -> None:
    groups, x = torch.randn(2, 4, 8), torch.randn(2, 30, 8)
    for kind in ("soft", "hard"):
        module = Assignment(8, kind)  # type: ignore[arg-type]
        trained = [module.train()(groups, x)[1] for _ in range(2)]
        evaluated = [module.eval()(groups, x)[1] for _ in range(2)]
        assert torch.equal(*evaluated)
        assert torch.equal(*trained) == (kind == "soft")


def test_the_gradient_of_soft_grouping_equals_differences() -> None:
    module = randomised(Grouping(2, 8, 2, "soft"))
    x, g = (torch.randn(1, n, 8, dtype=torch.float64, requires_grad=True) for n in (3, 2))
    assert torch.autograd.gradcheck(lambda a, b: module(a, b), (x, g), atol=1e-6, rtol=1e-4)


def test_assignments_are_made_in_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        groups, weights = Grouping(4, 8, 2, "hard").train()(torch.randn(2, 9, 8), torch.randn(2, 4, 8))
    assert weights.dtype == torch.float32
    assert weights.unique().tolist() == [0.0, 1.0]
    assert torch.isfinite(groups).all()


def test_drop_path_leaves_out_whole_videos_and_keeps_the_mean() -> None:
    """20,000 videos: the share lies within five deviations."""
    n, rate = 20_000, 0.3
    drop, x = DropPath(rate), torch.ones(n, 2, 3)
    y = drop.train()(x)
    dropped = (y == 0).flatten(1)
    assert torch.equal(dropped.any(1), dropped.all(1))
    assert abs(dropped[:, 0].double().mean().item() - rate) < 5 * math.sqrt(rate * (1 - rate) / n)
    torch.testing.assert_close(y[~dropped[:, 0]], torch.full((2, 3), 1 / 0.7).expand(int((~dropped[:, 0]).sum()), 2, 3))
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_drop_path_is_on_both_branches_of_a_block() -> None:
    """Of 400 videos some lose both branches, some either and some none."""
    block = TransformerBlock(8, 2, drop_path=0.5).double()
    x = torch.randn(1, 3, 8).double().expand(400, 3, 8)
    with torch.no_grad():
        y = block.train()(x)

        def with_branches(attends: int, feeds: int) -> Tensor:
            z = x[0] + attends * 2 * block.attn(block.norm1(x[:1]))[0]
            return z + feeds * 2 * block.mlp(block.norm2(z))

        kinds = [torch.isclose(y, with_branches(*kind)).flatten(1).all(1) for kind in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert torch.equal(torch.stack(kinds).sum(0), torch.ones(400, dtype=torch.int64))
    assert all(60 < int(kind.sum()) < 140 for kind in kinds)
