"""CMPAE, Cross-Modal Presence-Absence Evidence (Gao, Chen, Xu, CVPR 2023), as an Anchor.

Parameter names are those of the published checkpoints. Parameters that the published code holds and never
uses are left out. Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from coleaf_backbones.attention import Dropout, masked_softmax_over_time, require_divisor, require_options
from coleaf_backbones.cmpae_loss import refined_labels, training_loss
from coleaf_backbones.cmpae_output import CMPAEOutput
from coleaf_backbones.han import HybridAttentionEncoder
from coleaf_backbones.noise_ratios import noise_ratios_for
from coleaf_backbones.streams import StreamProjections, require_single_frames
from coleaf_framework.protocol import LLP_STREAMS, Batch, Progress, StreamSpec

# Published constants: shares of tokens with and without cross-attention, the latter's share of the answer in
# evaluation, the temperature and range of evidence, the slope of LeakyReLU.
CROSS, UNIMODAL = 0.8, 0.2
FUSED_CROSS, FUSED_UNIMODAL = 0.7, 0.3
TEMPERATURE, LOGIT_LIMIT = 0.8, 10.0
SLOPE = 0.2


def evidence(logits: Tensor) -> Tensor:
    """Logits -> evidence exp(clamp(z, -10, 10) / 0.8), above 0, of the same shape, in at least float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT) / TEMPERATURE).exp()


def presence(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Presence and absence logits (..., 2) -> probability of presence (...) and uncertainty (...), in (0,1)."""
    alpha = evidence(logits) + 1
    total = alpha.sum(-1)
    return alpha[..., 0] / total, 2 / total


class CMPAE(StreamProjections):
    """CMPAE with its evidential classifiers, and its loss with label denoising.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Each is projected; several
            of one modality are then concatenated and fused. Published checkpoints have LLP's three. Frames pass an ELU
            before they are averaged, so data with averaged frames is refused.
        width: width, D, 512 as published.
        layers: of the encoder, 1 as published.
        heads: of the encoder's attention, 1 as published.
        hidden: width of the feed-forward block; D where None.
        dropout: of the encoder, in [0,1).
        absence_dropout: before absence evidence, in [0,1).
        visual_dropout: of visual tokens before the classifiers, in [0,1).
        noise_ratios: share of wrong labels, "audio" and "visual" -> one value or one per class, in [0,1]. Where
            None, those published for LLP's 25 classes; with other classes labels are then not denoised, with a
            warning. {"audio": 0, "visual": 0} denoises nothing.
        cross_attention: False leaves it out, for tokens of one modality each (Table 1 of CoLeaF).

    Raises:
        ValueError: if a modality has no stream, a stream holds averaged frames, or a noise ratio is out of range or
            not one per class.
    """

    paper = (
        "Gao, Chen, Xu: Collecting Cross-Modal Presence-Absence Evidence for Weakly-Supervised Audio-Visual Event "
        "Perception. CVPR 2023"
    )
    licence = "none stated"
    # The published decision.
    decision: Mapping[str, object] = {"gate": "modality", "gate_threshold": 0.45, "segment_threshold": 0.25}

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        width: int = 512,
        layers: int = 1,
        heads: int = 1,
        hidden: int | None = None,
        dropout: float = 0.1,
        absence_dropout: float = 0.2,
        visual_dropout: float = 0.5,
        noise_ratios: Mapping[str, float | Sequence[float]] | None = None,
        cross_attention: bool = True,
    ) -> None:
        sizes = {"num_classes": num_classes, "width": width, "layers": layers, "heads": heads}
        sizes |= {} if hidden is None else {"hidden": hidden}
        rates = {"dropout": dropout, "absence_dropout": absence_dropout, "visual_dropout": visual_dropout}
        require_options("CMPAE", sizes=sizes, rates=rates, flags={"cross_attention": cross_attention})
        require_divisor("CMPAE", width, heads=heads)
        require_single_frames("CMPAE", streams, "each passes an ELU before they are averaged")
        super().__init__("CMPAE", streams, width, elu=True)
        self.num_classes, self.cross_attention = num_classes, cross_attention

        def projection(inputs: int, *after: nn.Module) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, width), *after)

        self.hat_encoder = HybridAttentionEncoder(layers, width, heads, hidden or width, dropout, cross_attention)
        self.visual_dropout = Dropout(visual_dropout)
        self.fc_prob = nn.Linear(width, num_classes)
        self.fc_prob_beta = nn.Linear(width, num_classes)
        self.fc_frame_att = nn.Linear(width, 2 * num_classes)
        self.v2a = projection(width, Dropout(absence_dropout), nn.LeakyReLU(SLOPE))
        self.a2v = projection(width, Dropout(absence_dropout), nn.LeakyReLU(SLOPE))
        self.classifier1 = projection(width, nn.LeakyReLU(SLOPE))
        self.classifier2 = nn.Linear(width, num_classes)
        self.register_buffer("noise_ratios", noise_ratios_for("CMPAE", noise_ratios, num_classes), persistent=False)
        self.noise_ratios: Tensor  # (M,C)

    def forward(self, *, mask: Tensor | None = None, **streams: Tensor) -> CMPAEOutput:
        """Run the network, with cross-attention and without it.

        Args:
            mask: (B,T) bool, True = real segment; None where all segments are real.
            streams: name -> (B, frames * T, width) float.

        Returns:
            Probabilities (B,T,M,C), (B,C) and (B,M,C) in [0,1], tokens (B,T,M,D), uncertainties in (0,1), and the
            answer without cross-attention.

        Raises:
            ValueError: a stream is missing or unknown.
        """
        f_a, f_v = self.input_tokens(streams)
        video_probs, video_uncertainty = self._video_branch(f_a, f_v, mask)
        video: dict[str, Any] = {"video_probs": video_probs, "video_uncertainty": video_uncertainty}
        if not self.cross_attention:
            tokens = self.hat_encoder(f_a, f_v, mask)
            unimodal = CMPAEOutput(tokens=tokens, **video, **self._classify(tokens, mask))
            return replace(unimodal, unimodal=unimodal)
        alone, crossed = self.hat_encoder.with_and_without_cross(f_a, f_v, mask)  # (B,T,M,D)
        unimodal = CMPAEOutput(tokens=alone, **video, **self._classify(alone, mask))
        tokens = UNIMODAL * alone + CROSS * crossed
        answer = self._classify(tokens, mask)
        if not self.training:
            for field in ("segment_probs", "modality_probs"):
                answer[field] = FUSED_CROSS * answer[field] + FUSED_UNIMODAL * getattr(unimodal, field)
        return CMPAEOutput(tokens=tokens, unimodal=unimodal, **video, **answer)

    def _video_branch(self, f_a: Tensor, f_v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Input tokens, two (B,T,D) -> video probabilities (B,C) and uncertainty (B,)."""
        logits = self.classifier2(self.classifier1(f_a) + self.classifier1(f_v))  # (B,T,C)
        real = logits.new_ones(logits.shape[:2]) if mask is None else mask.to(logits.dtype)
        share = (real / real.sum(1, keepdim=True))[:, :, None]
        probs = (share * logits.sigmoid()).sum(1)
        uncertainty = logits.shape[-1] / (evidence((share * logits).sum(1)) + 1).sum(-1)
        return probs, uncertainty

    def _classify(self, tokens: Tensor, mask: Tensor | None) -> dict[str, Any]:
        """Output tokens (B,T,M,D) -> probabilities and uncertainties of segments and of modalities."""
        audio, visual = tokens.unbind(2)
        visual = self.visual_dropout(visual)
        both = audio + visual
        present = torch.stack([audio, visual], dim=2)
        absent = torch.stack([audio + self.v2a(both), visual + self.a2v(both)], dim=2)
        logits = torch.stack([self.fc_prob(present), self.fc_prob_beta(absent)], dim=-1)  # (B,T,M,C,2)
        weights = rearrange(self.fc_frame_att(present), "b t m (c e) -> b t m c e", e=2)
        pooled = (masked_softmax_over_time(weights, mask) * logits).sum(1)
        segment_probs, segment_uncertainty = presence(logits)
        modality_probs, modality_uncertainty = presence(pooled)
        return {
            "segment_probs": segment_probs,
            "segment_uncertainty": segment_uncertainty,
            "modality_probs": modality_probs,
            "modality_uncertainty": modality_uncertainty,
        }

    def modality_labels(self, output: CMPAEOutput, batch: Batch, progress: Progress) -> Tensor:
        """Denoised and smoothed labels (B,M,C) in [0,1]; see `cmpae_loss.refined_labels`."""
        assert output.unimodal is not None
        assert output.unimodal.modality_probs is not None
        return refined_labels(batch, output.unimodal.modality_probs, self.noise_ratios, progress)

    def loss(self, output: CMPAEOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """BCE on audio, visual and video probabilities, the mutual loss and the audio-visual contrast."""
        return training_loss(output, batch, self.modality_labels(output, batch, progress), progress)
