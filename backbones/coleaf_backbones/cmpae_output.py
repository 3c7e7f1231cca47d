"""What CMPAE returns, which its network and its loss both know. Shape letters: see `coleaf_framework.protocol`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from coleaf_framework.protocol import AnchorOutput


@dataclass(frozen=True)
class CMPAEOutput(AnchorOutput):
    """What CMPAE returns; in evaluation its probabilities are 0.7 with cross-attention + 0.3 without.

    Args:
        modality_uncertainty: (B,M,C) in (0,1), of the pooled evidence with cross-attention.
        segment_uncertainty: (B,T,M,C) in (0,1), likewise.
        video_uncertainty: (B,) in (0,1), of the video branch.
        unimodal: the answer without cross-attention; None inside itself.
    """

    modality_uncertainty: Tensor | None = None
    segment_uncertainty: Tensor | None = None
    video_uncertainty: Tensor | None = None
    unimodal: CMPAEOutput | None = None
