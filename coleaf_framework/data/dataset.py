"""What every data set here is, and how its videos become a batch. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset

from coleaf_framework.protocol import Batch, StreamSpec


@dataclass(frozen=True)
class Video:
    """One video.

    Args:
        id: names it.
        streams: stream name -> (frames * T, width) float32.
        labels: weak labels, (C,) float32 in {0,1}.
        segment_labels: ground truth, (T,M,C) bool, or None.
    """

    id: str
    streams: Mapping[str, Tensor]
    labels: Tensor
    segment_labels: Tensor | None = None


class AVVPDataset(Protocol):
    """Videos with weak labels; what `CoLeaFTrainer` takes.

    Args:
        name: for tables, such as "LLP".
        split: "train", "val" or "test".
        classes: C names, in index order.
        streams: what each video holds.
        ids: of the videos, in order.
        has_ground_truth: whether videos have `segment_labels`.

    `statistics()` gives mean and deviation of each stream over the training split, stream -> (2, width);
    `segments(index)` a video's T, without reading its features where that can be.

    Two more are optional. `digests()` says what the split is made of, part ("annotations", a stream) -> digest, so that
    a run can tell whether it goes on with the same data. `caveats` are sentences to be said beside every score on the
    split.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    streams: Mapping[str, StreamSpec]
    ids: Sequence[str]
    has_ground_truth: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Video: ...

    def statistics(self) -> dict[str, Tensor]: ...

    def segments(self, index: int) -> int: ...


def digests_of(dataset: AVVPDataset) -> dict[str, str]:
    """A data set's `digests()`, or none."""
    digests = getattr(dataset, "digests", None)
    return dict(digests()) if callable(digests) else {}


def caveats_of(dataset: AVVPDataset) -> tuple[str, ...]:
    """A data set's `caveats`, or none."""
    return tuple(getattr(dataset, "caveats", ()))


def averaged(spec: StreamSpec) -> StreamSpec:
    """What a stream becomes when the frames of each segment are averaged."""
    return StreamSpec(spec.width, spec.modality, averaged=spec.frames * spec.averaged)


class AveragedFrames(Dataset[Video]):
    """A data set with the mean of each segment's frames instead of the frames.

    For a network that averages frames after a linear layer the answer is the same, with less to read and multiply. Its
    statistics are those of the means, whose deviation is smaller than that of the frames.
    """

    def __init__(self, dataset: AVVPDataset) -> None:
        self.dataset = dataset
        self.name, self.split, self.classes = dataset.name, dataset.split, dataset.classes
        self.ids, self.has_ground_truth = dataset.ids, dataset.has_ground_truth
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
        """Of the means, over the training split."""
        if self.split != "train":
            raise ValueError("the statistics of averaged frames are taken on the training split")
        return stream_statistics(self)

    def segments(self, index: int) -> int:
        """T of a video."""
        return self.dataset.segments(index)

    def digests(self) -> dict[str, str]:
        """Of the frames."""
        return digests_of(self.dataset)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Of the data set."""
        return caveats_of(self.dataset)


def collate(videos: Sequence[Video], streams: Mapping[str, StreamSpec]) -> Batch:
    """Stack videos; shorter ones are padded with zeros and masked.

    Args:
        videos: at least one.
        streams: what they hold.
    """
    name, spec = next(iter(streams.items()))
    lengths = [len(video.streams[name]) // spec.frames for video in videos]
    longest = max(lengths)
    mask = None
    if min(lengths) < longest:
        mask = torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]
    pad = torch.nn.utils.rnn.pad_sequence
    truth = [video.segment_labels for video in videos if video.segment_labels is not None]
    return Batch(
        streams={stream: pad([video.streams[stream] for video in videos], batch_first=True) for stream in streams},
        labels=torch.stack([video.labels for video in videos]),
        segment_labels=pad(truth, batch_first=True) if len(truth) == len(videos) else None,
        mask=mask,
        ids=tuple(video.id for video in videos),
    )


def stream_statistics(dataset: AVVPDataset) -> dict[str, Tensor]:
    """Mean and deviation of each feature over all videos of a data set, in one pass.

    Returns: stream name -> (2, width) float32; features that never change get deviation 1.
    """
    sums = {name: torch.zeros(2, spec.width, dtype=torch.float64) for name, spec in dataset.streams.items()}
    counts = dict.fromkeys(dataset.streams, 0)
    for i in range(len(dataset)):
        for name, x in dataset[i].streams.items():
            x = x.double()
            sums[name] += torch.stack([x.sum(0), x.square().sum(0)])
            counts[name] += len(x)
    statistics = {}
    for name, (total, squares) in sums.items():
        mean = total / counts[name]
        deviation = (squares / counts[name] - mean.square()).clamp(min=0).sqrt()
        deviation[deviation < 1e-6 * (1 + mean.abs())] = 1.0  # rounding of a feature that never changes
        statistics[name] = torch.stack([mean, deviation]).float()
    return statistics
