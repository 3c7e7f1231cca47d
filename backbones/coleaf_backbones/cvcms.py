"""CVCMS, Cross-Video and Cross-Modality Signals (Lin, Tseng, Lee, Lin, Yang, NeurIPS 2021), as an Anchor.

Parameter names are those of the published code; parameters that it never uses are left out. Shape letters: see
`coleaf_framework.protocol`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_backbones.attention import require_options
from coleaf_backbones.cvcms_loss import cross_video_loss, cross_video_similarities, draw_partners, with_partners
from coleaf_backbones.han import HybridAttentionEncoder
from coleaf_backbones.mmil import pool_attentively
from coleaf_backbones.streams import StreamProjections
from coleaf_framework.losses import binary_cross_entropy, smooth_visual_labels
from coleaf_framework.protocol import LLP_STREAMS, AnchorOutput, Batch, Progress, StreamSpec


@dataclass(frozen=True)
class CVCMSOutput(AnchorOutput):
    """What CVCMS returns; what is added is for the cross-video loss, of the B videos and the B mixed ones behind them.

    None in evaluation, for a batch of one video, and without the cross-video loss.

    Args:
        partners: (B,) indices; mixed video i has the audio of i and the images of `partners[i]`.
        mixed_tokens: (2B,T,M,D), output tokens with gradient.
        mixed_time_logits: (2B,T,M,C), logits of attention over time.
        mixed_mask: (2B,T,M) bool, True = real segment; None where all are.
    """

    partners: Tensor | None = None
    mixed_tokens: Tensor | None = None
    mixed_time_logits: Tensor | None = None
    mixed_mask: Tensor | None = None


class CVCMS(StreamProjections):
    """CVCMS: HAN's layer, then one token a class and segment, whose layer relates the classes of a segment.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Each is projected; several
            of one modality are then concatenated and fused. Those of the published code are LLP's three.
        width: width of tokens, D, 512 as published.
        class_width: width of class tokens, 128 as published.
        dropout: rate in HAN's layer, in [0,1).
        class_dropout: rate in the layer of class tokens, in [0,1).
        temperature: of the cross-video loss, above 0.
        cross_video_from: first epoch with the cross-video loss; before it visual labels are smoothed.
        cross_video_weight: of the cross-video loss; 0 leaves it and all that only it needs out.

    Raises:
        ValueError: a modality has no stream, or an option is out of range.

    Example:
        >>> streams = {"clap": StreamSpec(6, "audio"), "clip": StreamSpec(8, "visual", frames=2)}
        >>> network = CVCMS(num_classes=4, streams=streams, width=8, class_width=8)
        >>> network(clap=torch.randn(3, 5, 6), clip=torch.randn(3, 10, 8)).segment_probs.shape
        torch.Size([3, 5, 2, 4])
    """

    paper = (
        "Lin, Tseng, Lee, Lin, Yang: Exploring Cross-Video and Cross-Modality Signals for Weakly-Supervised "
        "Audio-Visual Video Parsing. NeurIPS 2021"
    )
    licence = "CC-BY-NC 4.0"
    # The published run: at most 40 epochs, stopped after 10 without a better score.
    published_training: Mapping[str, object] = {
        "epochs": 40,
        "batch_size": 64,
        "learning_rate": 7e-5,
        "lr_step": 7,
        "lr_gamma": 0.5,
        "seed": 0,
        "monitor": ("event/Type@AV",),
    }

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        width: int = 512,
        class_width: int = 128,
        dropout: float = 0.4,
        class_dropout: float = 0.25,
        temperature: float = 1.0,
        cross_video_from: int = 3,
        cross_video_weight: float = 0.85,
    ) -> None:
        sizes = {"num_classes": num_classes, "width": width, "class_width": class_width}
        rates = {"dropout": dropout, "class_dropout": class_dropout}
        require_options("CVCMS", sizes=sizes | {"cross_video_from": cross_video_from}, rates=rates, flags={})
        _require_positive("temperature", temperature)
        _require_positive("cross_video_weight", cross_video_weight, zero=True)
        super().__init__("CVCMS", streams, width)
        self.num_classes, self.temperature = num_classes, temperature
        self.cross_video_from, self.cross_video_weight = cross_video_from, cross_video_weight
        self.hat_encoder = HybridAttentionEncoder(1, width, 1, width, dropout)
        self.fc_frame_att = nn.Linear(width, num_classes)
        self.fc_av_att = nn.Linear(width, num_classes)
        self.fc_occ_class_a = nn.Linear(width, num_classes * class_width)
        self.fc_occ_class_v = nn.Linear(width, num_classes * class_width)
        self.av_class_encoder = HybridAttentionEncoder(1, class_width, 1, class_width, class_dropout)
        self.fc_occ_prob_a = nn.Linear(class_width, 1)
        self.fc_occ_prob_v = nn.Linear(class_width, 1)

    def forward(self, *, mask: Tensor | None = None, **streams: Tensor) -> CVCMSOutput:
        """Run the network; in training also the encoder on mixed videos, whose partners are drawn here.

        Args:
            mask: (B,T) bool, True = real segment; None where all segments are real.
            streams: name -> (B, frames * T, width) float.

        Returns:
            Probabilities (B,T,M,C), (B,C) and (B,M,C) in [0,1], and tokens (B,T,M,D); what the cross-video loss reads
            besides is None in evaluation, without that loss, and for one video.

        Raises:
            ValueError: a stream is missing or unknown.
        """
        audio, visual = self.input_tokens(streams)
        videos = audio.shape[0]
        if not self.training or not self.cross_video_weight or videos < 2:
            tokens = self.hat_encoder(audio, visual, mask)
            return CVCMSOutput(**self._classify(tokens, self.fc_frame_att(tokens), mask))
        partners = draw_partners(videos, audio.device)
        masks = None if mask is None else torch.stack(with_partners(mask, mask, partners), dim=2)
        # The videos themselves are the first half, so one call encodes all.
        tokens = self.hat_encoder(*with_partners(audio, visual, partners), masks)
        time_logits = self.fc_frame_att(tokens)
        return CVCMSOutput(
            **self._classify(tokens[:videos], time_logits[:videos], mask),
            partners=partners,
            mixed_tokens=tokens,
            mixed_time_logits=time_logits,
            mixed_mask=masks,
        )

    def class_tokens(self, tokens: Tensor) -> Tensor:
        """Output tokens (B,T,M,D) -> class tokens (B,T,M,C,class_width).

        Those of a segment attend to each other, within their modality and across.
        """
        projections = (self.fc_occ_class_a, self.fc_occ_class_v)
        audio, visual = (
            rearrange(F.relu(project(x)), "b t (c o) -> (b t) c o", c=self.num_classes)
            for project, x in zip(projections, tokens.unbind(2), strict=True)
        )
        encoded: Tensor = self.av_class_encoder(audio, visual)
        return rearrange(encoded, "(b t) c m o -> b t m c o", t=tokens.shape[1])

    def _classify(self, tokens: Tensor, time_logits: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """Output tokens (B,T,M,D) and logits of attention over time (B,T,M,C) -> the fields of an `AnchorOutput`."""
        audio, visual = self.class_tokens(tokens).unbind(2)
        logits = torch.stack([self.fc_occ_prob_a(audio), self.fc_occ_prob_v(visual)], dim=2)
        segment_probs = logits.squeeze(-1).sigmoid()
        video, modality = pool_attentively(segment_probs, time_logits, self.fc_av_att(tokens), mask)
        return {"segment_probs": segment_probs, "video_probs": video, "tokens": tokens, "modality_probs": modality}

    def loss(self, output: CVCMSOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """BCE on audio, visual and video probabilities, and from `cross_video_from` on the cross-video loss.

        Labels are those of either modality; a video has the classes of both. Before `cross_video_from` visual labels
        are smoothed to 0.95 and 0.05.

        Args:
            output: what `forward` returned for the batch.
            batch: the videos, with labels.
            progress: its epoch decides which terms there are.

        Returns:
            "audio", "visual", "video" and, later, "cross_video", weighted -> scalar, a mean over videos. Mixed videos
            are made within the batch that `forward` was given, so in each rank's micro-batch.
        """
        assert output.modality_probs is not None
        labels = batch.each_modality_labels()
        late = progress.epoch >= self.cross_video_from
        taught = labels if late else smooth_visual_labels(labels)
        terms = {
            "audio": binary_cross_entropy(output.modality_probs[:, 0], taught[:, 0]),
            "visual": binary_cross_entropy(output.modality_probs[:, 1], taught[:, 1]),
            "video": binary_cross_entropy(output.video_probs, labels.amax(1)),
        }
        if late and self.cross_video_weight:
            terms["cross_video"] = self.cross_video_weight * self._cross_video(output, labels)
        return terms

    def _cross_video(self, output: CVCMSOutput, labels: Tensor) -> Tensor:
        """The unweighted cross-video loss of labels (B,M,C); 0 where nothing was mixed."""
        if output.mixed_tokens is None:
            return output.video_probs.new_zeros(())
        assert output.mixed_time_logits is not None
        assert output.partners is not None
        labels = torch.stack(with_partners(labels[:, 0], labels[:, 1], output.partners), dim=1)
        similarities = cross_video_similarities(
            output.mixed_tokens, output.mixed_time_logits, labels, output.mixed_mask, self.temperature
        )
        return cross_video_loss(similarities, labels)


def _require_positive(option: str, value: Any, *, zero: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise ValueError(f"CVCMS: {option}={value!r}: expected a finite number {'of at least' if zero else 'above'} 0")
