"""The contrast of audio and visual tokens of one video, as MA, JoMoLD and CMPAE train with it."""

from __future__ import annotations

from torch import Tensor

from coleaf_framework.losses import smoothed_contrast

TEMPERATURE = 0.2


def audio_visual_contrast(audio: Tensor, visual: Tensor, mask: Tensor | None, *, cross_entropy: bool = False) -> Tensor:
    """Each audio token is pulled to the visual token of its segment, and away from those of the video's others.

    Args:
        audio: (B,T,D), the queries.
        visual: (B,T,D), the keys.
        mask: (B,T) bool, True = real segment; None where all segments are real.
        cross_entropy: MA's form; else JoMoLD's, see `losses.smoothed_contrast`.

    Returns:
        Scalar, at least 0.
    """
    queries, keys, weights = audio[:, :, None], visual[:, :, None], audio.new_ones(len(audio), 1)
    return smoothed_contrast(queries, keys, weights, temperature=TEMPERATURE, mask=mask, cross_entropy=cross_entropy)
