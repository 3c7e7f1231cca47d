"""The protocol of data sets, and how videos become a batch. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from coleaf_framework._config import WrongTypeError, shown
from coleaf_framework.metrics import ParsedSplit
from coleaf_framework.protocol import Batch, Modality, StreamSpec


@dataclass(frozen=True)
class Video:
    """One video.

    Args:
        id: Its name, unique within the split.
        streams: Stream name -> (frames * T, width) float32.
        labels: Weak labels, (C,) float32 in {0,1}.
        segment_labels: Ground truth, (T,M,C) bool, or None.
        modality_labels: Weak labels of either modality, (M,C) float32 in {0,1}, or None.
        pseudo_labels: Labels of segments that a teacher made, (T,M,C) float32 in [0,1], or None.
        pseudo_label_mask: Where `pseudo_labels` say something, (T,M,C) bool; None where they do everywhere.

    Example:
        >>> streams = {"audio": torch.zeros(10, 128), "visual": torch.zeros(80, 2048)}  # T=10, 8 frames a segment
        >>> video = Video("a", streams, labels=torch.tensor([1.0, 0.0]))  # C=2, the first class is in it
        >>> video.segment_labels is None  # only weak labels
        True
    """

    id: str
    streams: Mapping[str, Tensor]
    labels: Tensor
    segment_labels: Tensor | None = None
    modality_labels: Tensor | None = None
    pseudo_labels: Tensor | None = None
    pseudo_label_mask: Tensor | None = None


class AVVPDataset(Protocol):
    """One split of a data set of videos with weak labels, as `CoLeaFTrainer` takes it.

    A data set may also have a method `digests()`, which returns part ("annotations", or a stream's name) -> digest: a
    resumed run compares these to notice changed data. It may have the attributes `caveats`, sentences that
    are printed beside every score on the split; `segment_seconds`, the length of a segment, 1 without it; and `truth`:
    "modalities" where the ground truth tells audible from visible events, as without it, or "joint" where all events
    are audible and visible, so that only the columns AV exist. And it may have scores of its own beside the columns: a
    method `further_scores(parsed: ParsedSplit) -> Mapping[str, float]`, name -> percent, NaN where undefined. It is
    called once for a model's predictions and for each trivial parser, whose probabilities are 0 and 1.

    Args:
        name: Name of the data set in tables, such as "LLP".
        split: "train", "val" or "test".
        classes: The C class names, in index order.
        streams: Stream name -> its width, modality and frames per segment.
        ids: Ids of the videos, in order.
        has_ground_truth: Whether the videos have `segment_labels`.

    Example:
        >>> class Constant:  # two videos of three segments, of which one has an event
        ...     name, split, classes, ids = "Constant", "train", ("Dog", "Car"), ("a", "b")
        ...     streams = {"audio": StreamSpec(4, "audio"), "visual": StreamSpec(6, "visual")}
        ...     has_ground_truth = False
        ...
        ...     def __len__(self):
        ...         return len(self.ids)
        ...
        ...     def __getitem__(self, index):
        ...         streams = {name: torch.full((3, spec.width), float(index)) for name, spec in self.streams.items()}
        ...         return Video(self.ids[index], streams, labels=torch.tensor([float(index), 0.0]))
        ...
        ...     def statistics(self):
        ...         return stream_statistics(self)
        ...
        ...     def segments(self, index):
        ...         return 3
        >>> data = Constant()
        >>> collate([data[0], data[1]], data.streams).streams["visual"].shape
        torch.Size([2, 3, 6])
    """

    name: str
    split: str
    classes: tuple[str, ...]
    streams: Mapping[str, StreamSpec]
    ids: Sequence[str]
    has_ground_truth: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Video: ...

    def statistics(self) -> dict[str, Tensor]:
        """Mean and deviation of each stream over the training split: stream name -> (2, width)."""
        ...

    def segments(self, index: int) -> int:
        """T of a video, if possible without reading its features."""
        ...


def innermost(dataset: object) -> object:
    """The data set within `AveragedFrames`, `WithPseudoLabels` and the like."""
    while (inner := getattr(dataset, "dataset", None)) is not None:
        dataset = inner
    return dataset


def absent_modality(dataset: AVVPDataset, video: str) -> Modality | None:
    """The modality whose track a video's file lacks, where the data set knows: its `absent(video)`."""
    absent = getattr(innermost(dataset), "absent", None)
    found: Modality | None = absent(video) if callable(absent) else None
    return found


def digests_of(dataset: AVVPDataset) -> dict[str, str]:
    """A data set's `digests()`; empty if it has none."""
    digests = getattr(dataset, "digests", None)
    return dict(digests()) if callable(digests) else {}


def caveats_of(dataset: AVVPDataset) -> tuple[str, ...]:
    """A data set's `caveats`; empty if it has none."""
    return tuple(getattr(dataset, "caveats", ()))


Truth = Literal["modalities", "joint"]


def segment_seconds_of(dataset: AVVPDataset) -> float:
    """Length of a data set's segments in seconds: its `segment_seconds`; 1 if it has none."""
    return float(getattr(dataset, "segment_seconds", 1.0))


def truth_of(dataset: AVVPDataset) -> Truth:
    """What a data set's ground truth tells: its `truth`; "modalities" if it has none."""
    truth: Truth = getattr(dataset, "truth", "modalities")
    return truth


def no_ground_truth(where: str) -> str:
    """The sentence that a split, such as "LLP train", cannot be scored."""
    return f"{where} has only weak labels; scores need ground truth (in LLP's layout AVVP_eval_*.csv)"


def further_scores_of(dataset: AVVPDataset, parsed: ParsedSplit) -> dict[str, float]:
    """A data set's own scores of a parser, its `further_scores(parsed)`: name -> percent; empty if it has none.

    Args:
        dataset: The data set.
        parsed: A parser's probabilities and decisions on it, with the truth.

    Returns:
        Name -> percent, or NaN.

    Raises:
        TypeError: it does not give names and numbers; names the data set.
    """
    measure = getattr(dataset, "further_scores", None)
    if not callable(measure):
        return {}
    scores = measure(parsed)
    if not isinstance(scores, Mapping) or not all(
        isinstance(name, str) and isinstance(x, int | float) for name, x in scores.items()
    ):
        raise WrongTypeError(f"{dataset.name}: further_scores gave {shown(scores)}, where name -> number was expected")
    return {name: float(x) for name, x in scores.items()}


def collate(videos: Sequence[Video], streams: Mapping[str, StreamSpec]) -> Batch:
    """Make a batch of videos. Shorter videos are padded with zeros and masked.

    Args:
        videos: At least one video.
        streams: Specs of their streams.

    Returns:
        Batch of B videos in the given order, T that of the longest. `mask` is None where all have T segments, and
        `segment_labels` where a video lacks them.

    Raises:
        ValueError: some of the videos have labels per modality, or pseudo-labels, and others have not. Names one.

    Example:
        >>> from coleaf_framework.data import SyntheticLLP, collate
        >>> data = SyntheticLLP("val", 2)
        >>> batch = collate([data[0], data[1]], data.streams)
        >>> batch.streams["audio"].shape, batch.labels.shape
        (torch.Size([2, 10, 128]), torch.Size([2, 25]))
    """
    name, spec = next(iter(streams.items()))
    lengths = [len(video.streams[name]) // spec.frames for video in videos]
    longest = max(lengths)
    mask = None
    if min(lengths) < longest:
        mask = torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]
    pad = torch.nn.utils.rnn.pad_sequence

    def given(field: str) -> list[Tensor] | None:
        """A field of every video, where all have it."""
        found = [getattr(video, field) for video in videos]
        return None if any(x is None for x in found) else found

    def padded(field: str) -> Tensor | None:
        found = given(field)
        return None if found is None else pad(found, batch_first=True)

    for field in ("modality_labels", "pseudo_labels"):
        without = [video.id for video in videos if getattr(video, field) is None]
        if 0 < len(without) < len(videos):
            raise ValueError(
                f"video {without[0]!r} has no {field}, unlike others of its batch: all videos of a split must have "
                "them or none; pseudo_label_mask says where pseudo-labels say nothing"
            )
    if any(video.pseudo_label_mask is not None for video in videos):
        videos = [_with_mask(video) for video in videos]
    modality_labels = given("modality_labels")
    return Batch(
        streams={stream: pad([video.streams[stream] for video in videos], batch_first=True) for stream in streams},
        labels=torch.stack([video.labels for video in videos]),
        segment_labels=padded("segment_labels"),
        mask=mask,
        modality_labels=None if modality_labels is None else torch.stack(modality_labels),
        pseudo_labels=padded("pseudo_labels"),
        pseudo_label_mask=padded("pseudo_label_mask"),
        ids=tuple(video.id for video in videos),
    )


def _with_mask(video: Video) -> Video:
    """The video with a `pseudo_label_mask`, which is True everywhere where there was none."""
    if video.pseudo_label_mask is not None or video.pseudo_labels is None:
        return video
    return replace(video, pseudo_label_mask=torch.ones_like(video.pseudo_labels, dtype=torch.bool))


def stream_statistics(dataset: AVVPDataset) -> dict[str, Tensor]:
    """Mean and deviation of each feature over all videos of a data set, in one pass.

    Returns:
        Stream name -> (2, width) float32. Constant features get deviation 1.

    Example:
        >>> from coleaf_framework.data import SyntheticLLP, stream_statistics
        >>> {name: tuple(x.shape) for name, x in stream_statistics(SyntheticLLP("train", 4)).items()}
        {'audio': (2, 128), 'visual': (2, 2048), 'visual_st': (2, 512)}
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
        deviation[deviation < 1e-6 * (1 + mean.abs())] = 1.0  # a constant feature, up to rounding
        statistics[name] = torch.stack([mean, deviation]).float()
    return statistics
