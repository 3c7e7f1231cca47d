"""MA, modality-aware parsing (Wu and Yang, CVPR 2021), as an Anchor: HAN, trained with a contrast.

MA's other part, the removal of labels that are wrong in a modality, is the recipe `ma`. Shape letters: see
`coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from coleaf_backbones.contrast import audio_visual_contrast
from coleaf_backbones.han import HAN
from coleaf_framework.protocol import AnchorOutput, Batch, Progress


@dataclass(frozen=True)
class MAOutput(AnchorOutput):
    """What MA returns.

    Args:
        visual_inputs: (B,T,D), the visual tokens before the encoder, which the contrast compares audio tokens with.
    """

    visual_inputs: Tensor | None = None


class MA(HAN):
    """HAN whose loss adds a contrast of the encoder's audio tokens with its visual input; arguments as of HAN.

    Raises:
        ValueError: a modality has no stream, or an option is out of range.
    """

    paper = "Wu, Yang: Exploring Heterogeneous Clues for Weakly-Supervised Audio-Visual Video Parsing. CVPR 2021"
    decision: Mapping[str, object] = {"gate": "modality", "gate_threshold": 0.5, "segment_threshold": 0.5}
    published_training: Mapping[str, object] = {
        "epochs": 12,
        "batch_size": 16,
        "learning_rate": 3e-4,
        "lr_step": 10,
        "lr_gamma": 0.1,
        "seed": 1,
        "monitor": (),  # the last epoch is tested
    }

    def forward(self, *, mask: Tensor | None = None, **streams: Tensor) -> MAOutput:
        """Run the network.

        Args:
            mask: (B,T) bool, True = real segment; None where all segments are real.
            streams: name -> (B, frames * T, width) float.

        Returns:
            Probabilities (B,T,M,C), (B,C) and (B,M,C) in [0,1], tokens (B,T,M,D), and the visual tokens before the
            encoder (B,T,D).

        Raises:
            ValueError: a stream is missing or unknown.
        """
        audio, visual = self.input_tokens(streams)
        output = self.classify(self.encode(audio, visual, mask), mask)
        return MAOutput(**vars(output), visual_inputs=visual)

    def loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """HAN's guided loss, which reads labels per modality where a recipe removed some, and the contrast.

        Args:
            output: what `forward` returned for the batch, a `MAOutput`.
            batch: the videos, with labels.
            progress: not read.

        Returns:
            "video", "audio", "visual" and "audio_visual_contrast" -> scalar, each of weight 1.
        """
        assert isinstance(output, MAOutput)
        assert output.visual_inputs is not None
        contrast = audio_visual_contrast(output.tokens[:, :, 0], output.visual_inputs, batch.mask, cross_entropy=True)
        return {**super().loss(output, batch, progress), "audio_visual_contrast": contrast}
