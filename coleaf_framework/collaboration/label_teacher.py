"""A moving average of the Anchor refines pseudo-labels of segments.

The teacher is a mean teacher (Tarvainen, Valpola, NeurIPS 2017); labels are refined by soft bootstrapping (Reed et al.,
ICLR 2015) with beta = 1/2, within the weak label. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from coleaf_framework.collaboration.config import CoLeaFConfig
from coleaf_framework.protocol import Batch, Progress


def teaching_labels(c: CoLeaFConfig, progress: Progress) -> bool:
    """Whether the Anchor's moving average refines pseudo-labels in this epoch."""
    return c.label_teacher_ema > 0 and progress.epoch > c.label_teacher_warmup


def with_teachers_labels(batch: Batch, segment_probs: Tensor) -> Batch:
    """The batch with pseudo-labels that a teacher refined: (y + q) / 2, or q where the data has no pseudo-label y.

    q is the teacher's probability times the weak label, or the label of the modality where the data has one, so a class
    that the video does not have stays 0.

    Args:
        batch: with or without pseudo-labels.
        segment_probs: (B,T,M,C) in [0,1], the teacher's; used without gradient.

    Returns:
        The batch with `pseudo_labels` (B,T,M,C) in [0,1] that say something everywhere.

    Example:
        >>> batch = Batch({}, labels=torch.tensor([[1.0, 0.0]]), pseudo_labels=torch.ones(1, 1, 2, 2))
        >>> with_teachers_labels(batch, torch.full((1, 1, 2, 2), 0.6)).pseudo_labels[0, 0, 0]
        tensor([0.8000, 0.5000])
    """
    labels = batch.each_modality_labels()
    refined = segment_probs.detach().to(labels.dtype) * labels[:, None]
    if batch.pseudo_labels is not None:
        both = (refined + batch.pseudo_labels) / 2
        refined = both if batch.pseudo_label_mask is None else torch.where(batch.pseudo_label_mask, both, refined)
    return replace(batch, pseudo_labels=refined, pseudo_label_mask=None)
