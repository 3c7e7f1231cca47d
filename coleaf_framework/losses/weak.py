"""Cross-entropies and pooling for weak labels (CoLeaF, ECCV 2024, section 3).

    BCE(Y, P) = -(1/BC) sum ( y log p + (1 - y) log(1 - p) )
    linear softmax pooling:   p_video = sum_t p_t^2 / sum_t p_t

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coleaf_framework.losses._precision import in_float32

EPS = 1e-7


@in_float32
def binary_cross_entropy(probs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all elements.

    Probabilities are clamped to [1e-7, 1 - 1e-7]. A sum of attention weights may exceed 1 by rounding, for which
    `torch.nn.functional.binary_cross_entropy` raises an error. NaN stays NaN, so that the trainer can name the term.

    Args:
        probs: any shape, in [0,1].
        targets: the same shape, in [0,1].

    Returns:
        Scalar, at least 0.

    Example:
        >>> binary_cross_entropy(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 1.0]))  # (log 2 + 0) / 2
        tensor(0.3466)
    """
    p = probs.clamp(EPS, 1 - EPS)
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()


@in_float32
def modality_cross_entropy(probs: Tensor, targets: Tensor) -> Tensor:
    """Sum over modalities of BCE, as in L_video of the Reference (paper, after eq. 7).

    Args:
        probs: (B,M,C) in [0,1].
        targets: in [0,1], weak labels (B,C) or modality labels (B,M,C).

    Returns:
        Scalar, at least 0; each modality's BCE is a mean over videos and classes.

    Example:
        >>> modality_cross_entropy(torch.full((1, 2, 1), 0.5), torch.ones(1, 1))  # 2 log 2
        tensor(1.3863)
    """
    if targets.ndim == probs.ndim - 1:
        targets = targets.unsqueeze(1)
    return probs.shape[1] * binary_cross_entropy(probs, targets.expand_as(probs))


@in_float32
def asymmetric_focal_loss(probs: Tensor, targets: Tensor) -> Tensor:
    """Asymmetric focal BCE, the Reference's loss in the authors' code.

    -sum w (y log p + (1 - y) log q) with q = min(1 - p + 0.05, 1) and w = 1 - (p y + q (1 - y)). The shift of 0.05 in q
    lowers the loss of absent classes. w has no gradient; p and q are clamped to at least 1e-8 in the logarithms.

    Args:
        probs: (B,M,C) in [0,1].
        targets: (B,M,C) in [0,1], modality labels.

    Returns:
        (M,), at least 0, each modality's sum over videos and classes.

    Example:
        >>> asymmetric_focal_loss(torch.tensor([[[0.5], [0.5]]]), torch.tensor([[[1.0], [0.0]]]))
        tensor([0.3466, 0.2690])
    """
    absent = (1 - probs + 0.05).clamp(max=1)
    weight = 1 - (probs * targets + absent * (1 - targets)).detach()
    log_likelihood = targets * probs.clamp(min=1e-8).log() + (1 - targets) * absent.clamp(min=1e-8).log()
    return -(weight * log_likelihood).sum((0, 2))


@in_float32
def pool_segments(segment_probs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Modality probabilities by linear softmax pooling, sum_t p^2 / sum_t p (Wang, Li, Metze, ICASSP 2019).

    Each segment is weighted by its own probability, so no attention is needed. Used for an Anchor that returns no
    modality probabilities.

    Args:
        segment_probs: (B,T,M,C) in [0,1].
        mask: (B,T) bool, True = real segment; None where all segments are real.

    Returns:
        (B,M,C) in [0,1], modality probabilities.

    Example:
        >>> pool_segments(torch.tensor([0.8, 0.2]).view(1, 2, 1, 1))  # (0.64 + 0.04) / (0.8 + 0.2)
        tensor([[[0.6800]]])
    """
    p = segment_probs
    if mask is not None:
        p = torch.where(mask[:, :, None, None], p, 0.0)
    return p.square().sum(1) / p.sum(1).clamp(min=EPS)
