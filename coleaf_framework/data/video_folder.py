"""What data sets on disk have in common, whatever their annotations: features, labels, truth, digests.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from coleaf_framework.data.annotation_files import find_file
from coleaf_framework.data.dataset import AVVPDataset, Truth, Video, stream_statistics
from coleaf_framework.data.features import Features, NpyFeatures
from coleaf_framework.data.layout import STREAMS_FILE, Layout
from coleaf_framework.data.store import INDEX, PackedFeatures
from coleaf_framework.data.timed_features import TimedFeatures
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.storage import text_digest

SYNTHETIC_MARKER = "SYNTHETIC.txt"
"""A folder with this file has synthetic features; the data set's name then says so."""

_log = logging.getLogger("coleaf_framework.data")
_logged: set[tuple[Path, tuple[str, ...]]] = set()


def log_once(root: Path, what: str, lines: Sequence[str]) -> None:
    """Log sentences about a folder as one warning, unless the same were logged before in this process."""
    told = (root.resolve(), (what, *lines))
    if lines and told not in _logged:
        _logged.add(told)
        _log.warning("%s: %s: %s", root, what, "; ".join(lines))


def open_features(
    root: Path, declared: Layout | None, seconds: Callable[[str], float | None], usual: Layout | None = None
) -> Features:
    """The features of a data folder: a packed store, npy files as a `streams.yaml` declares, or as is usual.

    Args:
        root: Folder of the data set.
        declared: What a `streams.yaml` says; None without one.
        seconds: Length of a video in seconds, or None where it is not known.
        usual: Layout of the data set without a `streams.yaml`; None for LLP's.

    Returns:
        A reader of the features, which opens each video's files when they are asked for.

    Raises:
        ValueError: there are two kinds of features, or a store and a `streams.yaml`.
    """
    if (root / INDEX).exists():
        if declared is not None:
            raise ValueError(
                f"{root / INDEX}: a packed store says itself what its streams are, so it takes no {STREAMS_FILE}"
            )
        if (root / "feats").exists():
            raise ValueError(f"{root / INDEX} and {root / 'feats'} both exist: remove one of them")
        return PackedFeatures(root)
    layout = declared or usual
    return NpyFeatures(root) if layout is None else TimedFeatures(root, layout, seconds)


class VideoFolder(Dataset[Video]):
    """One split of a data set on disk; implements `AVVPDataset`. Subclasses read the annotations.

    `annotation_files` are the names of all files, in the folder or in its folder "annotations", that a copy needs
    beside the features.

    Args:
        root: Folder of the data set.
        split: "train", "val" or "test".
        name: Name of the data set.
        classes: The C class names, in index order.
        ids: Ids of the split's videos, in order; at least one.
        features: Where the features come from.
        has_ground_truth: Whether the split's videos have ground truth.
        truth: What the ground truth tells.
        skip_incomplete: Leave out the videos that lack a file of a stream, instead of refusing the split.

    Raises:
        FileNotFoundError: A feature file is missing. The message names the first and says how many.
        ValueError: The files do not fit each other or the layout.
    """

    annotation_files: tuple[str, ...] = ()

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        name: str,
        classes: tuple[str, ...],
        ids: Sequence[str],
        features: Features,
        has_ground_truth: bool = False,
        truth: Truth = "modalities",
        skip_incomplete: bool = False,
    ) -> None:
        self.root, self.split, self.classes = root, split, classes
        self.synthetic = find_file(root, SYNTHETIC_MARKER) is not None
        self.name = name + (", synthetic features" if self.synthetic else "")
        self.features = features
        self.has_ground_truth, self.truth = has_ground_truth, truth
        self.segment_seconds = features.segment_seconds
        self.total = len(ids)
        self.left_out = features.missing(ids)
        self.ids: Sequence[str] = self._complete(ids, skip_incomplete)
        self.streams: Mapping[str, StreamSpec] = features.streams(self.ids[0], self.seconds(self.ids[0]))
        if isinstance(features, TimedFeatures):
            log_once(root, f"split {split!r}", features.survey(self.ids, self.streams).lines())

    @abstractmethod
    def weak_labels(self, video: str) -> Sequence[int]:
        """Class indices of a video's weak label."""

    @abstractmethod
    def ground_truth(self, video: str, segments: int) -> Tensor:
        """Ground truth of a video of T segments, (T,M,C) bool; called where `has_ground_truth`."""

    @abstractmethod
    def annotated(self) -> list[object]:
        """Classes, labels and truth of the split's videos, as plain values that `digests` covers."""

    @abstractmethod
    def training_split(self) -> AVVPDataset:
        """The training split of the same data set."""

    def issues_lines(self) -> list[str]:
        """Sentences about everything odd in the annotations, which `coleaf check-data` prints."""
        return []

    def modality_labels(self, video: str) -> Tensor | None:
        """Weak labels of either modality, (M,C) float32 in {0,1}; None where there are only those of the video."""
        return None

    def seconds(self, video: str) -> tuple[int, ...]:
        """Lengths in seconds that the annotations say of a video, nearest first; () where they say none."""
        return ()

    def require_length(self, video: str, segments: int) -> None:
        """Check the number of segments of a video's features.

        Args:
            video: Its id.
            segments: Number of segments of its features, T.

        Raises:
            ValueError: it is not what the annotations say.
        """

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Video:
        """Read a video.

        Raises:
            FileNotFoundError: A feature file is missing.
            ValueError: A feature file is damaged, does not fit the first video's, or contains NaN or inf; or the video
                has another length than is annotated. The message names the file or the video.
        """
        video = self.ids[index]
        streams = self.features.read(video, self.streams)
        first, spec = next(iter(self.streams.items()))
        segments = len(streams[first]) // spec.frames
        self.require_length(video, segments)
        labels = torch.zeros(len(self.classes))
        labels[list(self.weak_labels(video))] = 1
        truth = self.ground_truth(video, segments) if self.has_ground_truth else None
        return Video(video, streams, labels, truth, modality_labels=self.modality_labels(video))

    def statistics(self) -> dict[str, Tensor]:
        """Mean and deviation of each stream over the training split: stream -> (2, width)."""
        known = self.features.statistics()
        if known is not None:
            return known
        return stream_statistics(self if self.split == "train" else self.training_split())

    def segments(self, index: int) -> int:
        """T of a video, without reading its features."""
        return self.features.segments(self.ids[index], self.streams)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences to print beside scores on this split."""
        if not self.left_out:
            return ()
        return (f"{self.total - len(self.ids)} of {self.total} videos are left out, since they lack a stream",)

    def digests(self) -> dict[str, str]:
        """Digests of the split: "annotations" or a stream's name -> digest (see `Features.digests`)."""
        annotations = f"text:{text_digest(json.dumps(self.annotated()))}"
        return {"annotations": annotations, **self.features.digests(self.ids, self.split)}

    def _complete(self, ids: Sequence[str], skip_incomplete: bool) -> tuple[str, ...]:
        """The videos that have all their files, where others may be left out."""
        if not self.left_out:
            return tuple(ids)
        gone = {video for video, _ in self.left_out}
        present = tuple(video for video in ids if video not in gone)
        first = self.left_out[0][1]
        if not skip_incomplete or not present:
            more = f" and {len(self.left_out) - 1} more" if len(self.left_out) > 1 else ""
            leave = (
                f"; `coleaf train --skip-incomplete` leaves out the {len(gone)} videos that lack a file"
                if present
                else ""
            )
            raise FileNotFoundError(
                f"{first}{more}; split {self.split!r} has {len(ids)} videos "
                f"(`coleaf check-data` lists what is missing{leave})"
            )
        told = f"{len(gone)} of {len(ids)} videos lack a stream and are left out, such as {self.left_out[0][0]!r}"
        log_once(self.root, f"split {self.split!r}", [f"{told} ({first})"])
        return present
