"""How CMPAE is trained: label denoising, the mutual loss and the audio-visual contrast (Gao, Chen, Xu, CVPR 2023).

Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from torch import Tensor

from coleaf_backbones.cmpae_output import CMPAEOutput
from coleaf_backbones.contrast import audio_visual_contrast
from coleaf_framework.losses import binary_cross_entropy, denoise_modality_labels, smooth_visual_labels
from coleaf_framework.protocol import Batch, Progress

# Published weights of the BCE on audio, visual and video probabilities.
AUDIO_WEIGHT, VISUAL_WEIGHT, VIDEO_WEIGHT = 2.0, 0.6, 0.6


def refined_labels(batch: Batch, unimodal_probs: Tensor, noise_ratios: Tensor, progress: Progress) -> Tensor:
    """What CMPAE's modality probabilities are trained towards.

    Weak labels, or the batch's modality labels, from the second epoch on denoised; then visual ones smoothed to
    0.9 y + 0.05. Of modality labels, only a class that is labelled in both modalities is denoised.

    Args:
        batch: for its weak labels (B,C) and, where there are any, its modality labels (B,M,C), in [0,1].
        unimodal_probs: (B,M,C) in [0,1], of a forward without cross-attention.
        noise_ratios: (M,C) in [0,1].
        progress: for the epoch.

    Returns:
        (B,M,C) in [0,1], without gradient.
    """
    refined = batch.each_modality_labels()
    if progress.epoch > 1:
        refined = denoise_modality_labels(batch.labels, refined, unimodal_probs, noise_ratios)
    return smooth_visual_labels(refined)


def mutual_loss(output: CMPAEOutput, labels: Tensor, step: int) -> Tensor:
    """Video and modality branch teach each other, in turn by steps, as far as the teacher is certain.

    With u the video uncertainty, at least 0.9, p* the larger of the two modality probabilities, p' their mean, u* and
    u' their uncertainties and sg a stopped gradient, the mean over videos and classes of, on odd steps,
    u (1 - u*) (P - sg p*)^2 y + u (1 - u') (P - sg p')^2 (1 - y), and on even steps the same with 1 - u for u and the
    stopped gradient on P. Nothing else is stopped, the uncertainties included.

    Args:
        output: with cross-attention.
        labels: (B,C) weak labels in {0,1}.
        step: number of the training step, from 0.

    Returns:
        Scalar, at least 0.
    """
    probs, uncertainty = output.modality_probs, output.modality_uncertainty
    assert probs is not None
    assert uncertainty is not None
    assert output.video_uncertainty is not None
    video, u = output.video_probs, output.video_uncertainty.clamp(min=0.9)[:, None]
    largest = probs.argmax(1, keepdim=True)
    top, top_u = (x.gather(1, largest).squeeze(1) for x in (probs, uncertainty))
    mean, mean_u = probs.mean(1), uncertainty.mean(1)
    if step % 2:
        top, mean = top.detach(), mean.detach()
    else:
        u, video = 1 - u, video.detach()
    present = (1 - top_u) * (video - top).square() * labels
    absent = (1 - mean_u) * (video - mean).square() * (1 - labels)
    return (u * (present + absent)).mean()


def training_loss(output: CMPAEOutput, batch: Batch, labels: Tensor, progress: Progress) -> dict[str, Tensor]:
    """CMPAE's terms by name, weighted as published.

    Args:
        output: in training mode.
        batch: for its weak labels (B,C) and mask.
        labels: (B,M,C) in [0,1], from `refined_labels`.
        progress: for the step.
    """
    assert output.modality_probs is not None
    audio, visual = output.modality_probs.unbind(1)
    heard, seen = output.tokens.unbind(2)
    return {
        "audio": AUDIO_WEIGHT * binary_cross_entropy(audio, labels[:, 0]),
        "visual": VISUAL_WEIGHT * binary_cross_entropy(visual, labels[:, 1]),
        "video": VIDEO_WEIGHT * binary_cross_entropy(output.video_probs, batch.labels),
        "mutual": mutual_loss(output, batch.labels, progress.step),
        "audio_visual_contrast": audio_visual_contrast(heard, seen, batch.mask),
    }
