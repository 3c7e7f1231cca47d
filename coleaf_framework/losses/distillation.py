"""Distillation between Anchor and Reference (CoLeaF, ECCV 2024, eq. 12-13).

    self-modality (eq. 12):   L_self = sum_m BCE(1[A_m > threshold], R_m)
    co-occurrence (eq. 13):   L_co   = sum_m MSE(R_m R_m^T, A_m A_m^T)

A and R are the modality probabilities of Anchor and Reference. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coleaf_framework.losses._precision import in_float32, per_modality
from coleaf_framework.losses.weak import modality_cross_entropy


@in_float32
def self_modality_distillation(anchor_probs: Tensor, reference_probs: Tensor, *, threshold: float) -> Tensor:
    """Self-modality-aware distillation (eq. 12): sum over m of BCE(1[A_m > threshold], R_m).

    Teaches the Reference; the Anchor gets no gradient.

    Args:
        anchor_probs: (B,M,C) in [0,1], the Anchor's modality probabilities, thresholded to pseudo-labels.
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities.
        threshold: in [0,1].

    Returns:
        Scalar, at least 0, the mean over videos and classes.

    Example:
        >>> anchor, reference = torch.tensor([[[0.9], [0.2]]]), torch.tensor([[[0.5], [0.5]]])
        >>> self_modality_distillation(anchor, reference, threshold=0.5)  # 2 log 2
        tensor(1.3863)
    """
    pseudo = (anchor_probs.detach() > threshold).to(reference_probs.dtype)
    return modality_cross_entropy(reference_probs, pseudo)


@in_float32
def pseudo_label_cross_entropy(
    anchor_probs: Tensor,
    reference_probs: Tensor,
    *,
    threshold: float | tuple[float, float] = 0.5,
    soft: bool = False,
    labels: Tensor | None = None,
) -> Tensor:
    """The BCE variant of Table 2: sum over m of BCE(1[R_m > threshold], A_m).

    Teaches the Anchor with the pseudo-labels of eq. 9; the Reference gets no gradient.

    Args:
        anchor_probs: (B,M,C) in [0,1], the Anchor's modality probabilities.
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities, thresholded to pseudo-labels.
        threshold: in [0,1], one for both modalities or (audio, visual).
        soft: use the Reference's probabilities themselves as targets; the threshold then has no effect.
        labels: (B,C) in [0,1], weak labels, or (B,M,C), those of either modality; classes at or below 0.5 get the
            target 0. With None, targets stay as they are.

    Returns:
        Scalar, at least 0, the mean over videos and classes.

    Example:
        >>> anchor, reference = torch.tensor([[[0.5], [0.5]]]), torch.tensor([[[0.9], [0.2]]])
        >>> pseudo_label_cross_entropy(anchor, reference)  # 2 log 2
        tensor(1.3863)
    """
    teacher = reference_probs.detach()
    if not soft:
        audio, visual = threshold if isinstance(threshold, tuple) else (threshold, threshold)
        teacher = (teacher > per_modality(teacher, audio, visual)[:, None]).to(anchor_probs.dtype)
    if labels is not None:
        allowed = labels if labels.ndim == 3 else labels[:, None]
        teacher = torch.where(allowed > 0.5, teacher, 0.0)
    return modality_cross_entropy(anchor_probs, teacher)


@in_float32
def cooccurrence_distillation(reference_probs: Tensor, anchor_probs: Tensor) -> Tensor:
    """Co-occurrence class distillation (eq. 13): sum over m of MSE(R_m R_m^T, A_m A_m^T) over C x C.

    Teaches the Anchor; the Reference gets no gradient.

    Args:
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities.
        anchor_probs: (B,M,C) in [0,1], the Anchor's modality probabilities.

    Returns:
        Scalar, at least 0, the mean over videos.

    Example:
        >>> cooccurrence_distillation(torch.tensor([[[1.0], [1.0]]]), torch.tensor([[[0.5], [1.0]]]))  # (1 - 0.25)^2
        tensor(0.5625)
    """
    student, teacher = (p[..., :, None] * p[..., None, :] for p in (anchor_probs, reference_probs.detach()))
    return (student - teacher).square().mean(dim=(0, 2, 3)).sum()


# The authors' code uses the Reference's probability at or above _HIGH and at or below _LOW: (audio, visual).
_HIGH, _LOW = (0.8, 0.6), (0.1, 0.4)


@in_float32
def confident_cooccurrence_distillation(reference_probs: Tensor, anchor_probs: Tensor, present: Tensor) -> Tensor:
    """Co-occurrence class distillation as in the authors' code: sum((R R^T - A A^T)^2) * B / C * 1e-4.

    R holds the Reference's probability where the class is present and the Reference is confident (audio: >= 0.8 or
    <= 0.1; visual: >= 0.6 or <= 0.4), and the Anchor's own probability elsewhere. Teaches the Anchor; R gets no
    gradient.

    Args:
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities.
        anchor_probs: (B,M,C) in [0,1], the Anchor's modality probabilities.
        present: (B,M,C) bool, True where the modality label has the class.

    Returns:
        Scalar, at least 0.

    Example:
        >>> reference, anchor = torch.tensor([[[1.0], [0.5]]]), torch.tensor([[[0.5], [0.2]]])
        >>> loss = confident_cooccurrence_distillation(reference, anchor, torch.ones(1, 2, 1, dtype=torch.bool))
        >>> round(1e4 * loss.item(), 4)  # audio (1 - 0.25)^2; visual 0.5 is not confident, so it adds nothing
        0.5625
    """
    high, low = (per_modality(reference_probs, *bounds)[:, None] for bounds in (_HIGH, _LOW))
    confident = (reference_probs >= high) | (reference_probs <= low)
    teacher = torch.where(confident & present, reference_probs, anchor_probs).detach()
    difference = teacher[..., :, None] * teacher[..., None, :] - anchor_probs[..., :, None] * anchor_probs[..., None, :]
    batch, _, classes = anchor_probs.shape
    return difference.square().sum() * batch / classes * 1e-4
