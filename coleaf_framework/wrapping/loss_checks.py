"""Checks of what a network computes from labels: its own loss, and its own modality labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework._config import WrongTypeError
from coleaf_framework.adapters import the_only_value
from coleaf_framework.collaboration import (
    PSEUDO_LABEL_TERMS,
    TEACHING_TERMS,
    LabelLoss,
    custom_loss,
    custom_modality_labels,
    raw_loss_terms,
    takes_progress,
)
from coleaf_framework.protocol import AnchorOutput, Batch, Progress
from coleaf_framework.wrapping.checks import type_and_shape

# A custom loss may change over epochs and from step to step, so it is tried early and late in training.
LOSS_PROGRESS = (Progress(1, 0), Progress(1000, 1))
# Epochs of further runs, for parameters that are used only sometimes: layers dropped at random, terms of some epochs.
EXTRA_EPOCHS = (2, 3, 4, 5, 7, 10, 15, 20, 25, 30, 50, 100)


def check_modality_labels(
    network: nn.Module, output: AnchorOutput, inputs: Mapping[str, Tensor], num_classes: int, progress: Progress
) -> None:
    """Check the modality labels of a network with a method `modality_labels`."""
    refine, name = custom_modality_labels(network), type(network).__name__
    if refine is None:
        return
    try:
        labels = refine(output, labelled_batch(output, inputs, num_classes), progress)
    except Exception as problem:
        raise ValueError(
            f"{name}.modality_labels(output, batch, progress) fails on a synthetic batch: "
            f"{type(problem).__name__}: {problem}"
        ) from problem
    shape = (len(output.video_probs), 2, num_classes)
    valid = isinstance(labels, Tensor) and labels.shape == shape and labels.is_floating_point()
    if not valid or not ((labels >= 0) & (labels <= 1)).all():
        actual = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type_and_shape(labels)
        raise ValueError(f"{name}.modality_labels: expected (B,M,C) = {shape} in [0, 1], got {actual}")


def labelled_batch(output: AnchorOutput, inputs: Mapping[str, Tensor], num_classes: int) -> Batch:
    """A batch whose first video has all classes and the others random ones, and pseudo-labels that are random too."""
    labels = (torch.rand(len(output.video_probs), num_classes, device=output.video_probs.device) < 0.5).float()
    labels[0] = 1
    return Batch(streams=inputs, labels=labels, pseudo_labels=torch.rand_like(output.segment_probs.detach().float()))


def check_label_loss(
    network: nn.Module, how: LabelLoss, output: AnchorOutput, returned: list[Any], batch: Batch, progress: Progress
) -> list[Tensor]:
    """Check the loss that `wrap` was given, or else the network's custom loss.

    Args:
        network: whose loss it is.
        how: has the loss that `wrap` was given.
        output: the network's answer, with modality probabilities.
        returned: what the network itself returned, once for each run.
        batch: of labels.
        progress: of training.

    Returns:
        Its terms; none where there is no such loss.

    Raises:
        ValueError, TypeError: it fails, or returns something else than scalars.
    """
    own, name = custom_loss(network), f"{type(network).__name__}.loss"
    mend = " (if its `loss` is something else, pass config=CoLeaFConfig(anchor_loss='video'))"
    call = f"{name}(output, batch, progress)"
    try:
        if how.raw is not None:
            name, mend = "wrap(loss=...)", ""
            call = f"loss(raw, batch{', progress' if takes_progress(how.raw) else ''})"
            raw = the_only_value(returned, type(network).__name__)
            terms: Any = raw_loss_terms(how.raw, raw, batch, progress)
        elif own is not None:
            terms = own(output, batch, progress)
        else:
            return []
    except WrongTypeError:
        raise
    except Exception as problem:
        raise ValueError(f"{call} fails on a synthetic batch: {type(problem).__name__}: {problem}{mend}") from problem
    _check_terms(terms, name)
    return list(terms.values())


def _check_terms(terms: Any, name: str) -> None:
    if isinstance(terms, Mapping) and not terms:
        raise ValueError(f"{name} returns an empty mapping, where named scalar tensors were expected")
    if not isinstance(terms, Mapping):
        raise WrongTypeError(f"{name} returns {type_and_shape(terms)}, not a mapping of named scalar tensors")
    for term, value in terms.items():
        if term in (*(taught.name for taught in TEACHING_TERMS), *PSEUDO_LABEL_TERMS):
            raise ValueError(f"{name}: {term!r} is the name of a term of CoLeaF: call yours something else")
        valid = isinstance(value, Tensor) and not value.ndim and bool(torch.isfinite(value))
        if not valid or not (value.requires_grad or value == 0):  # a term that is not yet on may be a plain zero
            raise ValueError(f"{name}: {term!r} is not a finite scalar tensor with gradient: {value!r}")
