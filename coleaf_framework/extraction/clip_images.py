"""Images as CLIP takes them, prepared as VALOR (Lai et al., NeurIPS 2023) did.

An image is resized as a tensor to the model's square, bilinear without antialiasing and without keeping its aspect
ratio, then normalised by CLIP's mean and deviation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

CLIP_MODEL = "openai/clip-vit-large-patch14"
"""VALOR's."""
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(image: Tensor, size: int) -> Tensor:
    """An image as CLIP takes it.

    Args:
        image: (3,H,W) uint8, RGB.
        size: Of the model's square.

    Returns:
        (3,size,size) float32.

    Example:
        >>> clip_pixels(torch.zeros(3, 4, 6, dtype=torch.uint8), 2).shape
        torch.Size([3, 2, 2])
    """
    resized = interpolate(image[None].float() / 255, (size, size), mode="bilinear", align_corners=False)[0]
    mean, deviation = (torch.tensor(x)[:, None, None] for x in (_MEAN, _DEVIATION))
    return (resized - mean) / deviation
