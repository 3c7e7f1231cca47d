"""Mixup of videos (Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018): features and labels of two videos, combined.

    x = l x_i + (1 - l) x_j,    y = l y_i + (1 - l) y_j,    l ~ Beta(alpha, alpha)

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from coleaf_framework._machine import sent
from coleaf_framework.protocol import Batch


def mix_videos(batch: Batch, alpha: float) -> Batch:
    """Each video of a batch mixed with another of the same length.

    One l for the batch, at least 0.5 (it or 1 - l): each video stays the larger part of itself. Partners are a random
    permutation among videos with the same real segments: with another length, a part of a video would be mixed with
    padding. A video whose length no other has stays as it is.

    Streams, `labels`, `modality_labels` and `pseudo_labels` are mixed; pseudo-labels of a mixture are valid where those
    of both videos are. `segment_labels` are left out: the truth of a mixture is not binary. `mask`, `ids` and
    `fraction` stay.

    Random numbers come from PyTorch's global generator on the CPU, which a training run seeds for each step and rank.

    Args:
        batch: any.
        alpha: of the Beta distribution, above 0; small values mix little.

    Returns:
        A batch of the same shape, whose labels are in [0,1] instead of {0,1}.

    Raises:
        ValueError: alpha is not above 0.

    Example:
        >>> _ = torch.manual_seed(1)
        >>> batch = Batch({"audio": torch.tensor([[[0.0]], [[1.0]]])}, labels=torch.tensor([[0.0], [1.0]]))
        >>> mixed = mix_videos(batch, alpha=1.0)
        >>> torch.equal(mixed.streams["audio"].flatten(), mixed.labels.flatten())
        True
    """
    if alpha <= 0:
        raise ValueError(f"mixup's alpha must be above 0, got {alpha}")
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    share = max(share, 1 - share)
    partner = _partners(batch.mask, len(batch.labels), batch.labels.device)

    def mixed(x: Tensor) -> Tensor:
        return share * x + (1 - share) * x[partner]

    said = batch.pseudo_label_mask
    return replace(
        batch,
        streams={name: mixed(x) for name, x in batch.streams.items()},
        labels=mixed(batch.labels),
        segment_labels=None,
        modality_labels=_where_given(mixed, batch.modality_labels),
        pseudo_labels=_where_given(mixed, batch.pseudo_labels),
        pseudo_label_mask=None if said is None else said & said[partner],
    )


def _where_given(change: Callable[[Tensor], Tensor], x: Tensor | None) -> Tensor | None:
    return None if x is None else change(x)


def _partners(mask: Tensor | None, videos: int, device: torch.device) -> Tensor:
    """Each video's partner: a random permutation (B,) that keeps every group of videos with equal masks."""
    order = sent(torch.randperm(videos), device)
    if mask is None:
        return order
    # Equal masks have equal sums of random numbers, others almost surely not; found without waiting for the device.
    key = (mask.long() * sent(torch.randint(2**40, (mask.shape[1],)), device)).sum(1)
    partner = torch.empty_like(order)
    partner[key.argsort(stable=True)] = order[key[order].argsort(stable=True)]
    return partner
