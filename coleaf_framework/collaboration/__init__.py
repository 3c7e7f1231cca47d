"""What Anchor and Reference teach each other, as the paper has it and as the authors' code has it."""

from coleaf_framework.collaboration.averaging import MovingAverage
from coleaf_framework.collaboration.config import OFFICIAL, STRONG, CoLeaFConfig
from coleaf_framework.collaboration.terms import (
    anchor_loss,
    anchor_terms,
    custom_loss,
    custom_modality_labels,
    event_weights,
    modality_labels,
    reference_teaches,
    reference_terms,
    scale_micro_batch,
    supervised_outputs,
    weak_modality_labels,
    with_reference_labels,
)

__all__ = [
    "OFFICIAL",
    "STRONG",
    "CoLeaFConfig",
    "MovingAverage",
    "anchor_loss",
    "anchor_terms",
    "custom_loss",
    "custom_modality_labels",
    "event_weights",
    "modality_labels",
    "reference_teaches",
    "reference_terms",
    "scale_micro_batch",
    "supervised_outputs",
    "weak_modality_labels",
    "with_reference_labels",
]
