"""What networks of HAN's kind share: projections, attentive MMIL pooling, and the guided loss.

MMIL is the multimodal multiple instance learning pooling of HAN (Tian, Li, Xu, ECCV 2020; CoLeaF eq. 3-4). Parameter
names are those of the published checkpoints. Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coleaf_backbones.attention import masked_softmax_over_time
from coleaf_backbones.streams import StreamProjections
from coleaf_framework.losses import VISUAL_LABEL_WEIGHT, binary_cross_entropy
from coleaf_framework.protocol import AnchorOutput, Batch, Progress, StreamSpec


def pool_attentively(
    segment_probs: Tensor, time_logits: Tensor, modality_logits: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attentive MMIL pooling (CoLeaF eq. 3-4).

    With W the softmax over time of `time_logits` and U the softmax over modalities of `modality_logits`, the
    probability of a modality is sum_t W P, that of the video sum_tm W U P. The latter can exceed 1, up to 2, as in the
    published code, since W and U may be 1 at different segments; losses clamp it.

    Args:
        segment_probs: (B,T,M,C) in [0,1], P.
        time_logits: (B,T,M,C).
        modality_logits: (B,T,M,C).
        mask: (B,T) bool, True = real segment; None where all segments are real.

    Returns:
        Video probabilities (B,C) and modality probabilities (B,M,C).
    """
    weighted = masked_softmax_over_time(time_logits, mask) * segment_probs
    return (modality_logits.softmax(dim=2) * weighted).sum((1, 2)), weighted.sum(1)


def guided_labels(batch: Batch) -> Tensor:
    """What the guided loss teaches either modality: (B,M,C) in [0,1].

    Audio labels are y. Visual ones are 0.95 where the class is labelled, 0.05 where it is absent, and 0 where it is in
    the weak label but was removed for the visual modality, as in the published code of MA, JoMoLD and DHHN. In between,
    for labels that are smoothed or mixed, the rule is linear.
    """
    audio, visual = batch.each_modality_labels().unbind(1)
    smoothing = (1 - VISUAL_LABEL_WEIGHT) / 2
    return torch.stack([audio, (1 - smoothing) * visual + smoothing * (1 - batch.labels)], dim=1)


def guided_loss(output: AnchorOutput, batch: Batch) -> dict[str, Tensor]:
    """HAN's guided loss: BCE of video, audio and visual probabilities against the labels of `guided_labels`.

    Returns:
        "video", "audio" and "visual" -> scalar, means over videos and classes, each of weight 1.
    """
    assert output.modality_probs is not None
    audio, visual = output.modality_probs.unbind(1)
    audio_labels, visual_labels = guided_labels(batch).unbind(1)
    return {
        "video": binary_cross_entropy(output.video_probs, batch.labels),
        "audio": binary_cross_entropy(audio, audio_labels),
        "visual": binary_cross_entropy(visual, visual_labels),
    }


class MMILAnchor(StreamProjections, ABC):
    """An Anchor of HAN's form: project the streams, `encode` their tokens, classify and pool these; guided loss.

    A subclass makes its encoder and then calls `add_classifiers`, in the order in which published code draws weights.

    Args:
        owner: name of the network, for messages.
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment.
        width: width, D.

    Raises:
        ValueError: see `StreamProjections`.
    """

    def __init__(self, owner: str, num_classes: int, streams: Mapping[str, StreamSpec], width: int) -> None:
        super().__init__(owner, streams, width)
        self.num_classes = num_classes

    def add_classifiers(self, width: int) -> None:
        """Make the linear classifiers of tokens (B,T,M,width): `fc_prob`, `fc_frame_att`, `fc_av_att`."""
        self.fc_prob = nn.Linear(width, self.num_classes)
        self.fc_frame_att = nn.Linear(width, self.num_classes)
        self.fc_av_att = nn.Linear(width, self.num_classes)

    @abstractmethod
    def encode(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> Tensor:
        """Input tokens of either modality, two (B,T,D) -> output tokens (B,T,M,D).

        Args:
            audio: projected.
            visual: projected.
            mask: (B,T) bool, True = real segment; None where all segments are real.
        """

    def forward(self, *, mask: Tensor | None = None, **streams: Tensor) -> AnchorOutput:
        """Run the network.

        Args:
            mask: (B,T) bool, True = real segment; None where all segments are real.
            streams: name -> (B, frames * T, width) float.

        Raises:
            ValueError: a stream is missing or unknown.
        """
        audio, visual = self.input_tokens(streams)
        return self.classify(self.encode(audio, visual, mask), mask)

    def classify(self, tokens: Tensor, mask: Tensor | None) -> AnchorOutput:
        """Output tokens (B,T,M,D) -> the output, by the three linear classifiers and `pool_attentively`."""
        segment_probs = self.fc_prob(tokens).sigmoid()
        video, modality = pool_attentively(segment_probs, self.fc_frame_att(tokens), self.fc_av_att(tokens), mask)
        return AnchorOutput(segment_probs, video, tokens, modality)

    def loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """See `guided_loss`."""
        return guided_loss(output, batch)
