"""What Anchor and Reference teach each other, as the paper has it and as the authors' code has it."""

from coleaf_framework.collaboration.averaging import MovingAverage
from coleaf_framework.collaboration.config import OFFICIAL, STRONG, CoLeaFConfig
from coleaf_framework.collaboration.reduction import Reduction, Term, share_of_step
from coleaf_framework.collaboration.terms import (
    COLLABORATIVE_TERMS,
    anchor_loss,
    anchor_terms,
    custom_loss,
    custom_modality_labels,
    event_weights,
    modality_labels,
    reference_teaches,
    reference_terms,
    supervised_outputs,
    weak_modality_labels,
    with_reference_labels,
)
from coleaf_framework.collaboration.updates import (
    AnchorPass,
    StepOutput,
    Update,
    anchor_update,
    head_start_update,
    reference_update,
)

__all__ = [
    "COLLABORATIVE_TERMS",
    "OFFICIAL",
    "STRONG",
    "AnchorPass",
    "CoLeaFConfig",
    "MovingAverage",
    "Reduction",
    "StepOutput",
    "Term",
    "Update",
    "anchor_loss",
    "anchor_terms",
    "anchor_update",
    "custom_loss",
    "custom_modality_labels",
    "event_weights",
    "head_start_update",
    "modality_labels",
    "reference_teaches",
    "reference_terms",
    "reference_update",
    "share_of_step",
    "supervised_outputs",
    "weak_modality_labels",
    "with_reference_labels",
]
