"""Class centroids of features, made from weak labels alone, as a teacher that needs no other network.

Shape letters: see `protocol.py`; E is the width of an embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coleaf_framework.data import AVVPDataset, Video
from coleaf_framework.labelling.teachers import Embed
from coleaf_framework.labelling.weak import weak_label
from coleaf_framework.protocol import Modality


def class_centroids(data: AVVPDataset, embed: Embed, modality: Modality) -> tuple[Tensor, Embed]:
    """A direction for each class: the mean of segments in videos with the class, minus the mean in those without.

    Each segment's embedding first loses the mean over all segments of `data`, then is brought to length 1. No segment
    truth is read.

    Args:
        data: The training split.
        embed: Gives the embeddings of a video's segments.
        modality: For data sets whose weak labels differ between the modalities.

    Returns:
        (C,E) float64; and `embed` without the mean, which the directions are to be compared with.

    Raises:
        ValueError: A class is in no video, or in all of them. The message names it.
    """
    total, count = torch.zeros(1, dtype=torch.float64), 0
    for i in range(len(data)):
        rows = embed(data[i], data.segments(i))
        total, count = total + rows.sum(0), count + len(rows)
    mean = total / count

    def centred(video: Video, segments: int) -> Tensor:
        return embed(video, segments) - mean

    classes = len(data.classes)
    sums, counts = torch.zeros(2, classes, len(mean), dtype=torch.float64), torch.zeros(2, classes)
    for i in range(len(data)):
        video = data[i]
        rows = normalize(centred(video, data.segments(i)), dim=-1)
        present = (weak_label(video, modality) > 0.5).long()
        sums[present, torch.arange(classes)] += rows.sum(0)
        counts[present, torch.arange(classes)] += len(rows)
    for kind, where in enumerate(("every video", "no video")):
        if empty := [name for name, n in zip(data.classes, counts[kind].tolist(), strict=True) if not n]:
            raise ValueError(f"{data.name} {data.split}: {empty[0]!r} is in {where}, so it has no centroid")
    without, with_ = sums / counts[:, :, None]
    return with_ - without, centred
