"""The weak label that a modality's labels are confined to."""

from __future__ import annotations

from torch import Tensor

from coleaf_framework.data import Video
from coleaf_framework.protocol import MODALITIES, Modality


def weak_label(video: Video, modality: Modality) -> Tensor:
    """A video's weak label of a modality, (C,) in {0,1}; where either has none of its own, that of the video."""
    if video.modality_labels is None:
        return video.labels
    return video.modality_labels[MODALITIES.index(modality)]
