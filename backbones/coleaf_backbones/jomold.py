"""JoMoLD, joint-modal label denoising (Cheng et al., ECCV 2022), as an Anchor: HAN, trained with denoised labels.

The network of stage 1, which estimates the noise ratios, is the same with `cross_attention=False`; the recipe `jomold`
makes all three stages. Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coleaf_backbones.attention import Dropout, require_options
from coleaf_backbones.contrast import audio_visual_contrast
from coleaf_backbones.han import HAN
from coleaf_backbones.mmil import guided_labels, guided_loss
from coleaf_backbones.noise_ratios import noise_ratios_for
from coleaf_framework.losses import denoise_modality_labels, smooth_visual_labels
from coleaf_framework.protocol import LLP_STREAMS, AnchorOutput, Batch, Progress, StreamSpec

AUDIO_WEIGHT = 2.0


@dataclass(frozen=True)
class JoMoLDOutput(AnchorOutput):
    """What JoMoLD returns.

    Args:
        unimodal: in training, the answer without cross-attention, by which labels are denoised; without gradient and
            with dropout of its own. None in evaluation mode, and where the network itself has no cross-attention.
    """

    unimodal: AnchorOutput | None = None


class JoMoLD(HAN):
    """HAN with dropout of visual tokens before the classifiers, and a loss with label denoising and a contrast.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment.
        width: width, D, 512 as published.
        layers: number of encoder layers, 1 as published.
        heads: number of attention heads, 1 as published.
        hidden: width of the feed-forward block; D with None.
        dropout: of the encoder, in [0,1).
        visual_dropout: of visual tokens before the three classifiers, in [0,1).
        noise_ratios: share of wrong labels, "audio" and "visual" -> one value or one per class, in [0,1]. Where
            None, those published for LLP's 25 classes; with other classes labels are then not denoised, with a
            warning. {"audio": 0, "visual": 0} denoises nothing.
        cross_attention: False is the network of stage 1: its modalities never meet, its loss is HAN's guided loss and
            the contrast, each term of weight 1, and it denoises nothing.

    Raises:
        ValueError: a modality has no stream, an option or noise ratio is out of range, or noise ratios are given to
            the network of stage 1.
    """

    paper = (
        "Cheng et al.: Joint-Modal Label Denoising for Weakly-Supervised Audio-Visual Video Parsing. ECCV 2022, "
        "arXiv:2204.11573"
    )
    decision: Mapping[str, object] = {"gate": "modality", "gate_threshold": 0.5, "segment_threshold": 0.5}
    published_training: Mapping[str, object] = {
        "epochs": 25,
        "batch_size": 128,
        "learning_rate": 5e-4,
        "lr_step": 6,
        "lr_gamma": 0.25,
        "seed": 6,
        "monitor": ("event/A",),
    }

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        width: int = 512,
        layers: int = 1,
        heads: int = 1,
        hidden: int | None = None,
        dropout: float = 0.1,
        visual_dropout: float = 0.5,
        noise_ratios: Mapping[str, float | Sequence[float]] | None = None,
        cross_attention: bool = True,
    ) -> None:
        require_options("JoMoLD", sizes={}, rates={"visual_dropout": visual_dropout}, flags={})
        super().__init__(num_classes, streams, width, layers, heads, hidden, dropout, cross_attention)
        self.cross_attention = cross_attention
        self.visual_dropout = Dropout(visual_dropout)
        if noise_ratios is None and not cross_attention:
            noise_ratios = {"audio": 0.0, "visual": 0.0}
        ratios = noise_ratios_for("JoMoLD", noise_ratios, num_classes)
        if not cross_attention and ratios.any():
            raise ValueError(
                "JoMoLD: cross_attention=False is the network of stage 1, which denoises nothing: leave out "
                "noise_ratios, or cross_attention"
            )
        self.register_buffer("noise_ratios", ratios, persistent=False)
        self.noise_ratios: Tensor  # (M,C)

    def forward(self, *, mask: Tensor | None = None, **streams: Tensor) -> JoMoLDOutput:
        """Run the network; in training also without cross-attention.

        Args:
            mask: (B,T) bool, True = real segment; None where all segments are real.
            streams: name -> (B, frames * T, width) float.

        Returns:
            Probabilities (B,T,M,C), (B,C) and (B,M,C) in [0,1], tokens (B,T,M,D), and in training, with
            cross-attention, also the answer without it, which has no gradient.

        Raises:
            ValueError: a stream is missing or unknown.
        """
        audio, visual = self.input_tokens(streams)
        unimodal = None
        if self.training and self.cross_attention:
            with torch.no_grad():
                unimodal = self.classify(self.hat_encoder.without_cross(audio, visual, mask), mask)
        output = self.classify(self.encode(audio, visual, mask), mask)
        return JoMoLDOutput(**vars(output), unimodal=unimodal)

    def classify(self, tokens: Tensor, mask: Tensor | None) -> AnchorOutput:
        """Output tokens (B,T,M,D) -> the output; the classifiers see visual tokens after dropout."""
        audio, visual = tokens.unbind(2)
        seen = torch.stack([audio, self.visual_dropout(visual)], dim=2)
        return replace(super().classify(seen, mask), tokens=tokens)

    def modality_labels(self, output: JoMoLDOutput, batch: Batch, progress: Progress) -> Tensor:
        """Labels that each modality is taught, (B,M,C) in [0,1]: from the second epoch on denoised, and smoothed.

        A visual label is 0.95 where the class is present, 0.05 where it is absent, and 0 where it was removed. Videos
        are ranked within the given batch. Without `output.unimodal`, as in evaluation mode, nothing is removed.

        Args:
            output: what `forward` returned for the batch.
            batch: the videos, with labels.
            progress: nothing is removed in epoch 1.

        Returns:
            (B,M,C) in [0,1], without gradient.
        """
        return guided_labels(self._denoised(output, batch, progress))

    def loss(self, output: JoMoLDOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:  # type: ignore[override]
        """The guided loss on denoised labels, audio twice, and the contrast; in stage 1 each once, on all labels.

        Args:
            output: what `forward` returned for the batch.
            batch: the videos, with labels.
            progress: labels are not denoised in epoch 1.

        Returns:
            "video", "audio", "visual" and "audio_visual_contrast" -> scalar.
        """
        terms = guided_loss(output, self._denoised(output, batch, progress))
        if self.cross_attention:
            terms["audio"] = AUDIO_WEIGHT * terms["audio"]
        heard, seen = output.tokens.unbind(2)
        terms["audio_visual_contrast"] = audio_visual_contrast(heard, seen, batch.mask)
        return terms

    def _denoised(self, output: JoMoLDOutput, batch: Batch, progress: Progress) -> Batch:
        """The batch with denoised modality labels, not smoothed. The published warm-up removes nothing in epoch 1."""
        if output.unimodal is None or progress.epoch == 1:
            return batch
        assert output.unimodal.modality_probs is not None
        labels = batch.each_modality_labels()
        targets = smooth_visual_labels(batch.labels[:, None].expand_as(labels))
        found = denoise_modality_labels(
            batch.labels, labels, output.unimodal.modality_probs, self.noise_ratios, targets
        )
        return replace(batch, modality_labels=found)
