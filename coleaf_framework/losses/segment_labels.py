"""Cross-entropies against pseudo-labels of segments, as VALOR (Lai et al., NeurIPS 2023) trains with them.

    L = sum_m BCE(Y_t^m, P_t^m)        the mean over videos, segments and classes, for each modality m

and, as LEAP (Zhou et al., ECCV 2024), against labels per modality that are made from them: a class is in a modality if
it is in any of its segments. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coleaf_framework.losses._precision import in_float32, per_modality
from coleaf_framework.losses.weak import EPS

HARD_THRESHOLD = 0.5


def said_by_labels(pseudo_labels: Tensor, mask: Tensor | None, label_mask: Tensor | None) -> Tensor:
    """Where pseudo-labels say something: (B,T,M,C) bool, False in padding and where there are none.

    Args:
        pseudo_labels: (B,T,M,C) in [0,1].
        mask: (B,T) bool, True = real segment; None where all are.
        label_mask: (B,T,M,C) bool, True where the labels say something; None where they do everywhere.

    Returns:
        (B,T,M,C) bool.
    """
    said = torch.ones_like(pseudo_labels, dtype=torch.bool) if label_mask is None else label_mask
    return said if mask is None else said & mask[:, :, None, None]


def label_targets(pseudo_labels: Tensor, *, hard: bool = False, smoothing: float = 0.0) -> Tensor:
    """Pseudo-labels as a loss reads them, in [0,1], of the same shape.

    Args:
        pseudo_labels: any shape, in [0,1].
        hard: whether labels above 0.5 become 1 and the others 0.
        smoothing: s in [0,1); a label y becomes (1 - s) y + s / 2.

    Returns:
        Targets in [0,1], of the shape of `pseudo_labels`, and of their dtype where that is floating.

    Example:
        >>> label_targets(torch.tensor([0.6, 0.2]), hard=True, smoothing=0.1)
        tensor([0.9500, 0.0500])
    """
    targets = (pseudo_labels > HARD_THRESHOLD).to(pseudo_labels.dtype) if hard else pseudo_labels
    return (1 - smoothing) * targets + smoothing / 2


def positive_weights(shares: Tensor, largest: float) -> Tensor:
    """Weights of positive labels that make up for rare classes: negatives / positives, as BCE's `pos_weight`.

    The ratio is what `torch.nn.BCEWithLogitsLoss` documents; a class that is in one second of a hundred has 99, so it
    is limited. Frequent classes keep the weight 1.

    Args:
        shares: (M,C) in [0,1], the share of positive labels in the training split. 0 gets weight 1, since there is
            nothing to weight.
        largest: at least 1.

    Returns:
        (M,C), from 1 to `largest`.

    Example:
        >>> positive_weights(torch.tensor([[0.5, 0.25, 0.01, 0.0]]), largest=10)
        tensor([[ 1.,  3., 10.,  1.]])
    """
    ratio = torch.where(shares > 0, (1 - shares) / shares.clamp(min=EPS), 1.0)
    return ratio.clamp(1.0, largest)


@in_float32
def segment_label_cross_entropy(
    segment_probs: Tensor,
    pseudo_labels: Tensor,
    mask: Tensor | None = None,
    label_mask: Tensor | None = None,
    *,
    hard: bool = False,
    smoothing: float = 0.0,
    positive_weight: Tensor | None = None,
    modality_weights: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Sum over modalities of the BCE of segment probabilities against pseudo-labels.

    A mean over videos of each video's mean over the segments and classes that its labels say something of; a video
    whose labels of a modality say nothing adds 0 there. Where labels speak everywhere, this is the mean over all.
    Probabilities are clamped to [1e-7, 1 - 1e-7].

    Args:
        segment_probs: (B,T,M,C) in [0,1].
        pseudo_labels: (B,T,M,C) in [0,1]; no gradient flows into them.
        mask: (B,T) bool, True = real segment; None where all are.
        label_mask: (B,T,M,C) bool, True where the labels say something; None where they do everywhere.
        hard: whether labels are thresholded at 0.5.
        smoothing: in [0,1), see `label_targets`.
        positive_weight: (M,C), multiplies the part of positive labels; see `positive_weights`.
        modality_weights: of audio and visual in the sum; (3, 1) in LSLD (Fan et al., NeurIPS 2023).

    Returns:
        Scalar, at least 0.

    Example:
        >>> probs = torch.full((1, 2, 2, 1), 0.5)
        >>> segment_label_cross_entropy(probs, torch.ones(1, 2, 2, 1))  # 2 log 2, one for each modality
        tensor(1.3863)
    """
    targets = label_targets(pseudo_labels.detach(), hard=hard, smoothing=smoothing)
    said = said_by_labels(pseudo_labels, mask, label_mask)
    each = _masked_cross_entropy(segment_probs, targets, said, positive_weight, over=(1, 3))
    return (each * per_modality(each, *modality_weights)).sum(1).mean()


def modality_from_segments(
    pseudo_labels: Tensor, mask: Tensor | None = None, label_mask: Tensor | None = None, *, hard: bool = False
) -> tuple[Tensor, Tensor]:
    """Labels per modality from those of segments: the largest over time, so for hard labels "any second".

    Args:
        pseudo_labels: (B,T,M,C) in [0,1].
        mask: (B,T) bool, True = real segment; None where all are.
        label_mask: (B,T,M,C) bool, True where the labels say something; None where they do everywhere.
        hard: whether labels are thresholded at 0.5 first.

    Returns:
        Labels (B,M,C) in [0,1], and (B,M,C) bool, True where some segment's label says something.

    Example:
        >>> labels, said = modality_from_segments(torch.tensor([0.2, 0.9]).view(1, 2, 1, 1))
        >>> labels.item(), said.item()
        (0.8999999761581421, True)
    """
    said = said_by_labels(pseudo_labels, mask, label_mask)
    heard = torch.where(said, label_targets(pseudo_labels, hard=hard), 0.0)
    return heard.amax(1), said.any(1)


@in_float32
def modality_label_cross_entropy(
    modality_probs: Tensor,
    pseudo_labels: Tensor,
    mask: Tensor | None = None,
    label_mask: Tensor | None = None,
    *,
    hard: bool = False,
    smoothing: float = 0.0,
) -> Tensor:
    """Sum over modalities of the BCE of modality probabilities against the largest pseudo-label of any segment (LEAP).

    Reduced over videos and classes as `segment_label_cross_entropy`.

    Args:
        modality_probs: (B,M,C) in [0,1].
        pseudo_labels: (B,T,M,C) in [0,1].
        mask: (B,T) bool or None.
        label_mask: (B,T,M,C) bool or None.
        hard: whether labels are thresholded at 0.5.
        smoothing: in [0,1), of the labels per modality, see `label_targets`.

    Returns:
        Scalar, at least 0.

    Example:
        >>> labels = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 2, 1)  # in the second of two segments
        >>> modality_label_cross_entropy(torch.full((1, 2, 1), 0.5), labels)  # 2 log 2, one for each modality
        tensor(1.3863)
    """
    labels, said = modality_from_segments(pseudo_labels.detach(), mask, label_mask, hard=hard)
    targets = label_targets(labels, smoothing=smoothing)
    return _masked_cross_entropy(modality_probs, targets, said, None, over=(2,)).sum(1).mean()


def _masked_cross_entropy(
    probs: Tensor, targets: Tensor, said: Tensor, positive_weight: Tensor | None, over: tuple[int, ...]
) -> Tensor:
    """BCE of each video and modality, (B,M), the mean over the dimensions `over` where `said`; 0 where nothing is."""
    p = probs.clamp(EPS, 1 - EPS)
    present = targets * p.log()
    if positive_weight is not None:
        present = positive_weight * present
    each = torch.where(said, -(present + (1 - targets) * (1 - p).log()), 0.0)
    return each.sum(over) / said.sum(over).clamp(min=1)
