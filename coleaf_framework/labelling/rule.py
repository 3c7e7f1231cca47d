"""The rule by which a teacher's similarities become hard labels of segments (VALOR: Lai et al., NeurIPS 2023).

A segment t has class c in a modality iff the weak label has c and scale * cos(segment t, prompt c) > threshold[c].
Shape letters: see `protocol.py`; E is the width of an embedding.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize


def similarity_logits(segments: Tensor, text: Tensor, scale: float) -> Tensor:
    """Scaled cosine similarities of segments and classes.

    Args:
        segments: (T,E), embeddings of the segments; one that is all zeros is similar to nothing.
        text: (C,E), embeddings of the classes' prompts.
        scale: factor of the cosines, above 0; near 100 for CLIP.

    Returns:
        (T,C) float64 in [-scale, scale].

    Example:
        >>> import torch
        >>> similarity_logits(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]), scale=10)
        tensor([[6., 8.]], dtype=torch.float64)
    """
    return scale * normalize(segments.double(), dim=-1) @ normalize(text.double(), dim=-1).T


def label_segments(logits: Tensor, weak: Tensor, thresholds: Tensor) -> Tensor:
    """Hard labels of a video's segments.

    Args:
        logits: (T,C), such as scaled cosines.
        weak: (C,) in {0,1}, the video's weak label.
        thresholds: (C,), exceeded strictly.

    Returns:
        (T,C) float32 in {0,1}, 0 outside the weak label.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[16.0, 20.0], [15.0, 20.0]])
        >>> label_segments(logits, torch.tensor([1.0, 0.0]), torch.tensor([15.0, 15.0]))
        tensor([[1., 0.],
                [0., 0.]])
    """
    return ((logits > thresholds.to(logits.dtype)) & (weak > 0.5)).float()
