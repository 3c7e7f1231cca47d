"""RealBatchNorm: PyTorch's batch normalisation, of real positions alone."""

from __future__ import annotations

import pytest
import torch
from coleaf_backbones.real_batch_norm import RealBatchNorm
from torch import Tensor, nn


def test_batch_normalisation_without_padding_is_pytorchs() -> None:
    ours, theirs = RealBatchNorm(5).double(), nn.BatchNorm1d(5).double()
    for _ in range(2):
        x = (3 + 2 * torch.randn(4, 5, 7, dtype=torch.float64)).requires_grad_()
        weights = torch.randn_like(x)
        results = []
        for norm in (ours, theirs):
            y = norm(x)
            results.append((y, *torch.autograd.grad((weights * y).sum(), [x, norm.weight, norm.bias])))
        torch.testing.assert_close(*results)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_batch_normalisation_learns_from_real_positions_alone() -> None:
    ours, theirs = RealBatchNorm(5), nn.BatchNorm1d(5)
    x, lengths = torch.randn(3, 5, 6), (6, 2, 1)
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    expected = theirs(torch.cat([x[i, :, :n] for i, n in enumerate(lengths)], dim=1)[None])
    y = ours(x, real)
    torch.testing.assert_close(torch.cat([y[i, :, :n] for i, n in enumerate(lengths)], dim=1)[None], expected)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    louder = ours(torch.where(real[:, None], x, 1e3), real)
    torch.testing.assert_close(louder.masked_fill(~real[:, None], 0), y.masked_fill(~real[:, None], 0))


@pytest.mark.parametrize("real", [None, torch.ones(1, 1, dtype=torch.bool)])
def test_a_single_position_is_normalised_by_the_running_statistics(real: Tensor | None) -> None:
    norm, x = RealBatchNorm(5), torch.randn(1, 5, 1)
    nn.init.normal_(norm.running_mean)
    expected, before = x - norm.running_mean[:, None], norm.running_mean.clone()
    torch.testing.assert_close(norm(x, real), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(norm.running_mean, before)
