"""Decided events as probabilities of 0 and 1, from which the same decisions follow."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from coleaf_framework.metrics import DecisionConfig


def certain_fields(decided: Tensor) -> dict[str, Any]:
    """The fields of a `Predictions` whose `decided()` is `decided`.

    Args:
        decided: (N,T,M,C) bool, False in padding.

    Returns:
        Name of a field -> value.

    Example:
        >>> import torch
        >>> certain_fields(torch.ones(1, 2, 2, 3, dtype=torch.bool))["video_probs"]
        tensor([[1., 1., 1.]])
    """
    segment_probs = decided.float()
    modality_probs = segment_probs.amax(1)
    return {
        "segment_probs": segment_probs,
        "modality_probs": modality_probs,
        "video_probs": modality_probs.amax(1),
        "decision": DecisionConfig(),
    }
