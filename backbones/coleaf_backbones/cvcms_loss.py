"""CVCMS's cross-video loss: the audio of a video is matched to the images of every video with one of its classes.

A video's tokens are summed with attention to the segments of its classes; S holds the cosine similarities of N audio
tracks (rows) and N image tracks (columns), over the temperature. The loss is a soft cross-entropy,

    L = -(1/N) sum_i sum_j q_ij log softmax_j(S_ij),    q_ij = Q_ij / sum_j Q_ij,

where Q_ij is 1 if audio i and images j share a class, else 0. N = 2B: the videos of a batch, then each one's audio with
the images of another. Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coleaf_framework.losses import in_float32

# Keeps the share of a row without a match finite, as published.
_EPS = 1e-10


def draw_partners(videos: int, device: torch.device) -> Tensor:
    """For each of B >= 2 videos another one, each other one equally likely: (B,) indices.

    Drawn on the device from PyTorch's global generator, so that nothing waits for the device.
    """
    step = torch.randint(1, videos, (videos,), device=device)
    return (torch.arange(videos, device=device) + step) % videos


def with_partners(audio: Tensor, visual: Tensor, partners: Tensor) -> tuple[Tensor, Tensor]:
    """What belongs to the audio and the images of B videos -> the same of these and of B mixed videos behind them.

    Args:
        audio: (B,...), any.
        visual: (B,...), any.
        partners: (B,) indices; mixed video i has the audio of i and the images of `partners[i]`.

    Returns:
        Two (2B,...).
    """
    return torch.cat([audio, audio]), torch.cat([visual, visual[partners]])


def present(labels: Tensor) -> Tensor:
    """Labels in [0,1] -> the same in {0,1}, 1 above 0.5; smoothed labels of absent classes must not match."""
    return (labels > 0.5).to(labels.dtype)


@in_float32
def cross_video_similarities(
    tokens: Tensor, time_logits: Tensor, labels: Tensor, mask: Tensor | None, temperature: float
) -> Tensor:
    """S: cosine similarities of the audio of N videos and the images of N videos, over the temperature.

    Args:
        tokens: (N,T,M,D).
        time_logits: (N,T,M,C), of attention over time; those of a modality's classes are added up.
        labels: (N,M,C) in [0,1]; a class above 0.5 is present. Without one all segments weigh the same.
        mask: (N,T,M) bool, True = real segment; None where all are real.
        temperature: above 0.

    Returns:
        (N,N); row = audio, column = images.
    """
    logits = torch.einsum("ntmc,nmc->ntm", time_logits, present(labels))
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    audio, visual = F.normalize(torch.einsum("ntm,ntmd->mnd", logits.softmax(1), tokens), dim=-1).unbind(0)
    return audio @ visual.T / temperature


@in_float32
def cross_video_loss(similarities: Tensor, labels: Tensor) -> Tensor:
    """Soft cross-entropy of the similarities of audio and images against which of them share a class.

    Args:
        similarities: (N,N), S; row = audio, column = images.
        labels: (N,M,C) in [0,1]; a class above 0.5 is present.

    Returns:
        Scalar, at least 0, the mean over rows; a row without a match counts as 0.

    Example:
        >>> labels = torch.tensor([[[1.0], [1.0]], [[1.0], [0.0]]])  # both are heard, the first is seen too
        >>> cross_video_loss(torch.zeros(2, 2), labels)  # both match the first column: log 2
        tensor(0.6931)
    """
    audio, visual = present(labels).to(similarities.dtype).unbind(1)
    matches = (audio @ visual.T).clamp(max=1)
    shares = matches / (matches.sum(1, keepdim=True) + _EPS)
    return -(shares * similarities.log_softmax(1)).sum(1).mean()
