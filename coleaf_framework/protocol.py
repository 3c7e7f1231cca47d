"""The data classes and interfaces that networks, data sets and the training loop share.

Shape letters, used in every docstring of this project:

    B videos    T segments (10 in LLP)    M = 2 modalities (0 audio, 1 visual)
    C event classes    D token width    k frames per segment (8 for LLP's 2D frames)

Probabilities are in [0, 1] everywhere outside a network, never logits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

Modality = Literal["audio", "visual"]
MODALITIES: tuple[Modality, Modality] = ("audio", "visual")


@dataclass(frozen=True)
class StreamSpec:
    """One input stream of a network: its tensor is (B, frames * T, width), float.

    Args:
        width: feature width, at least 1.
        modality: "audio" or "visual"; the Reference reads a stream in the branch of its modality.
        frames: vectors per segment, at least 1 (8 for LLP's 2D frames).
        averaged: number of frames that each vector is the mean of, 1 for single frames. A network that applies a
            non-linear layer to single frames must refuse a stream with a value above 1.

    Raises:
        ValueError: an unknown modality, or a number below 1.
    """

    width: int
    modality: Modality
    frames: int = 1
    averaged: int = 1

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"StreamSpec: modality {self.modality!r} is not one of {MODALITIES}")
        for name, value in (("width", self.width), ("frames", self.frames), ("averaged", self.averaged)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"StreamSpec: {name} must be a whole number of at least 1, got {value!r}")


LLP_STREAMS: Mapping[str, StreamSpec] = {  # a plain dict, since networks that keep it are copied and pickled
    "audio": StreamSpec(128, "audio"),
    "visual": StreamSpec(2048, "visual", frames=8),
    "visual_st": StreamSpec(512, "visual"),
}
"""LLP's published features: VGGish, ResNet152 at 8 frames a second, R(2+1)D."""


@dataclass(frozen=True)
class AnchorOutput:
    """The outputs of an Anchor.

    Args:
        segment_probs: (B,T,M,C) in [0,1], P^a and P^v of the paper.
        video_probs: (B,C) in [0,1], the paper's blackboard P.
        tokens: (B,T,M,D), output tokens with gradient, F-hat of the paper.
        modality_probs: (B,M,C) in [0,1], the paper's script P. If None, `CoLeaF` pools the segment probabilities
            (`coleaf_framework.losses.pool_segments`).
    """

    segment_probs: Tensor
    video_probs: Tensor
    tokens: Tensor
    modality_probs: Tensor | None = None


@dataclass(frozen=True)
class ReferenceOutput:
    """The outputs of a Reference; the double-dotted symbols of the paper.

    Args:
        segment_probs: (B,T,M,C) in [0,1].
        modality_probs: (B,M,C) in [0,1].
        tokens: (B,T,M,D), D equal to the Anchor's.
        class_probs: (B,M,C) in [0,1], CLS of the paper; None without class tokens.
    """

    segment_probs: Tensor
    modality_probs: Tensor
    tokens: Tensor
    class_probs: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """A batch of videos.

    Args:
        streams: stream name -> (B, frames * T, width) float.
        labels: (B,C) float in {0,1}, the weak labels Y.
        segment_labels: (B,T,M,C) bool, the ground truth; None where a split has only weak labels.
        mask: (B,T) bool, True = real segment; None where all videos have T segments.
        modality_labels: (B,M,C) in [0,1], labels per modality that an Anchor's custom loss uses in place of `labels`;
            None where there are only weak labels. Given by data sets that annotate either modality; set by CoLeaF where
            the Reference refines labels.
        pseudo_labels: (B,T,M,C) in [0,1], labels of segments that a teacher made; None without them.
        pseudo_label_mask: (B,T,M,C) bool, True where `pseudo_labels` say something; None where they do everywhere that
            `mask` does.
        ids: one per video, in order.
        fraction: share of the training step's videos that are in this batch, in [0,1]. It is below 1 for a micro-batch
            of a step that is split over ranks or accumulated; the losses of all micro-batches add up to the loss of
            the whole step.
    """

    streams: Mapping[str, Tensor]
    labels: Tensor
    segment_labels: Tensor | None = None
    mask: Tensor | None = None
    modality_labels: Tensor | None = None
    pseudo_labels: Tensor | None = None
    pseudo_label_mask: Tensor | None = None
    ids: tuple[str, ...] = ()
    fraction: float = 1.0

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with every tensor on `device`."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; called by `torch.utils.data.DataLoader`."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        def change_if_given(x: Tensor | None) -> Tensor | None:
            return None if x is None else change(x)

        return replace(
            self,
            streams={name: change(x) for name, x in self.streams.items()},
            labels=change(self.labels),
            segment_labels=change_if_given(self.segment_labels),
            mask=change_if_given(self.mask),
            modality_labels=change_if_given(self.modality_labels),
            pseudo_labels=change_if_given(self.pseudo_labels),
            pseudo_label_mask=change_if_given(self.pseudo_label_mask),
        )

    def each_modality_labels(self) -> Tensor:
        """`modality_labels` where they are given, else the weak labels for both modalities: (B,M,C) in [0,1]."""
        if self.modality_labels is not None:
            return self.modality_labels
        return self.labels[:, None].expand(-1, len(MODALITIES), -1)


@dataclass(frozen=True)
class Progress:
    """The current epoch and step, for losses that change during training.

    Args:
        epoch: counted from 1.
        step: number of training steps before this one, over all epochs.
    """

    epoch: int
    step: int = 0


PAST_EVERY_WARMUP = Progress(epoch=sys.maxsize)


class Anchor(Protocol):
    """Any AVVP network; the branch that is deployed.

    `forward` may also take `mask` (B,T) bool, needed for videos of unequal length. An Anchor may have a custom loss
    `loss(output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]` that returns named scalars. Each
    must be a mean over videos, since a step may be split into micro-batches (`Batch.fraction`). Without a custom loss
    the Anchor is trained with BCE(Y, video_probs), and with BCE(Y, modality_probs) too where the former would not train
    what computes its segment probabilities.

    Further attributes of its class, each optional:

    - `paper`, `licence`: texts; whose facts it follows.
    - `decision`: published thresholds.
    - `published_training`: keys and values of the section `trainer`, for the recipe published.
    - `learning_rate_factors`: beginning of parameter names -> factor, for parts with a learning rate of their own.
    - `training_only`: beginnings of parameter names that training alone uses; costs of inference leave them out.
    - `fixed_segments`: the only T that a network works for, as where T is the width of a layer; it stands for
      `wrap(..., segments=...)`.
    - `published_tensors(tensors)`: a static method that turns the tensors of a published checkpoint, by name, into
      those of this network.
    - `published_options`: options of the constructor for a network that takes a published checkpoint, which may lack
      parts used in training only.
    - `import_note`: a sentence for those who import a published checkpoint: what this network does otherwise.
    """

    streams: Mapping[str, StreamSpec]
    num_classes: int

    def __call__(self, **streams: Tensor) -> AnchorOutput: ...


class Reference(Protocol):
    """A unimodal network, used in training only.

    Its constructor takes `streams`, `num_classes` and `width` (the Anchor's token width D). `forward` may also take
    `need_class_probs`, which is False where no loss reads the class probabilities, so that they need not be computed.
    """

    def __call__(self, *, mask: Tensor | None = None, **streams: Tensor) -> ReferenceOutput: ...
