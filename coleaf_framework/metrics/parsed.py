"""A parsed split as plain tensors, for a data set's own scores. Shape letters: see `protocol.py`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from coleaf_framework.metrics.decision import DecisionConfig


@dataclass(frozen=True)
class ParsedSplit:
    """A parser's answers for the N videos of a split, beside the ground truth; all tensors are on the CPU.

    Args:
        ids: N video ids, in the order of the data set.
        segment_probs: (N,T,M,C) float32 in [0,1]; videos are padded to the longest one.
        modality_probs: (N,M,C) float32 in [0,1].
        video_probs: (N,C) float32 in [0,1].
        decision: the thresholds.
        decided: (N,T,M,C) bool, the predicted events at these thresholds; False in padding.
        truth: (N,T,M,C) bool, the ground truth; False in padding.
        labels: (N,C) weak labels in {0,1}.
        mask: (N,T) bool, True = real segment.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.9], [0.2, 0.7]]).view(1, 2, 2, 1)  # one video of two segments, one class
        >>> parsed = ParsedSplit(
        ...     ids=("v1",), segment_probs=probs, modality_probs=torch.ones(1, 2, 1), video_probs=torch.ones(1, 1),
        ...     decision=DecisionConfig(), decided=probs >= 0.5, truth=torch.ones(1, 2, 2, 1, dtype=torch.bool),
        ...     labels=torch.ones(1, 1), mask=torch.ones(1, 2, dtype=torch.bool),
        ... )
        >>> (parsed.decided == parsed.truth).float().mean().item()
        0.75
    """

    ids: tuple[str, ...]
    segment_probs: Tensor
    modality_probs: Tensor
    video_probs: Tensor
    decision: DecisionConfig
    decided: Tensor
    truth: Tensor
    labels: Tensor
    mask: Tensor
