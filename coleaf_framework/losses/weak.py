"""Losses and pooling for weak labels (CoLeaF, ECCV 2024, section 3). Shape letters: see `protocol.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from coleaf_framework.losses._precision import in_float32

EPS = 1e-7


@in_float32
def binary_cross_entropy(probs: Tensor, targets: Tensor) -> Tensor:
    """BCE of probabilities in [0,1] against targets in [0,1], the mean over all elements.

    Probabilities are clamped to [1e-7, 1 - 1e-7]: a sum of attention weights may exceed 1 by rounding, where
    torch's own function stops the program. NaN stays NaN, so that the trainer can name the term.

    Returns: scalar, at least 0.
    """
    p = probs.clamp(EPS, 1 - EPS)
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()


@in_float32
def modality_cross_entropy(probs: Tensor, targets: Tensor) -> Tensor:
    """Sum over modalities of BCE, as in L_video of the Reference (paper, after eq. 7).

    Args:
        probs: (B,M,C) in [0,1].
        targets: (B,C) weak labels, or (B,M,C) modality labels, in [0,1].

    Returns: scalar; each modality's BCE is a mean over videos and classes.
    """
    if targets.ndim == probs.ndim - 1:
        targets = targets.unsqueeze(1)
    return probs.shape[1] * binary_cross_entropy(probs, targets.expand_as(probs))


@in_float32
def asymmetric_focal_loss(probs: Tensor, targets: Tensor) -> Tensor:
    """The Reference's loss in the authors' code: a focal BCE that goes easy on classes that are absent.

    -sum w (y log p + (1 - y) log q) with q = min(1 - p + 0.05, 1) and w = 1 - (p y + q (1 - y)), without gradient
    through w; logarithms of at least 1e-8.

    Args:
        probs: (B,M,C) in [0,1].
        targets: (B,M,C) in [0,1].

    Returns: (M,), at least 0, each modality's sum over videos and classes.
    """
    absent = (1 - probs + 0.05).clamp(max=1)
    weight = 1 - (probs * targets + absent * (1 - targets)).detach()
    log_likelihood = targets * probs.clamp(min=1e-8).log() + (1 - targets) * absent.clamp(min=1e-8).log()
    return -(weight * log_likelihood).sum((0, 2))


@in_float32
def pool_segments(segment_probs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Modality probabilities by linear softmax pooling, sum_t p^2 / sum_t p (Wang, Li, Metze, ICASSP 2019).

    Attention-free: each segment is weighted by its own probability. Used for an Anchor that has no
    modality probabilities of its own.

    Args:
        segment_probs: (B,T,M,C) in [0,1].
        mask: (B,T) bool, True = real segment.

    Returns: (B,M,C) in [0,1].
    """
    p = segment_probs
    if mask is not None:
        p = torch.where(mask[:, :, None, None], p, 0.0)
    return p.square().sum(1) / p.sum(1).clamp(min=EPS)
