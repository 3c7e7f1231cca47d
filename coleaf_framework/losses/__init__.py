"""The loss terms of CoLeaF (ECCV 2024) and, where it differs, of the authors' code, as pure functions of tensors."""

from coleaf_framework.losses._precision import in_float32, per_modality
from coleaf_framework.losses.contrast import (
    event_aware_contrast,
    event_weights,
    smoothed_contrast,
    soft_event_weights,
)
from coleaf_framework.losses.denoising import (
    VISUAL_LABEL_WEIGHT,
    denoise_labels,
    denoise_modality_labels,
    refine_labels,
    smooth_visual_labels,
)
from coleaf_framework.losses.distillation import (
    confident_cooccurrence_distillation,
    cooccurrence_distillation,
    pseudo_label_cross_entropy,
    self_modality_distillation,
)
from coleaf_framework.losses.label_noise import exchange_removals, noise_ratios
from coleaf_framework.losses.segment_labels import (
    label_targets,
    modality_from_segments,
    modality_label_cross_entropy,
    positive_weights,
    segment_label_cross_entropy,
)
from coleaf_framework.losses.weak import (
    asymmetric_focal_loss,
    binary_cross_entropy,
    modality_cross_entropy,
    pool_segments,
)

__all__ = [
    "VISUAL_LABEL_WEIGHT",
    "asymmetric_focal_loss",
    "binary_cross_entropy",
    "confident_cooccurrence_distillation",
    "cooccurrence_distillation",
    "denoise_labels",
    "denoise_modality_labels",
    "event_aware_contrast",
    "event_weights",
    "exchange_removals",
    "in_float32",
    "label_targets",
    "modality_cross_entropy",
    "modality_from_segments",
    "modality_label_cross_entropy",
    "noise_ratios",
    "per_modality",
    "pool_segments",
    "positive_weights",
    "pseudo_label_cross_entropy",
    "refine_labels",
    "segment_label_cross_entropy",
    "self_modality_distillation",
    "smooth_visual_labels",
    "smoothed_contrast",
    "soft_event_weights",
]
