"""Decisions: thresholds that turn probabilities into predicted events. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from coleaf_framework._config import StrictConfig, WrongTypeError, shown
from coleaf_framework.protocol import MODALITIES, AnchorOutput

Probability = Annotated[float, Field(ge=0, le=1)]
Threshold = Probability | tuple[Probability, ...]


class ModalityThresholds(StrictConfig):
    """Separate thresholds for audio and visual: one value, or one per class, in [0,1].

    Example:
        >>> ModalityThresholds(audio=0.5, visual=(0.3, 0.4)).visual
        (0.3, 0.4)
    """

    audio: Threshold
    visual: Threshold


class DecisionConfig(StrictConfig):
    """Thresholds on segment probabilities and on a gate; an event is predicted where both are reached.

    The gate is the video or the modality probability of the class. The defaults are HAN's published decision.

    Example:
        >>> DecisionConfig(gate="modality", gate_threshold=0.45).segment_threshold
        0.5
    """

    segment_threshold: Threshold = Field(0.5, description="one value, or one per class")
    gate: Literal["video", "modality"] = Field("video", description="which probabilities the gate is on")
    gate_threshold: Threshold | ModalityThresholds = Field(
        0.5, description="one value, one per class, or {audio: ..., visual: ...} of those"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="class names, in the order of the thresholds per class; required in files that have those"
    )
    chosen_on: str | None = Field(
        None, description="the split that `coleaf thresholds` chose them on; scores on that split get a caveat"
    )

    def per_class(self) -> dict[str, tuple[float, ...]]:
        """The fields that hold a value per class."""
        fields = {"segment_threshold": self.segment_threshold}
        gate = self.gate_threshold
        if isinstance(gate, ModalityThresholds):
            fields |= {"gate_threshold.audio": gate.audio, "gate_threshold.visual": gate.visual}
        else:
            fields["gate_threshold"] = gate
        return {name: value for name, value in fields.items() if isinstance(value, tuple)}

    def require_classes(self, num_classes: int, names: Sequence[str] | None = None) -> None:
        """Check that the thresholds per class match a list of classes.

        Args:
            num_classes: number of classes, C.
            names: the C class names; None where they are unknown.

        Raises:
            ValueError: their number, names or order differ; names the field.
        """
        for name, value in self.per_class().items():
            if len(value) != num_classes:
                raise ValueError(f"decision.{name} has {len(value)} values for {num_classes} classes")
            if names is None or self.classes is None or tuple(names) == self.classes:
                continue
            own, other = next(
                (pair for pair in zip(self.classes, names, strict=False) if pair[0] != pair[1]), (self.classes, names)
            )
            raise ValueError(
                f"decision.{name} is for other classes or another order: it has {own!r} where these have {other!r}"
            )

    def named(self, names: Sequence[str]) -> DecisionConfig:
        """A copy with the class names filled in, if any threshold is per class."""
        return self.model_copy(update={"classes": tuple(names)}) if self.per_class() else self


def gate_thresholds(config: DecisionConfig, like: Tensor) -> Tensor:
    """The gate's thresholds as a tensor (M or 1, C), with the dtype and device of `like` (..., C)."""
    threshold = config.gate_threshold
    rows = (threshold.audio, threshold.visual) if isinstance(threshold, ModalityThresholds) else (threshold,)
    return torch.stack([like.new_tensor(row).expand(like.shape[-1]) for row in rows])


def _require_fitting(output: AnchorOutput, config: DecisionConfig, mask: Tensor | None) -> None:
    for what, value, kind in (("output", output, AnchorOutput), ("config", config, DecisionConfig)):
        if not isinstance(value, kind):
            raise WrongTypeError(f"{what} is {shown(value)}, where a {kind.__name__} was expected")
    actual = tuple(output.segment_probs.shape)
    if len(actual) != 4 or actual[2] != len(MODALITIES):
        raise ValueError(f"segment_probs has shape {actual}, where (B,T,M=2,C) was expected")
    b, t, m, c = actual
    expected = {"video_probs": (output.video_probs, (b, c)), "modality_probs": (output.modality_probs, (b, m, c))}
    for name, (x, shape) in (expected | {"mask": (mask, (b, t))}).items():
        if x is not None and tuple(x.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}, where {shape} was expected, as of segment_probs {actual}"
            )
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask is of {mask.dtype}, where torch.bool was expected")


def gate_and_segments(output: AnchorOutput, config: DecisionConfig, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gate's probabilities (B, 1 or M, C), and the thresholded segments (B,T,M,C) bool before gating.

    Args:
        output: the Anchor's probabilities; `modality_probs` must be given where the gate is on them.
        config: the thresholds.
        mask: (B,T) bool, True = real segment; None where all are.

    Returns:
        (B, 1 or M, C) in [0,1], and (B,T,M,C) bool, False in padding.

    Raises:
        ValueError: as `decide` does.
    """
    _require_fitting(output, config, mask)
    config.require_classes(output.video_probs.shape[-1])
    gate = output.video_probs[:, None, :] if config.gate == "video" else output.modality_probs
    if gate is None:
        raise ValueError("the gate is on modality probabilities, but the output has none")
    probs = output.segment_probs
    segments = probs >= probs.new_tensor(config.segment_threshold)
    return gate, segments if mask is None else segments & mask[:, :, None, None]


def decide(output: AnchorOutput, config: DecisionConfig, mask: Tensor | None = None) -> Tensor:
    """Predicted events of a batch.

    Args:
        output: the Anchor's probabilities; `modality_probs` must be given where the gate is on them.
        config: the thresholds.
        mask: (B,T) bool, True = real segment; nothing is predicted in padding.

    Returns:
        (B,T,M,C) bool.

    Raises:
        ValueError, TypeError: thresholds per class for another number of classes, or tensors whose shapes do not match.

    Example:
        >>> segment_probs = torch.tensor([0.9, 0.2]).view(1, 1, 2, 1)  # heard, hardly seen
        >>> output = AnchorOutput(segment_probs, video_probs=torch.tensor([[0.8]]), tokens=torch.zeros(1, 1, 2, 4))
        >>> decide(output, DecisionConfig()).flatten()
        tensor([ True, False])
        >>> decide(output, DecisionConfig(gate_threshold=0.85)).any()  # the gate is closed
        tensor(False)
    """
    gate, segments = gate_and_segments(output, config, mask)
    return segments & (gate >= gate_thresholds(config, gate))[:, None]
