"""What LLP's three networks see of frames and samples (Tian et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coleaf_framework._extras import require_library
from coleaf_framework.extraction.log_mel import SAMPLE_RATE, log_mel
from coleaf_framework.extraction.recipe import Array
from coleaf_framework.extraction.sampling import frame_positions

SHORTER_SIDE, IMAGE, CLIP = 256, 224, 112  # pixels

Image = NDArray[np.uint8]
Prepared = tuple[Image, Image]
"""(224,224,3) for ResNet-152 and (112,112,3) for R(2+1)D-18: 188 KB."""


def prepare_frame(frame: Image) -> Prepared:
    """What the two visual networks see of a frame; resizing is Pillow's bilinear filter.

    Args:
        frame: (H,W,3), RGB.

    Returns:
        (224,224,3), the middle of the frame whose shorter side was brought to 256, and (112,112,3), the whole frame
        without regard to its aspect ratio.

    Raises:
        ImportError: Pillow is not installed.
    """
    Pillow = require_library("PIL.Image", "the recipe llp", "llp")
    image = Pillow.fromarray(frame)
    shorter = min(image.size)
    width, height = (SHORTER_SIDE * side // shorter for side in image.size)
    left, top = (round((side - IMAGE) / 2) for side in (width, height))  # halves to even
    resized = image.resize((width, height), Pillow.Resampling.BILINEAR)
    return (
        np.array(resized.crop((left, top, left + IMAGE, top + IMAGE))),
        np.array(image.resize((CLIP, CLIP), Pillow.Resampling.BILINEAR)),
    )


def sampled(frames: Sequence[Prepared], number: int) -> list[Prepared]:
    """Frames of a window that should have `number`, by `frame_positions`; black ones where there are none."""
    if not frames:
        return [(np.zeros((IMAGE, IMAGE, 3), np.uint8), np.zeros((CLIP, CLIP, 3), np.uint8))] * number
    return [frames[i] for i in frame_positions(len(frames), number, number)]


def spectrograms(samples: NDArray[np.float32], seconds: int) -> list[Array]:
    """Log-mel spectrograms of seconds, each computed by itself.

    Samples are rounded to 16 bits, since LLP's scripts write WAV files first, and zeros follow where they end early.

    Args:
        samples: (channels, n) in [-1,1], at 16 kHz.
        seconds: Number of seconds, T.

    Returns:
        T spectrograms, (1,96,64) float32.
    """
    whole = np.rint(samples[:, : seconds * SAMPLE_RATE].astype(np.float64) * 32768)
    mono = np.zeros(seconds * SAMPLE_RATE)
    mono[: whole.shape[1]] = (np.clip(whole, -32768, 32767) / 32768).mean(axis=0)
    return [log_mel(x)[None].astype(np.float32) for x in mono.reshape(seconds, SAMPLE_RATE)]
