"""The ground truth of a split, without running a network over it. Shape letters: see `protocol.py`; N videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import Truth, caveats_of, no_ground_truth, segment_seconds_of, truth_of
from coleaf_framework.data.video_folder import VideoFolder
from coleaf_framework.metrics.time_grid import TimeGrid


@dataclass(frozen=True)
class SplitTruth:
    """The annotations of the N videos of a split.

    Args:
        data: name of the data set.
        split: name of the split.
        ids: N video ids.
        classes: C names.
        truth: (N,T,M,C) bool, False in padding.
        labels: (N,C) weak labels in {0,1}.
        mask: (N,T) bool, True = real segment.
        seconds: length of each video: the annotated one, or T x segment_seconds where that is longer.
        filenames: video id -> its name in the annotations, where that has more than the id (LLP's `_0_10`).
        segment_seconds: length of a segment.
        truth_kind: "modalities", or "joint" for audible-visible events alone.
        grid: where segments lie in the time of the media; UnAV-100's tokens do not begin with the video.
        caveats: sentences to be shown with scores.
    """

    data: str
    split: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    truth: Tensor
    labels: Tensor
    mask: Tensor
    seconds: tuple[float, ...]
    filenames: Mapping[str, str] = field(default_factory=dict)
    segment_seconds: float = 1.0
    truth_kind: Truth = "modalities"
    grid: TimeGrid = field(default_factory=TimeGrid)
    caveats: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The data set and the split, as messages name them."""
        return f"{self.data} {self.split}"

    @classmethod
    def of(cls, data: AVVPDataset) -> SplitTruth:
        """The annotations of a data set's split; features are not read where it is a folder.

        Raises:
            ValueError: the split has only weak labels, or a video's annotations are malformed.
        """
        if not data.has_ground_truth:
            raise ValueError(no_ground_truth(f"{data.name} {data.split}"))
        labels, truth = zip(*(_annotations(data, i) for i in range(len(data))), strict=True)
        lengths = [len(x) for x in truth]
        segment = segment_seconds_of(data)
        return cls(
            data.name,
            data.split,
            tuple(data.ids),
            tuple(data.classes),
            torch.nn.utils.rnn.pad_sequence(list(truth), batch_first=True),
            torch.stack(labels),
            torch.arange(max(lengths)) < torch.tensor(lengths)[:, None],
            tuple(_seconds(data, i, length * segment) for i, length in enumerate(lengths)),
            dict(getattr(getattr(data, "annotations", None), "filenames", {})),
            segment,
            truth_of(data),
            getattr(data, "grid", TimeGrid(segment)),
            caveats_of(data),
        )


def _annotations(data: AVVPDataset, index: int) -> tuple[Tensor, Tensor]:
    """Weak labels (C,) and ground truth (T,M,C) of a video."""
    if not isinstance(data, VideoFolder):
        video = data[index]
        assert video.segment_labels is not None
        return video.labels, video.segment_labels
    labels = torch.zeros(len(data.classes))
    labels[list(data.weak_labels(data.ids[index]))] = 1
    segments = data.segments(index)
    data.require_length(data.ids[index], segments)
    return labels, data.ground_truth(data.ids[index], segments)


def _seconds(data: AVVPDataset, index: int, of_segments: float) -> float:
    """Length of a video; its segments may end a little earlier."""
    durations: Sequence[float] | None = getattr(data, "durations", None)
    if durations is not None:
        return max(of_segments, durations[index])
    known = data.seconds(data.ids[index]) if isinstance(data, VideoFolder) else ()
    return max(of_segments, *known, 0.0)
