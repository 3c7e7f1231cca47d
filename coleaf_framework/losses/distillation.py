"""What the branches teach each other (CoLeaF, ECCV 2024, eq. 12-13). Shape letters: see `protocol.py`."""

from __future__ import annotations

from torch import Tensor

from coleaf_framework.losses._precision import in_float32
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
def pseudo_label_cross_entropy(anchor_probs: Tensor, reference_probs: Tensor, *, threshold: float) -> Tensor:
    """The BCE variant of Table 2: sum over m of BCE(1[R_m > threshold], A_m).

    Teaches the Anchor with the pseudo-labels of eq. 9; the Reference gets no gradient. Arguments as above.
    """
    pseudo = (reference_probs.detach() > threshold).to(anchor_probs.dtype)
    return modality_cross_entropy(anchor_probs, pseudo)


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
