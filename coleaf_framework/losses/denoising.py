"""Label denoising (JoMoLD: Cheng et al., ECCV 2022), as the published CMPAE and CoLeaF use it.

A weak label says what occurs in a video, heard or seen. A video whose audio fits its label of class i well and whose
picture fits it badly, each among the other videos of class i in the batch, is taken not to show class i; and the
other way round. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coleaf_framework.losses._precision import in_float32
from coleaf_framework.losses.weak import EPS

# A product r * n that is meant to be whole may fall short of it by rounding.
_WHOLE = 1e-4


VISUAL_LABEL_WEIGHT = 0.9


def smooth_visual_labels(labels: Tensor) -> Tensor:
    """Modality labels (B,M,C) in [0,1] with the visual ones smoothed to 0.9 y + 0.05, as all these codes do."""
    audio, visual = labels.unbind(1)
    return torch.stack([audio, VISUAL_LABEL_WEIGHT * visual + (1 - VISUAL_LABEL_WEIGHT) * 0.5], dim=1)


@in_float32
def denoise_labels(labels: Tensor, unimodal_probs: Tensor, noise_ratios: Tensor) -> Tensor:
    """Weak labels without those that a modality does not seem to have.

    For class i with n videos in the batch: its visual label becomes 0 where a video is both among the
    floor(r_v[i] * n) smallest audio losses and among the floor(r_v[i] * n) largest visual losses of the videos of
    class i; its audio label likewise with modalities exchanged and r_a[i]. Losses are BCE; where they are equal, the
    earlier video of the batch counts as the smaller. The ranking is within the batch that it is given: with several
    ranks in training, within each rank's own part.

    Args:
        labels: (B,C) weak labels in [0,1]; a video has the classes above 0.5.
        unimodal_probs: (B,M,C) in [0,1], modality probabilities computed without cross-modal attention.
        noise_ratios: (M,C) in [0,1], the share of videos of each class whose label is wrong in that modality.

    Returns: (B,M,C) in {0,1}, without gradient.
    """
    positive = (labels > 0.5)[:, None]  # (B,1,C)
    losses = -unimodal_probs.detach().clamp(EPS, 1 - EPS).log()
    losses = torch.where(positive, losses, torch.inf)
    rank = losses.argsort(dim=0, stable=True).argsort(dim=0)  # (B,M,C), positives first
    count = positive.sum(0)  # (1,C)
    removed = (noise_ratios * count + _WHOLE).floor()  # (M,C)
    fits_other = rank.flip(1) < removed
    misfits = positive & (rank >= count - removed)
    return (positive & ~(fits_other & misfits)).to(labels.dtype)


def refine_labels(labels: Tensor, reference_probs: Tensor, threshold: float) -> Tensor:
    """Weak labels without those that the Reference finds in the other modality alone (not in the paper).

    A class keeps its label in a modality where the Reference's probability exceeds the threshold, and in both where it
    does so in neither; a label y that goes becomes 1 - y.

    Args:
        labels: (B,C) weak labels in [0,1].
        reference_probs: (B,M,C) in [0,1].
        threshold: in [0,1].

    Returns: (B,M,C) in [0,1], without gradient.
    """
    found = reference_probs.detach() > threshold
    kept = found | ~found.any(1, keepdim=True)
    weak = labels[:, None].expand_as(reference_probs)
    return torch.where((weak > 0.5) & ~kept, 1 - weak, weak)  # smoothed labels stay smoothed
