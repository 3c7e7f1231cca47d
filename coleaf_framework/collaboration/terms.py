"""Every loss term of a step, by name. Shape letters: see `protocol.py`.

Each term stops gradients on its teacher's side. Numbers in capitals are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from coleaf_framework import losses
from coleaf_framework.collaboration.config import CoLeaFConfig
from coleaf_framework.protocol import AnchorOutput, Batch, Progress, ReferenceOutput

# Audio, visual.
CONTRAST_WEIGHTS = (0.009, 1.0)
PSEUDO_THRESHOLDS = (0.5, 0.6)
CLASS_TOKEN_WEIGHTS_EARLY, CLASS_TOKEN_WEIGHTS_LATE = (1.2, 1.0), (0.001, 0.0)
LABEL_WEIGHT_LATE, PSEUDO_WEIGHT_LATE = 0.5, 0.5
AUDIO_WEIGHT, VISUAL_WEIGHT, VIDEO_WEIGHT = 2.0, 1.0, 2.0


def custom_loss(anchor: nn.Module) -> Callable[..., Mapping[str, Tensor]] | None:
    """The Anchor's `loss(output, batch, progress)`, or None; a submodule of that name, such as BCELoss, is none."""
    own = getattr(anchor, "loss", None)
    return own if callable(own) and not isinstance(own, nn.Module) else None


def custom_modality_labels(anchor: nn.Module) -> Callable[..., Tensor] | None:
    """The Anchor's `modality_labels(output, batch, progress)`, or None."""
    own = getattr(anchor, "modality_labels", None)
    return own if callable(own) and not isinstance(own, nn.Module) else None


def supervised_outputs(c: CoLeaFConfig, anchor: nn.Module) -> tuple[str, ...]:
    """The fields of the Anchor's output that some term reads in some epoch, its own loss aside."""
    fields = set()
    if c.anchor_loss == "official" and c.enabled:
        fields |= {"modality_probs", "video_probs"}
    elif c.anchor_loss == "video" or custom_loss(anchor) is None:
        fields.add("video_probs")
    if c.enabled and c.contrast != "none":
        fields.add("modality_probs" if c.contrast == "bce" else "tokens")
    if c.enabled and (c.cooccurrence_weight or c.pseudo_label_weight):
        fields.add("modality_probs")
    return tuple(sorted(fields))


def modality_labels(
    c: CoLeaFConfig, anchor: nn.Module, output: AnchorOutput, batch: Batch, progress: Progress
) -> Tensor:
    """What each modality is taught to contain: (B,M,C) in [0,1], without gradient.

    Weak labels; or the Anchor's own `modality_labels(output, batch, progress)`; or, for an Anchor without it, weak
    labels smoothed as in the authors' code but not denoised.
    """
    refine = custom_modality_labels(anchor) if c.labels == "refined" else None
    if refine is not None:
        return refine(output, batch, progress).detach()
    return weak_modality_labels(c, batch)


def weak_modality_labels(c: CoLeaFConfig, batch: Batch) -> Tensor:
    """Weak labels for both modalities (B,M,C) in [0,1]; smoothed as in the authors' code where labels are refined."""
    weak = batch.each_modality_labels()
    return weak if c.labels == "weak" else losses.smooth_visual_labels(weak)


def anchor_loss(
    c: CoLeaFConfig, anchor: nn.Module, output: AnchorOutput, labels: Tensor, batch: Batch, progress: Progress
) -> dict[str, Tensor]:
    """What teaches the Anchor without the Reference: its own loss, or BCE(Y, video_probs).

    Args:
        labels: (B,M,C) in [0,1], from `modality_labels`.
    """
    own = custom_loss(anchor) if c.anchor_loss != "video" else None
    terms = dict(own(output, batch, progress)) if own is not None else {}
    if c.anchor_loss == "official" and c.enabled:
        assert output.modality_probs is not None
        audio, visual = output.modality_probs.unbind(1)
        terms["audio"] = AUDIO_WEIGHT * losses.binary_cross_entropy(audio, labels[:, 0])
        terms["visual"] = VISUAL_WEIGHT * losses.binary_cross_entropy(visual, labels[:, 1])
        terms["video"] = VIDEO_WEIGHT * losses.binary_cross_entropy(output.video_probs, batch.labels)
    elif own is None:
        terms["video"] = losses.binary_cross_entropy(output.video_probs, batch.labels)
    return terms


def collaborating(c: CoLeaFConfig, progress: Progress) -> bool:
    """Whether contrast, co-occurrence and refined labels are past the Anchor's warm-up in this epoch."""
    return progress.epoch > c.anchor_warmup and (
        c.contrast != "none" or c.cooccurrence_weight > 0 or c.reference_labels
    )


def pseudo_labelling(c: CoLeaFConfig, progress: Progress) -> bool:
    """Whether the Anchor is taught the Reference's pseudo-labels in this epoch."""
    return progress.epoch > c.pseudo_label_warmup and c.pseudo_label_weight > 0


def reference_teaches(c: CoLeaFConfig, progress: Progress) -> bool:
    """Whether the Reference teaches the Anchor anything in this epoch."""
    return collaborating(c, progress) or pseudo_labelling(c, progress)


def with_reference_labels(
    c: CoLeaFConfig, batch: Batch, reference: ReferenceOutput | None, progress: Progress
) -> Batch:
    """The batch with the labels that the Reference refines, where they are asked for."""
    if reference is None or not c.reference_labels or progress.epoch <= c.anchor_warmup:
        return batch
    refined = losses.refine_labels(batch.labels, reference.modality_probs, c.threshold)
    return replace(batch, modality_labels=refined)


def anchor_terms(
    c: CoLeaFConfig, anchor: AnchorOutput, reference: ReferenceOutput, labels: Tensor, batch: Batch, progress: Progress
) -> dict[str, Tensor]:
    """What the Reference teaches the Anchor: contrast (eq. 8), co-occurrence (eq. 13) and pseudo-labels, weighted."""
    terms: dict[str, Tensor] = {}
    if pseudo_labelling(c, progress):
        assert anchor.modality_probs is not None
        terms["pseudo_labels"] = c.pseudo_label_weight * losses.pseudo_label_cross_entropy(
            anchor.modality_probs,
            reference.modality_probs,
            threshold=c.pseudo_label_thresholds,
            soft=c.pseudo_label_form == "soft",
            labels=batch.labels if c.pseudo_label_classes == "weak" else None,
        )
    if not collaborating(c, progress):
        return terms
    if c.contrast != "none":
        terms["contrast"] = c.contrast_weight * _contrast(c, anchor, reference, batch.mask)
    if c.cooccurrence_weight:
        assert anchor.modality_probs is not None
        taught, teacher = anchor.modality_probs, reference.modality_probs
        if c.cooccurrence_form == "official":
            term = losses.confident_cooccurrence_distillation(teacher, taught, labels > 0.5)
        else:
            term = losses.cooccurrence_distillation(teacher, taught)
        terms["cooccurrence"] = c.cooccurrence_weight * term
    return terms


def event_weights(c: CoLeaFConfig, reference: ReferenceOutput) -> Tensor:
    """The weights theta of eq. 9-11, (B,M) in [0,1], without gradient."""
    if c.theta == "expected":
        return losses.soft_event_weights(reference.modality_probs)
    return losses.event_weights(reference.modality_probs, c.threshold, inclusive=c.contrast_form == "official")


def _contrast(c: CoLeaFConfig, anchor: AnchorOutput, reference: ReferenceOutput, mask: Tensor | None) -> Tensor:
    official = c.contrast_form == "official"
    if c.contrast == "bce":
        assert anchor.modality_probs is not None
        return losses.pseudo_label_cross_entropy(anchor.modality_probs, reference.modality_probs, threshold=c.threshold)
    weights = event_weights(c, reference)
    if c.contrast == "nce":
        weights = torch.ones_like(weights)
    if official:
        return losses.smoothed_contrast(
            reference.tokens.detach(),
            anchor.tokens,
            weights * losses.per_modality(weights, *CONTRAST_WEIGHTS),
            temperature=c.temperature,
            normalize=c.normalize_tokens,
            mask=mask,
        )
    return losses.event_aware_contrast(
        anchor.tokens,
        reference.tokens,
        weights,
        temperature=c.temperature,
        normalize=c.normalize_tokens,
        positive_in_denominator=c.positive_in_denominator,
        both_directions=c.contrast_directions == "both",
        mask=mask,
    )


def reference_terms(
    c: CoLeaFConfig, reference: ReferenceOutput, anchor_probs: Tensor | None, labels: Tensor, progress: Progress
) -> dict[str, Tensor]:
    """What teaches the Reference: labels, and past its warm-up the Anchor's pseudo-labels (eq. 12).

    Args:
        anchor_probs: (B,M,C) in [0,1], the Anchor's modality probabilities; None where it is not trained yet.
        labels: (B,M,C) in [0,1], from `modality_labels`.
    """
    teaching = anchor_probs is not None and progress.epoch > c.reference_warmup and c.self_modality_weight > 0
    pupil = anchor_probs if teaching else None
    if c.reference_loss == "official":
        return _official_reference_terms(c, reference, pupil, labels, progress)
    terms = {"video": losses.modality_cross_entropy(reference.modality_probs, labels)}
    if reference.class_probs is not None:
        terms["class_tokens"] = losses.modality_cross_entropy(reference.class_probs, labels)
    if pupil is not None:
        terms["self_modality"] = c.self_modality_weight * losses.self_modality_distillation(
            pupil, reference.modality_probs, threshold=c.threshold
        )
    return terms


def _official_reference_terms(
    c: CoLeaFConfig,
    reference: ReferenceOutput,
    anchor_probs: Tensor | None,
    labels: Tensor,
    progress: Progress,
) -> dict[str, Tensor]:
    late = progress.epoch > c.reference_warmup
    probs = reference.modality_probs
    terms = {"video": (LABEL_WEIGHT_LATE if late else 1.0) * losses.asymmetric_focal_loss(probs, labels).sum()}
    if reference.class_probs is not None:
        weights = losses.per_modality(probs, *(CLASS_TOKEN_WEIGHTS_LATE if late else CLASS_TOKEN_WEIGHTS_EARLY))
        terms["class_tokens"] = (weights * losses.asymmetric_focal_loss(reference.class_probs, labels)).sum()
    if anchor_probs is not None:
        thresholds = losses.per_modality(probs, *PSEUDO_THRESHOLDS)[:, None]
        pseudo = (anchor_probs.detach() > thresholds) * labels
        term = losses.asymmetric_focal_loss(probs, pseudo).sum()
        terms["self_modality"] = c.self_modality_weight * PSEUDO_WEIGHT_LATE * term
    return terms


def scale_micro_batch(c: CoLeaFConfig, terms: Mapping[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """The terms of a part of a training step, scaled so that those of all parts add up to the undivided step's.

    Every term is a mean over videos, an Anchor's own loss too, but for the authors' forms of the Reference's terms,
    which are sums, and of co-occurrence, a sum times the number of videos.

    Args:
        terms: "anchor/..." and "reference/..." -> scalar.
        fraction: see `Batch.fraction`.
    """
    if fraction == 1.0:
        return dict(terms)

    def factor(name: str) -> float:
        if fraction and name.startswith("reference/") and c.reference_loss == "official":
            return 1.0
        if fraction and name == "anchor/cooccurrence" and c.cooccurrence_form == "official":
            return 1.0 / fraction
        return fraction

    return {name: factor(name) * term for name, term in terms.items()}
