"""Segment accuracy of audio-visual event localisation (Tian et al., ECCV 2018), without a class for background.

A network here has a probability for each of C classes and each modality and none for background, while the published
metric is an arg-max over C + 1. The definition here: of the classes that are decided active in both modalities of a
segment, the one with the largest product of audio and visual probability is predicted; background where there is none.
Shape letters: see `protocol.py`; N videos.
"""

from __future__ import annotations

import torch
from torch import Tensor


def segment_classes(segment_probs: Tensor, decided: Tensor) -> Tensor:
    """The predicted class of each segment.

    Args:
        segment_probs: (N,T,M,C) in [0,1].
        decided: (N,T,M,C) bool, the predicted events.

    Returns:
        (N,T) integer in [0,C]; C is background. Of equal products the class of the lowest index.
    """
    both = decided.all(2)
    product = torch.where(both, segment_probs.prod(2), -1.0)
    best = product == product.amax(2, keepdim=True)
    index = torch.arange(product.shape[2], device=product.device)
    first = torch.where(best, index, product.shape[2]).amin(2)  # argmax promises no order among equals
    return torch.where(both.any(2), first, product.shape[2])


def segment_accuracy(segment_probs: Tensor, decided: Tensor, truth: Tensor, mask: Tensor) -> float:
    """Share of segments whose class, or background, is predicted, in percent.

    Args:
        segment_probs: (N,T,M,C) in [0,1].
        decided: (N,T,M,C) bool, the predicted events; see the head of this module for the class that they make.
        truth: (N,T,M,C) bool, at most one class a segment, the same in both modalities.
        mask: (N,T) bool, True = real segment.

    Returns:
        Percent of the real segments, in [0,100].

    Raises:
        ValueError: the ground truth has two classes in a segment or differs between modalities, or there is no segment.

    Example:
        >>> truth = torch.zeros(1, 2, 2, 1, dtype=torch.bool)
        >>> truth[:, 0] = True  # one class in the first of two segments, background in the second
        >>> everywhere = torch.ones_like(truth)
        >>> segment_accuracy(everywhere.float(), everywhere, truth, torch.ones(1, 2, dtype=torch.bool))
        50.0
    """
    audible, visible = truth.unbind(2)
    if not torch.equal(audible, visible) or (audible.sum(2) > 1).any():
        raise ValueError(
            "segment accuracy needs ground truth of at most one class a segment, the same in audio and visual"
        )
    if not mask.any():
        raise ValueError("no segments to score")
    background = truth.shape[3]
    true = torch.where(audible.any(2), audible.int().argmax(2), background)
    right = segment_classes(segment_probs, decided) == true
    return 100 * right[mask].double().mean().item()
