"""What the branches teach each other (CoLeaF, ECCV 2024, eq. 12-13). Shape letters: see `protocol.py`."""

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
        anchor_probs: (B,M,C) in [0,1], the Anchor's modality probabilities, made into pseudo-labels.
        reference_probs: (B,M,C) in [0,1], the Reference's.
        threshold: in [0,1].

    Returns: scalar, at least 0.
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
        anchor_probs: (B,M,C) in [0,1].
        reference_probs: (B,M,C) in [0,1], made into pseudo-labels.
        threshold: in [0,1], for both modalities or for audio and visual.
        soft: take the Reference's probabilities themselves as targets; the threshold is then not read.
        labels: (B,C) weak labels in [0,1]; classes of at most 0.5 get the target 0. None leaves the targets.

    Returns: scalar, at least 0.
    """
    teacher = reference_probs.detach()
    if not soft:
        audio, visual = threshold if isinstance(threshold, tuple) else (threshold, threshold)
        teacher = (teacher > per_modality(teacher, audio, visual)[:, None]).to(anchor_probs.dtype)
    if labels is not None:
        teacher = torch.where(labels[:, None] > 0.5, teacher, 0.0)
    return modality_cross_entropy(anchor_probs, teacher)


@in_float32
def cooccurrence_distillation(reference_probs: Tensor, anchor_probs: Tensor) -> Tensor:
    """Co-occurrence class distillation (eq. 13): sum over m of MSE(R_m R_m^T, A_m A_m^T) over C x C.

    Teaches the Anchor; the Reference gets no gradient.

    Args:
        reference_probs: (B,M,C) in [0,1].
        anchor_probs: (B,M,C) in [0,1].

    Returns: scalar, at least 0, the mean over videos.
    """
    taught, teacher = (p[..., :, None] * p[..., None, :] for p in (anchor_probs, reference_probs.detach()))
    return (taught - teacher).square().mean(dim=(0, 2, 3)).sum()


# Where the authors' code trusts the Reference: at or above the first, at or below the second; audio, then visual.
_HIGH, _LOW = (0.8, 0.6), (0.1, 0.4)


@in_float32
def confident_cooccurrence_distillation(reference_probs: Tensor, anchor_probs: Tensor, present: Tensor) -> Tensor:
    """Co-occurrence class distillation as in the authors' code: sum((R R^T - A A^T)^2) * B / C * 1e-4.

    The Reference's probability is used where its class is present and it is confident (audio: >= 0.8 or <= 0.1; visual:
    >= 0.6 or <= 0.4), the Anchor's own elsewhere. Teaches the Anchor; the teacher's side gets no gradient.

    Args:
        reference_probs: (B,M,C) in [0,1].
        anchor_probs: (B,M,C) in [0,1].
        present: (B,M,C) bool, whether the modality label has the class.

    Returns: scalar, at least 0.
    """
    high, low = (per_modality(reference_probs, *bounds)[:, None] for bounds in (_HIGH, _LOW))
    confident = (reference_probs >= high) | (reference_probs <= low)
    teacher = torch.where(confident & present, reference_probs, anchor_probs).detach()
    difference = teacher[..., :, None] * teacher[..., None, :] - anchor_probs[..., :, None] * anchor_probs[..., None, :]
    batch, _, classes = anchor_probs.shape
    return difference.square().sum() * batch / classes * 1e-4
