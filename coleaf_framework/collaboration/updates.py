"""The updates of a training step: the losses of each, from the outputs of both branches.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from coleaf_framework.collaboration.config import CoLeaFConfig
from coleaf_framework.collaboration.label_loss import VIDEO_ALONE, LabelLoss, anchor_loss
from coleaf_framework.collaboration.reduction import scaled_by_fraction
from coleaf_framework.collaboration.terms import (
    anchor_terms,
    event_weights,
    modality_labels,
    reference_terms,
    weak_modality_labels,
    with_reference_labels,
)
from coleaf_framework.protocol import MODALITIES, AnchorOutput, Batch, Progress, ReferenceOutput

Update = Literal["both", "reference", "anchor"]
"""Which branches an update of the weights trains."""


class StepOutput(NamedTuple):
    """What the forward of one update returns.

    A named tuple: DistributedDataParallel looks for the trained parameters behind the tensors of a module's output, and
    looks into tuples and dicts.

    Args:
        losses: "anchor/..." and "reference/..." -> scalar; the update minimises their sum.
        observations: values to be logged, name -> scalar without gradient: "theta/audio" and "theta/visual", the means
            over videos of the weights of eq. 9-11, while the event-aware contrast is active. Like the losses, those of
            a micro-batch are its share of the step's.
    """

    losses: dict[str, Tensor]
    observations: dict[str, Tensor]

    def total(self) -> Tensor:
        """The scalar to minimise.

        Raises:
            ValueError: there is no term, since the Anchor's own loss returned none in this step.
        """
        if not self.losses:
            raise ValueError("no loss term to minimise: the Anchor's own loss returned an empty mapping in this step")
        return torch.stack(list(self.losses.values())).sum()


@dataclass(frozen=True)
class AnchorPass:
    """An Anchor's forward pass over a batch, which all updates of a step share.

    Args:
        streams: as the networks take them, standardised where the model does that.
        output: the Anchor's, `modality_probs` included, with gradient.
        labels: (B,M,C) in [0,1], what each modality is taught, without gradient.
        raw: what the network itself returned, for a loss that was given to `wrap`; None where there is none.
    """

    streams: Mapping[str, Tensor]
    output: AnchorOutput
    labels: Tensor
    raw: object = None


def head_start_update(c: CoLeaFConfig, reference: ReferenceOutput, batch: Batch) -> StepOutput:
    """What trains the Reference while it is trained alone, by labels that are not refined yet."""
    terms = reference_terms(c, reference, None, weak_modality_labels(c, batch), Progress(0))
    return StepOutput(
        scaled_by_fraction({f"reference/{name}": term for name, term in terms.items()}, batch.fraction), {}
    )


def reference_update(
    c: CoLeaFConfig, reference: ReferenceOutput, own: AnchorPass, batch: Batch, progress: Progress
) -> StepOutput:
    """What trains the Reference: labels, and past its warm-up the Anchor's pseudo-labels."""
    terms = reference_terms(c, reference, own.output.modality_probs, own.labels, progress)
    return StepOutput(
        scaled_by_fraction({f"reference/{name}": term for name, term in terms.items()}, batch.fraction), {}
    )


def anchor_update(
    c: CoLeaFConfig,
    anchor: nn.Module,
    own: AnchorPass,
    reference: ReferenceOutput | None,
    batch: Batch,
    progress: Progress,
    how: LabelLoss = VIDEO_ALONE,
) -> StepOutput:
    """What trains the Anchor: labels, by a loss of its own or another, and what the Reference teaches it.

    Args:
        c: which terms.
        anchor: the Anchor, for its own loss and labels.
        own: its forward pass.
        reference: the teacher's answer; None where nothing is to be learnt from it.
        batch: the videos.
        progress: of the epochs that train the Anchor.
        how: which loss reads the labels; a default loss reads labels per modality if the batch has them.

    Returns:
        Losses, "anchor/..." -> scalar, as the micro-batch's part of the step's; and the observed means of theta over
        videos, where the contrast weighs by them.
    """
    seen = with_reference_labels(c, batch, reference, progress)
    labels = own.labels if seen is batch else modality_labels(c, anchor, own.output, seen, progress)
    if batch.modality_labels is not None:  # given by the data set, unlike those of `seen`: the default reads them
        how = replace(how, default="modalities")
    if c.labels == "denoised":
        seen = replace(batch, modality_labels=labels)
    terms = anchor_loss(c, anchor, own.output, labels, seen, progress, how, own.raw)
    observations: dict[str, Tensor] = {}
    if reference is not None:
        terms |= anchor_terms(c, own.output, reference, own.labels, batch, progress)
        if c.contrast == "event_aware" and "contrast" in terms:
            theta = event_weights(c, reference).mean(0) * batch.fraction
            observations = {f"theta/{name}": x for name, x in zip(MODALITIES, theta, strict=True)}
    losses = scaled_by_fraction({f"anchor/{name}": term for name, term in terms.items()}, batch.fraction)
    return StepOutput(losses, observations)
