"""Every term of the paper as a pure function of tensors."""

from coleaf_framework.losses.contrast import event_aware_contrast, event_weights
from coleaf_framework.losses.distillation import (
    cooccurrence_distillation,
    pseudo_label_cross_entropy,
    self_modality_distillation,
)
from coleaf_framework.losses.weak import binary_cross_entropy, modality_cross_entropy, pool_segments

__all__ = [
    "binary_cross_entropy",
    "cooccurrence_distillation",
    "event_aware_contrast",
    "event_weights",
    "modality_cross_entropy",
    "pool_segments",
    "pseudo_label_cross_entropy",
    "self_modality_distillation",
]
