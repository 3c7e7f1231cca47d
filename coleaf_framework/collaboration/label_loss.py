"""What teaches the Anchor by labels alone: its own loss, the one that `wrap` was given, or a default.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from coleaf_framework import losses
from coleaf_framework._config import WrongTypeError
from coleaf_framework.collaboration.config import CoLeaFConfig
from coleaf_framework.collaboration.reduction import Reduction, Term
from coleaf_framework.collaboration.terms import TEACHING_TERMS
from coleaf_framework.protocol import AnchorOutput, Batch, Progress

RawLoss = Callable[..., Any]
"""`(raw, batch)` or `(raw, batch, progress)` -> a scalar, or named scalars; each a mean over videos."""
DefaultLoss = Literal["video", "modalities"]
SCALAR = "loss"
"""Name of the term of a `RawLoss` that returns one scalar."""
PSEUDO_LABEL_TERMS = ("segment_labels", "modality_labels")
"""Names of the terms of the data's pseudo-labels, which the Anchor's own loss must not use."""
# Audio, visual, video; of the authors' code.
AUDIO_WEIGHT, VISUAL_WEIGHT, VIDEO_WEIGHT = 2.0, 1.0, 2.0


@dataclass(frozen=True)
class LabelLoss:
    """How labels teach an Anchor, as given to `wrap` or decided by it.

    Args:
        raw: a loss of what the network itself returns, in place of the Anchor's own; None without one.
        default: for an Anchor without a loss: "video", BCE on the video probabilities; or "modalities", BCE on those of
            either modality too.
        positive_shares: (M,C) in [0,1], the share of positive pseudo-labels in the training split, for
            `segment_label_balance`; None where it is not known.
    """

    raw: RawLoss | None = None
    default: DefaultLoss = "video"
    positive_shares: Tensor | None = field(default=None, compare=False)


VIDEO_ALONE = LabelLoss()


def custom_loss(anchor: nn.Module) -> Callable[..., Mapping[str, Tensor]] | None:
    """The Anchor's `loss(output, batch, progress)`, or None; a submodule of that name, such as BCELoss, is none."""
    own = getattr(anchor, "loss", None)
    return own if callable(own) and not isinstance(own, nn.Module) else None


def takes_progress(loss: RawLoss) -> bool:
    """Whether a loss takes the progress of training as its third argument.

    Raises:
        TypeError: it takes neither two nor three arguments.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        signature = inspect.signature(loss)
    except ValueError:  # a builtin without one
        return False
    places = [x for x in signature.parameters.values() if x.kind in kinds]
    third = "progress" in [x.name for x in places[2:3]] or sum(x.default is x.empty for x in places) > 2
    try:
        signature.bind(*range(3 if third else 2))
    except TypeError:
        raise WrongTypeError(
            f"loss takes {signature}, where a function (raw, batch) or (raw, batch, progress) was expected"
        ) from None
    return third


def raw_loss_terms(loss: RawLoss, raw: object, batch: Batch, progress: Progress) -> Mapping[str, Tensor]:
    """The terms of a loss of the network's own outputs, by name.

    Args:
        loss: see `RawLoss`.
        raw: what the network returned.
        batch: the videos.
        progress: epoch and step.

    Returns:
        Name -> scalar; a loss that returns one scalar has a single name, `SCALAR`.
    """
    returned = loss(raw, batch, progress) if takes_progress(loss) else loss(raw, batch)
    return returned if isinstance(returned, Mapping) else {SCALAR: returned}


def has_custom_loss(c: CoLeaFConfig, anchor: nn.Module, how: LabelLoss = VIDEO_ALONE) -> bool:
    """Whether the Anchor's own loss, or the one that `wrap` was given, is used."""
    return c.anchor_loss != "video" and (how.raw is not None or custom_loss(anchor) is not None)


def uses_default_loss(c: CoLeaFConfig, anchor: nn.Module, how: LabelLoss = VIDEO_ALONE) -> bool:
    """Whether labels teach the Anchor by the default, which nothing in the configuration replaces."""
    replaced = c.anchor_loss == "video" or (c.anchor_loss == "official" and c.enabled)
    return not replaced and not has_custom_loss(c, anchor, how)


def reads_modality_labels(c: CoLeaFConfig, anchor: nn.Module, how: LabelLoss = VIDEO_ALONE) -> bool:
    """Whether a training may read `Batch.modality_labels`: by the Reference's loss, the Anchor's own, or the default.

    An Anchor's own loss is assumed to read them. A default loss does where a batch has any (`anchor_update`).

    Args:
        c: which loss terms there are.
        anchor: for its own loss.
        how: the loss given to `wrap`, and which default.

    Returns:
        False only where it is certain that none is read.
    """
    return c.enabled or has_custom_loss(c, anchor, how) or uses_default_loss(c, anchor, how)


def supervised_outputs(c: CoLeaFConfig, anchor: nn.Module, how: LabelLoss = VIDEO_ALONE) -> tuple[str, ...]:
    """The fields of the Anchor's output that some term reads in some epoch, its own loss aside."""
    fields = set()
    if c.anchor_loss == "official" and c.enabled:
        fields |= {"modality_probs", "video_probs"}
    elif not has_custom_loss(c, anchor, how):
        fields.add("video_probs")
        if uses_default_loss(c, anchor, how) and how.default == "modalities":
            fields.add("modality_probs")
    if c.enabled:
        fields |= {term.reads(c) for term in TEACHING_TERMS if term.name in c.teaching}
    if c.modality_label_weight:
        fields.add("modality_probs")
    if c.segment_label_weight:
        fields.add("segment_probs")
    return tuple(sorted(fields))


def anchor_loss(
    c: CoLeaFConfig,
    anchor: nn.Module,
    output: AnchorOutput,
    labels: Tensor,
    batch: Batch,
    progress: Progress,
    how: LabelLoss = VIDEO_ALONE,
    raw: object = None,
) -> dict[str, Term]:
    """What teaches the Anchor without the Reference: its own loss, the one given to `wrap`, or the default; and beside
    it the data's pseudo-labels.

    The terms of an own or given loss are means over videos, as `protocol.Anchor` asks.

    Args:
        c: which loss.
        anchor: for its own loss.
        output: its answer.
        labels: (B,M,C) in [0,1], from `modality_labels`.
        batch: for its weak labels.
        progress: for an own loss that changes over time.
        how: the loss given to `wrap`, and which default.
        raw: what the network itself returned, for the loss given to `wrap`.

    Returns:
        Name -> weighted term, a mean over videos.

    Raises:
        ValueError: as `pseudo_label_terms` does.
    """
    terms: Mapping[str, Tensor] = {}
    if has_custom_loss(c, anchor, how):
        own = custom_loss(anchor)
        if how.raw is not None:
            terms = raw_loss_terms(how.raw, raw, batch, progress)
        elif own is not None:
            terms = own(output, batch, progress)
    if c.anchor_loss == "official" and c.enabled:
        audio, visual, video = _cross_entropies(output, labels, batch)
        official = {"audio": AUDIO_WEIGHT * audio, "visual": VISUAL_WEIGHT * visual, "video": VIDEO_WEIGHT * video}
        terms = {**terms, **official}
    elif uses_default_loss(c, anchor, how) and how.default == "modalities":
        audio, visual, video = _cross_entropies(output, batch.each_modality_labels(), batch)
        terms = {"video": video, "audio": audio, "visual": visual}
    elif not has_custom_loss(c, anchor, how):
        terms = {"video": losses.binary_cross_entropy(output.video_probs, batch.labels)}
    terms = {**terms, **pseudo_label_terms(c, output, batch, how)}
    return {name: Term(x, Reduction.MEAN) for name, x in terms.items()}


def pseudo_label_terms(
    c: CoLeaFConfig, output: AnchorOutput, batch: Batch, how: LabelLoss = VIDEO_ALONE
) -> dict[str, Tensor]:
    """The weighted terms of the data's pseudo-labels, means over videos; empty where their weights are 0.

    Also empty until `label_teacher_warmup` ends, if the Anchor's moving average alone makes the pseudo-labels.

    Args:
        c: weights, form, smoothing and balance.
        output: the Anchor's answer.
        batch: the videos, with pseudo-labels.
        how: the share of positive labels, where they are balanced.

    Returns:
        Name -> scalar.

    Raises:
        ValueError: a weight is set and the batch has no pseudo-labels, or the labels are to be balanced and the share
            of positive ones is unknown.
    """
    if not c.reads_segment_labels:
        return {}
    if batch.pseudo_labels is None:
        if c.label_teacher_ema:
            return {}
        name = "segment_label_weight" if c.segment_label_weight else "modality_label_weight"
        raise ValueError(f"coleaf.{name} is {getattr(c, name):g}, but the batch has no pseudo_labels to read")
    labels, masks = batch.pseudo_labels, (batch.mask, batch.pseudo_label_mask)
    hard, smoothing = c.segment_label_form == "hard", c.segment_label_smoothing
    terms = {}
    if c.segment_label_weight:
        weight = None
        if c.segment_label_balance > 1:
            if how.positive_shares is None:
                raise ValueError(
                    "coleaf.segment_label_balance needs LabelLoss.positive_shares, the share of positive labels in the "
                    "training split, which CoLeaFTrainer sets"
                )
            weight = losses.positive_weights(how.positive_shares.to(labels.device), c.segment_label_balance)
        term = losses.segment_label_cross_entropy(
            output.segment_probs,
            labels,
            *masks,
            hard=hard,
            smoothing=smoothing,
            positive_weight=weight,
            modality_weights=c.segment_label_modalities,
        )
        terms["segment_labels"] = c.segment_label_weight * term
    if c.modality_label_weight:
        assert output.modality_probs is not None
        term = losses.modality_label_cross_entropy(
            output.modality_probs, labels, *masks, hard=hard, smoothing=smoothing
        )
        terms["modality_labels"] = c.modality_label_weight * term
    return terms


def _cross_entropies(output: AnchorOutput, labels: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """BCE of audio and visual probabilities against labels (B,M,C), and of video probabilities against weak ones."""
    assert output.modality_probs is not None
    audio, visual = output.modality_probs.unbind(1)
    return (
        losses.binary_cross_entropy(audio, labels[:, 0]),
        losses.binary_cross_entropy(visual, labels[:, 1]),
        losses.binary_cross_entropy(output.video_probs, batch.labels),
    )
