"""From probabilities to decisions. Shape letters: see `protocol.py`."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from coleaf_framework._config import StrictConfig
from coleaf_framework.protocol import AnchorOutput

Probability = Annotated[float, Field(ge=0, le=1)]
Threshold = Probability | tuple[Probability, ...]


class DecisionConfig(StrictConfig):
    """An event is predicted where its segment probability and its gate both reach their thresholds.

    The defaults are HAN's published decision.
    """

    segment_threshold: Threshold = Field(0.5, description="one value, or one per class")
    gate: Literal["video", "modality"] = Field("video", description="which probabilities open the gate")
    gate_threshold: Threshold = Field(0.5, description="one value, or one per class")


def decide(output: AnchorOutput, config: DecisionConfig, mask: Tensor | None = None) -> Tensor:
    """Decisions on a batch.

    Args:
        output: with `modality_probs` set where the gate is on them.
        config: thresholds.
        mask: (B,T) bool, True = real segment; nothing is predicted elsewhere.

    Returns: (B,T,M,C) bool.

    Raises:
        ValueError: a per-class threshold of another number of classes.
    """
    gate = output.video_probs[:, None, :] if config.gate == "video" else output.modality_probs
    if gate is None:
        raise ValueError("the gate is on modality probabilities, but the output has none")
    opened = gate >= _threshold(config.gate_threshold, gate, "gate_threshold")
    segments = output.segment_probs
    decided = (segments >= _threshold(config.segment_threshold, segments, "segment_threshold")) & opened[:, None]
    return decided if mask is None else decided & mask[:, :, None, None]


def _threshold(value: float | tuple[float, ...], like: Tensor, name: str) -> Tensor:
    threshold = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if threshold.ndim and len(threshold) != like.shape[-1]:
        raise ValueError(f"decision.{name} has {len(threshold)} values for {like.shape[-1]} classes")
    return threshold
