"""Modality-specific label denoising (JoMoLD: Cheng et al., ECCV 2022), as the code of CMPAE and CoLeaF uses it.

A weak label says that a class occurs in a video, but not whether it is heard or seen. Among the videos of class i in
the batch, a video's visual label of class i is dropped where its audio loss for that class is among the lowest and its
visual loss among the highest; its audio label likewise, with the modalities exchanged. Shape letters: see
`protocol.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coleaf_framework.losses._precision import in_float32
from coleaf_framework.losses.weak import EPS

# Added before floor(): r * n may come out just below a whole number by floating-point rounding.
_ROUNDING = 1e-4


VISUAL_LABEL_WEIGHT = 0.9


def smooth_visual_labels(labels: Tensor) -> Tensor:
    """Smooth visual labels to 0.9 y + 0.05, as the published code of JoMoLD, CMPAE and CoLeaF does.

    Args:
        labels: (B,M,C) in [0,1], modality labels.

    Returns:
        (B,M,C) in [0,1], with unchanged audio labels.

    Example:
        >>> smooth_visual_labels(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))
        tensor([[[1.0000, 0.0000],
                 [0.9500, 0.0500]]])
    """
    audio, visual = labels.unbind(1)
    return torch.stack([audio, VISUAL_LABEL_WEIGHT * visual + (1 - VISUAL_LABEL_WEIGHT) * 0.5], dim=1)


@in_float32
def denoise_labels(
    labels: Tensor, unimodal_probs: Tensor, noise_ratios: Tensor, targets: Tensor | None = None
) -> Tensor:
    """Modality labels: the weak labels without those that are likely wrong for a modality.

    For class i with n videos in the batch, the visual label of a video becomes 0 where the video is both among the
    floor(r_v[i] * n) smallest audio losses and among the floor(r_v[i] * n) largest visual losses of the class's videos;
    the audio label likewise, with r_a[i] and the modalities exchanged. Losses are BCE; ties are broken by the order in
    the batch. Videos are ranked within the given batch, so in distributed training within each rank's part of it.

    Args:
        labels: (B,C) in [0,1], weak labels; a class above 0.5 is present.
        unimodal_probs: (B,M,C) in [0,1], modality probabilities computed without cross-modal attention.
        noise_ratios: (M,C) in [0,1], r: for each class, the share of its videos whose label is wrong in a modality.
        targets: (B,M,C) in [0,1], what the losses are taken against; the labels where None. Against JoMoLD's smoothed
            visual label, 0.95, a probability above 0.95 has a higher loss again, so that the order differs there.

    Returns:
        (B,M,C) in {0,1}, without gradient.

    Example:
        >>> labels = torch.ones(2, 1)
        >>> probs = torch.tensor([[[0.9], [0.1]], [[0.6], [0.7]]])  # the first video is heard (0.9), hardly seen (0.1)
        >>> denoise_labels(labels, probs, torch.tensor([[0.0], [0.5]])).squeeze(-1)  # videos x modalities
        tensor([[1., 0.],
                [1., 1.]])
    """
    positive = (labels > 0.5)[:, None]  # (B,1,C)
    probs = unimodal_probs.detach().clamp(EPS, 1 - EPS)
    losses = -probs.log() if targets is None else -(targets * probs.log() + (1 - targets) * (1 - probs).log())
    losses = torch.where(positive, losses, torch.inf)
    rank = losses.argsort(dim=0, stable=True).argsort(dim=0)  # (B,M,C), videos of the class first
    count = positive.sum(0)  # (1,C)
    most = (noise_ratios * count + _ROUNDING).floor()  # (M,C)
    low_loss_in_other = rank.flip(1) < most
    high_loss = positive & (rank >= count - most)
    return (positive & ~(low_loss_in_other & high_loss)).to(labels.dtype)


def denoise_modality_labels(
    labels: Tensor,
    modality_labels: Tensor,
    unimodal_probs: Tensor,
    noise_ratios: Tensor,
    targets: Tensor | None = None,
) -> Tensor:
    """Modality labels without those that `denoise_labels` drops; a dropped label y becomes 1 - y.

    Smoothed labels stay smoothed. A class that is labelled in one modality alone is known to be there and stays.

    Args:
        labels: (B,C) in [0,1], weak labels.
        modality_labels: (B,M,C) in [0,1].
        unimodal_probs: as in `denoise_labels`.
        noise_ratios: as in `denoise_labels`.
        targets: as in `denoise_labels`.

    Returns:
        (B,M,C) in [0,1], without gradient.

    Example:
        >>> probs = torch.tensor([[[0.9], [0.1]], [[0.6], [0.7]]])
        >>> given, ratios = torch.tensor([[[1.0], [1.0]], [[0.0], [1.0]]]), torch.tensor([[0.0], [0.5]])
        >>> denoise_modality_labels(torch.ones(2, 1), given, probs, ratios).squeeze(-1)
        tensor([[1., 0.],
                [0., 1.]])
    """
    kept = denoise_labels(labels, unimodal_probs, noise_ratios, targets) > 0
    uncertain = (modality_labels > 0.5).all(1, keepdim=True)
    return torch.where(uncertain & ~kept, 1 - modality_labels, modality_labels)


def refine_labels(labels: Tensor, reference_probs: Tensor, threshold: float) -> Tensor:
    """Modality labels: the weak labels without the classes that the Reference predicts in the other modality only.

    A present class keeps its label in a modality where the Reference's probability exceeds the threshold, and in both
    modalities where it exceeds the threshold in neither. A dropped label y becomes 1 - y. Not in the paper.

    Where the data set gives labels of either modality, a class that it gives in one modality alone is known to be
    there and stays; one that it gives in both may lose one of them.

    Args:
        labels: (B,C) in [0,1], weak labels, or (B,M,C), those of either modality; a class above 0.5 is present.
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities.
        threshold: in [0,1].

    Returns:
        (B,M,C) in [0,1], without gradient.

    Example:
        >>> refine_labels(torch.ones(1, 2), torch.tensor([[[0.9, 0.2], [0.1, 0.2]]]), threshold=0.5)
        tensor([[[1., 1.],
                 [0., 1.]]])
    """
    predicted = reference_probs.detach() > threshold
    weak = labels if labels.ndim == 3 else labels[:, None].expand_as(reference_probs)
    present = weak > 0.5
    kept = predicted | ~(predicted & present).any(1, keepdim=True)
    return torch.where(present & ~kept, 1 - weak, weak)  # smoothed labels stay smoothed
