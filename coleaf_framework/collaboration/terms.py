"""The loss terms by which the branches teach each other, with their reduction over videos.

Those of labels alone are in `label_loss`. Shape letters: see `protocol.py`.

Each term stops gradients on its teacher's side. Constants in capitals are from the authors' code, which sums in some
terms where the paper takes means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from coleaf_framework import losses
from coleaf_framework.collaboration.config import CoLeaFConfig
from coleaf_framework.collaboration.noise_ratios import denoised_labels
from coleaf_framework.collaboration.reduction import Reduction, Term
from coleaf_framework.protocol import AnchorOutput, Batch, Progress, ReferenceOutput

# Audio, visual.
CONTRAST_WEIGHTS = (0.009, 1.0)
PSEUDO_THRESHOLDS = (0.5, 0.6)
CLASS_TOKEN_WEIGHTS_EARLY, CLASS_TOKEN_WEIGHTS_LATE = (1.2, 1.0), (0.001, 0.0)
LABEL_WEIGHT_LATE, PSEUDO_WEIGHT_LATE = 0.5, 0.5


def custom_modality_labels(anchor: nn.Module) -> Callable[..., Tensor] | None:
    """The Anchor's `modality_labels(output, batch, progress)`, or None."""
    own = getattr(anchor, "modality_labels", None)
    return own if callable(own) and not isinstance(own, nn.Module) else None


def modality_labels(
    c: CoLeaFConfig, anchor: nn.Module, output: AnchorOutput, batch: Batch, progress: Progress
) -> Tensor:
    """The labels that each modality is trained on: (B,M,C) in [0,1], without gradient.

    Weak labels, those of either modality where the data set gives them; or the Anchor's own
    `modality_labels(output, batch, progress)`; or, for an Anchor without it, weak labels smoothed as in the authors'
    code but not denoised; or weak labels denoised by given ratios.

    Args:
        c: which labels: weak, refined or denoised.
        anchor: for its own `modality_labels`.
        output: its answer.
        batch: the videos, with weak labels.
        progress: epoch and step.

    Returns:
        (B,M,C) in [0,1], without gradient.
    """
    if c.noise_ratios is not None:
        return denoised_labels(c.noise_ratios, output, batch, progress)
    refine = custom_modality_labels(anchor) if c.labels == "refined" else None
    if refine is not None:
        return refine(output, batch, progress).detach()
    return weak_modality_labels(c, batch)


def weak_modality_labels(c: CoLeaFConfig, batch: Batch) -> Tensor:
    """Weak labels of each modality (B,M,C) in [0,1]; smoothed as in the authors' code where labels are refined."""
    weak = batch.each_modality_labels()
    return losses.smooth_visual_labels(weak) if c.labels == "refined" else weak


def reference_teaches(c: CoLeaFConfig, progress: Progress) -> bool:
    """Whether the Reference teaches the Anchor anything in this epoch, by a term or by refined labels."""
    refines = c.reference_labels and progress.epoch > c.anchor_warmup
    return refines or any(term.is_active(c, progress) for term in TEACHING_TERMS)


def with_reference_labels(
    c: CoLeaFConfig, batch: Batch, reference: ReferenceOutput | None, progress: Progress
) -> Batch:
    """The batch with the labels that the Reference refines, where they are asked for."""
    if reference is None or not c.reference_labels or progress.epoch <= c.anchor_warmup:
        return batch
    refined = losses.refine_labels(batch.each_modality_labels(), reference.modality_probs, c.threshold)
    return replace(batch, modality_labels=refined)


def anchor_terms(
    c: CoLeaFConfig, anchor: AnchorOutput, reference: ReferenceOutput, labels: Tensor, batch: Batch, progress: Progress
) -> dict[str, Term]:
    """What the Reference teaches the Anchor, by `TEACHING_TERMS`, weighted; terms in their warm-up are absent.

    Args:
        c: which terms.
        anchor: its answer, with `modality_probs`.
        reference: the teacher's.
        labels: (B,M,C) in [0,1], from `modality_labels`.
        batch: the videos.
        progress: for the epoch.

    Returns:
        Name of a term -> term.
    """
    return {
        term.name: term.compute(c, anchor, reference, labels, batch)
        for term in TEACHING_TERMS
        if term.is_active(c, progress)
    }


def event_weights(c: CoLeaFConfig, reference: ReferenceOutput) -> Tensor:
    """The weights theta of eq. 9-11, (B,M) in [0,1], without gradient."""
    if c.theta == "expected":
        return losses.soft_event_weights(reference.modality_probs)
    return losses.event_weights(reference.modality_probs, c.threshold, inclusive=c.contrast_form == "official")


def contrast(
    c: CoLeaFConfig,
    anchor: AnchorOutput,
    reference: ReferenceOutput,
    mask: Tensor | None,
    weights: Tensor | None = None,
) -> Tensor:
    """The contrast in the form that the configuration asks for, unweighted.

    Args:
        c: which form.
        anchor: its answer.
        reference: the teacher's.
        mask: (B,T) bool, True = real segment, or None.
        weights: (B,M) in [0,1], theta; None computes it by eq. 9-11.

    Returns:
        Scalar.
    """
    official = c.contrast_form == "official"
    if c.contrast == "bce":
        assert anchor.modality_probs is not None
        return losses.pseudo_label_cross_entropy(anchor.modality_probs, reference.modality_probs, threshold=c.threshold)
    weights = event_weights(c, reference) if weights is None else weights
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


def _contrast_term(
    c: CoLeaFConfig, anchor: AnchorOutput, reference: ReferenceOutput, labels: Tensor, batch: Batch
) -> Term:
    return Term(c.contrast_weight * contrast(c, anchor, reference, batch.mask), Reduction.MEAN)


def _cooccurrence_term(
    c: CoLeaFConfig, anchor: AnchorOutput, reference: ReferenceOutput, labels: Tensor, batch: Batch
) -> Term:
    assert anchor.modality_probs is not None
    taught, teacher = anchor.modality_probs, reference.modality_probs
    if c.cooccurrence_form == "official":
        term = losses.confident_cooccurrence_distillation(teacher, taught, labels > 0.5)
        return Term(c.cooccurrence_weight * term, Reduction.SUM_TIMES_VIDEOS)
    return Term(c.cooccurrence_weight * losses.cooccurrence_distillation(teacher, taught), Reduction.MEAN)


def _pseudo_label_term(
    c: CoLeaFConfig, anchor: AnchorOutput, reference: ReferenceOutput, labels: Tensor, batch: Batch
) -> Term:
    assert anchor.modality_probs is not None
    term = losses.pseudo_label_cross_entropy(
        anchor.modality_probs,
        reference.modality_probs,
        threshold=c.pseudo_label_thresholds,
        soft=c.pseudo_label_form == "soft",
        labels=batch.each_modality_labels() if c.pseudo_label_classes == "weak" else None,
    )
    return Term(c.pseudo_label_weight * term, Reduction.MEAN)


@dataclass(frozen=True)
class TeachingTerm:
    """A loss term by which the Reference teaches the Anchor; `CoLeaFConfig.teaching` lists those that are on.

    Args:
        name: of the term; a custom loss must not use it.
        warmup: the field of `CoLeaFConfig` with the number of epochs before it starts.
        reads: `(config)` -> the field of `AnchorOutput` that it trains.
        compute: `(config, anchor, reference, labels, batch)` -> the weighted term; see `anchor_terms`.
    """

    name: str
    warmup: str
    reads: Callable[[CoLeaFConfig], str]
    compute: Callable[[CoLeaFConfig, AnchorOutput, ReferenceOutput, Tensor, Batch], Term]

    def is_active(self, c: CoLeaFConfig, progress: Progress) -> bool:
        """Whether the term is on and past its warm-up in this epoch."""
        return self.name in c.teaching and progress.epoch > getattr(c, self.warmup)


TEACHING_TERMS = (
    TeachingTerm("pseudo_labels", "pseudo_label_warmup", lambda c: "modality_probs", _pseudo_label_term),
    TeachingTerm(
        "contrast", "anchor_warmup", lambda c: "modality_probs" if c.contrast == "bce" else "tokens", _contrast_term
    ),
    TeachingTerm("cooccurrence", "anchor_warmup", lambda c: "modality_probs", _cooccurrence_term),
)
"""Every term of this kind, in the order in which they are computed and summed."""


def reference_terms(
    c: CoLeaFConfig, reference: ReferenceOutput, anchor_probs: Tensor | None, labels: Tensor, progress: Progress
) -> dict[str, Term]:
    """What teaches the Reference: labels, and past its warm-up the Anchor's pseudo-labels (eq. 12).

    Args:
        c: which form, how strongly, from when.
        reference: its answer.
        anchor_probs: (B,M,C) in [0,1], the Anchor's modality probabilities; None where it is not trained yet.
        labels: (B,M,C) in [0,1], from `modality_labels`.
        progress: for the epoch.

    Returns:
        Name -> weighted term, with its reduction over videos.
    """
    teaching = anchor_probs is not None and progress.epoch > c.reference_warmup and c.self_modality_weight > 0
    pupil = anchor_probs if teaching else None
    if c.reference_loss == "official":
        return _official_reference_terms(c, reference, pupil, labels, progress)
    probs, of_tokens = reference.modality_probs, reference.class_probs
    terms = {"video": Term(losses.modality_cross_entropy(probs, labels), Reduction.MEAN)}
    if of_tokens is not None:
        terms["class_tokens"] = Term(losses.modality_cross_entropy(of_tokens, labels), Reduction.MEAN)
    if pupil is not None:
        term = losses.self_modality_distillation(pupil, probs, threshold=c.threshold)
        terms["self_modality"] = Term(c.self_modality_weight * term, Reduction.MEAN)
    return terms


def _official_reference_terms(
    c: CoLeaFConfig,
    reference: ReferenceOutput,
    anchor_probs: Tensor | None,
    labels: Tensor,
    progress: Progress,
) -> dict[str, Term]:
    late = progress.epoch > c.reference_warmup
    probs = reference.modality_probs
    term = (LABEL_WEIGHT_LATE if late else 1.0) * losses.asymmetric_focal_loss(probs, labels).sum()
    terms = {"video": Term(term, Reduction.SUM)}
    if reference.class_probs is not None:
        weights = losses.per_modality(probs, *(CLASS_TOKEN_WEIGHTS_LATE if late else CLASS_TOKEN_WEIGHTS_EARLY))
        term = (weights * losses.asymmetric_focal_loss(reference.class_probs, labels)).sum()
        terms["class_tokens"] = Term(term, Reduction.SUM)
    if anchor_probs is not None:
        thresholds = losses.per_modality(probs, *PSEUDO_THRESHOLDS)[:, None]
        pseudo = (anchor_probs.detach() > thresholds) * labels
        term = losses.asymmetric_focal_loss(probs, pseudo).sum()
        terms["self_modality"] = Term(c.self_modality_weight * PSEUDO_WEIGHT_LATE * term, Reduction.SUM)
    return terms
