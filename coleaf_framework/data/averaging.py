"""Data sets with the mean of each segment's frames in place of the frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset

from coleaf_framework.data.dataset import (
    AVVPDataset,
    Video,
    caveats_of,
    digests_of,
    further_scores_of,
    segment_seconds_of,
    stream_statistics,
    truth_of,
)
from coleaf_framework.metrics import ParsedSplit
from coleaf_framework.protocol import StreamSpec


def averaged(spec: StreamSpec) -> StreamSpec:
    """The spec of a stream after the frames of each segment were averaged."""
    return StreamSpec(spec.width, spec.modality, averaged=spec.frames * spec.averaged)


class AveragedFrames(Dataset[Video]):
    """A data set with the mean of each segment's frames in place of the frames.

    The output of a network that averages frames after a linear layer stays the same, and there is less to read and to
    multiply. The statistics are those of the means, whose deviation is smaller than that of the frames.

    Args:
        dataset: Any data set.

    Example:
        >>> from coleaf_framework.data import AveragedFrames, SyntheticLLP
        >>> frames = SyntheticLLP("val", 2)
        >>> frames[0].streams["visual"].shape, AveragedFrames(frames)[0].streams["visual"].shape
        (torch.Size([80, 2048]), torch.Size([10, 2048]))
    """

    def __init__(self, dataset: AVVPDataset) -> None:
        self.dataset = dataset
        self.name, self.split, self.classes = dataset.name, dataset.split, dataset.classes
        self.ids, self.has_ground_truth = dataset.ids, dataset.has_ground_truth
        self.segment_seconds, self.truth = segment_seconds_of(dataset), truth_of(dataset)
        self.streams: Mapping[str, StreamSpec] = {name: averaged(spec) for name, spec in dataset.streams.items()}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Video:
        video = self.dataset[index]
        streams = {
            name: rearrange(x, "(t k) d -> t k d", k=self.dataset.streams[name].frames).mean(1)
            for name, x in video.streams.items()
        }
        return replace(video, streams=streams)

    def statistics(self) -> dict[str, Tensor]:
        """Mean and deviation of the averaged frames over the training split: stream name -> (2, width)."""
        if self.split != "train":
            raise ValueError("the statistics of averaged frames are taken on the training split")
        return stream_statistics(self)

    def segments(self, index: int) -> int:
        """T of a video."""
        return self.dataset.segments(index)

    def digests(self) -> dict[str, str]:
        """Digests of the data set with all frames."""
        return digests_of(self.dataset)

    def further_scores(self, parsed: ParsedSplit) -> dict[str, float]:
        """Own scores of the data set."""
        return further_scores_of(self.dataset, parsed)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Caveats of the data set."""
        return caveats_of(self.dataset)
