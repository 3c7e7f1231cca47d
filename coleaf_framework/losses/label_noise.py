"""Wrong modality labels in a training split, from a trained network's probabilities.

A weak label says that a class occurs in a video, but not whether it is heard or seen. `noise_ratios` estimates the
share of wrong ones per class and modality (JoMoLD: Cheng et al., ECCV 2022); `exchange_removals` finds single ones
(MA: Wu and Yang, CVPR 2021). Shape letters: see `protocol.py`; N videos.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coleaf_framework.losses._precision import per_modality
from coleaf_framework.losses.denoising import smooth_visual_labels

BATCH = 128
# Audio, visual: a label counts as noise where probability x target / mean probability is below (JoMoLD).
NOISE_THRESHOLDS = (0.6, 1.8)
REMOVED_BELOW = 0.5


def noise_ratios(labels: Tensor, probs: Tensor, *, batch: int = BATCH) -> Tensor:
    """Share of a class's labels that are wrong in a modality, as JoMoLD's second stage estimates it.

    With m[c] the mean of a modality's probability of class c (over all videos: the mean of batch means), a label
    counts as noise where p * target / m[c] is below 0.6 (audio) or 1.8 (visual). The target is 1 for audio and 0.95,
    the smoothed label, for visual.

    Args:
        labels: (N,C) in {0,1}, weak labels.
        probs: (N,M,C) in [0,1], modality probabilities, in training computed without cross-modal attention.
        batch: number of videos in the batches that means are taken over; the last one may have fewer.

    Returns:
        (M,C) float64 in [0,1]; 0 for a class without labels.

    Raises:
        ValueError: There is no video.

    Example:
        The second video's sound is hardly heard: 0.1 is below 0.6 times the mean, 0.5.

        >>> probs = torch.tensor([[[0.9], [0.9]], [[0.1], [0.9]]])
        >>> noise_ratios(torch.ones(2, 1), probs).tolist()  # audio, visual: none has 1.8 times the mean
        [[0.5], [1.0]]
    """
    if not len(probs):
        raise ValueError("noise ratios need at least one video")
    means = torch.stack([probs[i : i + batch].mean(0) for i in range(0, len(probs), batch)]).mean(0)  # (M,C)
    targets = smooth_visual_labels(labels[:, None].expand_as(probs))
    positive = (labels > 0.5)[:, None]
    noise = (probs * targets / means < per_modality(probs, *NOISE_THRESHOLDS)[:, None]) & positive
    return noise.sum(0).double() / positive.sum(0).clamp(min=1)


def exchange_removals(labels: Tensor, accuracy: Tensor, other_visual: Tensor, other_audio: Tensor) -> Tensor:
    """Labels to remove from a modality, since the class is gone once the other modality's track is exchanged (MA).

    A network sees each video with one track exchanged for that of a video that shares no label. With the relative
    error r_m[c] = (1 - accuracy) / (largest of any class), the visual label of a class in the weak label is removed
    where both modality probabilities, with the audio exchanged, are below 0.5 * r_visual[c]; the audio label where
    both, with the picture exchanged, are below 0.5 * r_audio[c]. Both may be removed. A class without errors is
    never removed, and where no class has errors nothing is.

    Args:
        labels: (N,C) in {0,1}, weak labels.
        accuracy: (M,C) in [0,1], share of the videos whose modality probability, on their own tracks, is above 0.5
            exactly where the weak label is 1.
        other_visual: (N,M,C) in [0,1], modality probabilities of each video's sound with another video's picture.
        other_audio: (N,M,C) in [0,1], those of each video's picture with another video's sound.

    Returns:
        (N,M,C) bool, True = remove.

    Example:
        >>> heard_alone = torch.tensor([[[0.9], [0.4]]])  # with another picture, the class is still heard
        >>> silent = torch.tensor([[[0.1], [0.2]]])  # with another sound, it is gone: its visual label was wrong
        >>> exchange_removals(torch.ones(1, 1), torch.full((2, 1), 0.8), heard_alone, silent).squeeze().tolist()
        [False, True]
    """
    error = 1 - accuracy
    relative = error / error.amax(1, keepdim=True)  # NaN without any error; no comparison with it is true
    exchanged = torch.stack([other_visual, other_audio], 1)  # (N, label's modality, M, C)
    gone = (exchanged / relative[:, None] < REMOVED_BELOW).all(2)
    return gone & (labels > 0.5)[:, None]
