"""A data set together with pseudo-labels of its videos. Shape letters: see `protocol.py`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from coleaf_framework.data.dataset import (
    AVVPDataset,
    Video,
    caveats_of,
    digests_of,
    further_scores_of,
    segment_seconds_of,
    truth_of,
)
from coleaf_framework.data.labels.config import LabelsConfig
from coleaf_framework.data.labels.sources import RemovalLists, SegmentFolder, SourceLabels, open_source
from coleaf_framework.metrics import ParsedSplit
from coleaf_framework.protocol import MODALITIES

_log = logging.getLogger("coleaf_framework.data")
_logged: set[str] = set()


class WithPseudoLabels(Dataset[Video]):
    """A data set whose videos carry pseudo-labels of one or several sources.

    Labels of segments become `Video.pseudo_labels` with their mask; where several sources say something, the first
    wins. Labels of kind ma, the same in all segments, become `Video.modality_labels`, which losses read in place of the
    weak labels. Everything is read and checked once here, and said in the log once.

    Args:
        dataset: Any data set; of kind ma, its training split.
        labels: The sources, at least one.

    Attributes:
        positive_shares: (M,C) in [0,1], the mean pseudo-label over all segments of which something is said; None
            without labels of segments.
        has_modality_labels: Whether a source is of kind ma.

    Raises:
        FileNotFoundError: A source is missing. The message names it.
        ValueError: Labels do not fit a video, are missing for some, or are of videos in no split.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from coleaf_framework.data import SyntheticLLP
        >>> from coleaf_framework.data.labels import LabelsConfig, WithPseudoLabels
        >>> data, root = SyntheticLLP("train", 2), Path(tempfile.mkdtemp())
        >>> for folder in ("audio", "visual"):
        ...     (root / folder).mkdir()
        ...     for video in data.ids:
        ...         np.save(root / folder / f"{video}.npy", np.full((10, 25), 0.5, np.float32))
        >>> labelled = WithPseudoLabels(data, LabelsConfig(sources=[{"kind": "npy", "path": str(root)}]))
        >>> labelled[0].pseudo_labels.shape
        torch.Size([10, 2, 25])
    """

    def __init__(self, dataset: AVVPDataset, labels: LabelsConfig) -> None:
        if not labels.sources:
            raise ValueError("labels.sources is empty: there are no pseudo-labels to add")
        self.dataset = dataset
        self.name, self.split, self.classes = dataset.name, dataset.split, dataset.classes
        self.streams, self.ids, self.has_ground_truth = dataset.streams, dataset.ids, dataset.has_ground_truth
        self.segment_seconds, self.truth = segment_seconds_of(dataset), truth_of(dataset)
        order, weak = _weak_labels(dataset)
        self._weak = [_many_hot(weak[video], len(self.classes)) for video in self.ids]
        sources = []
        for config in labels.sources:
            if config.kind == "ma" and self.split != "train":
                raise ValueError(f"{config.path}: removals (kind ma) are of the training split, not of {self.split!r}")
            sources.append(open_source(config, self.classes, order, weak))
        self._of_segments = [source for source in sources if isinstance(source, SegmentFolder)]
        self._of_modalities = [source for source in sources if isinstance(source, RemovalLists)]
        if len(self._of_modalities) > 1:
            raise ValueError(
                f"{self._of_modalities[1].config.path}: the second file of removals (kind ma); one is read"
            )
        self.has_modality_labels = bool(self._of_modalities)
        for folder in self._of_segments:
            _require_complete(folder, dataset)
        self._check()
        for source in sources:
            _say_once(source.about)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Video:
        video, weak = self.dataset[index], self._weak[index]
        if self._of_segments:
            found = self.pseudo_labels(index)
            mask = None if self._speaks_everywhere else found.mask
            video = replace(video, pseudo_labels=found.labels, pseudo_label_mask=mask)
        for source in self._of_modalities:
            if video.modality_labels is not None:
                raise ValueError(f"{source.config.path}: {self.name} has labels per modality of its own already")
            video = replace(video, modality_labels=source.read(video.id, weak, 1).labels[0])
        return video

    def pseudo_labels(self, index: int) -> SourceLabels:
        """The pseudo-labels of a video's segments, without reading its features; of kind ma where there are no others.

        Args:
            index: Of the video.

        Returns:
            Labels (T,M,C) float32 in [0,1], and mask (T,M,C) bool.
        """
        kept, mask = self._kept[index]
        labels = kept.float()
        return SourceLabels(labels, torch.ones_like(labels, dtype=torch.bool) if mask is None else mask)

    def _read(self, index: int, segments: int) -> SourceLabels:
        found: SourceLabels | None = None
        for source in self._of_segments or self._of_modalities:
            own = source.read(self.ids[index], self._weak[index], segments)
            if found is None:
                found = own
            else:
                found = SourceLabels(torch.where(found.mask, found.labels, own.labels), found.mask | own.mask)
        assert found is not None
        return found

    def _check(self) -> None:
        """Read all labels once: check them, take their digest, count what is positive, and keep them.

        They are kept since features are read anew in each epoch, but labels are small: LLP's take 5 MB where they are
        hard, which need one byte each, and 20 MB where they are soft.
        """
        self._kept: list[tuple[Tensor, Tensor | None]] = []
        digest = hashlib.sha256()
        total, count = torch.zeros(2, len(MODALITIES), len(self.classes), dtype=torch.float64)
        self._speaks_everywhere = True
        for index, video in enumerate(self.ids):
            found = self._read(index, self.dataset.segments(index))
            everywhere, hard = bool(found.mask.all()), bool(((found.labels == 0) | (found.labels == 1)).all())
            self._speaks_everywhere &= everywhere
            self._kept.append(
                (found.labels.to(torch.uint8) if hard else found.labels, None if everywhere else found.mask)
            )
            digest.update(f"{video} {tuple(found.labels.shape)}\n".encode())
            digest.update(found.labels.numpy().tobytes() + found.mask.numpy().tobytes())
            if self._of_segments:
                for source in self._of_modalities:
                    digest.update(source.read(video, self._weak[index], 1).labels.numpy().tobytes())
            total += found.labels.sum(0)
            count += found.mask.sum(0)
        self._digest = digest.hexdigest()[:16]
        shares = (total / count.clamp(min=1)).float()
        self.positive_shares = shares if self._of_segments else None

    def statistics(self) -> dict[str, Tensor]:
        """Mean and deviation of each stream over the training split: stream name -> (2, width)."""
        return self.dataset.statistics()

    def segments(self, index: int) -> int:
        """T of a video."""
        return self.dataset.segments(index)

    def digests(self) -> dict[str, str]:
        """Digests of the data set, and of the labels: "pseudo-labels"."""
        return {**digests_of(self.dataset), "pseudo-labels": f"labels:{self._digest}"}

    def further_scores(self, parsed: ParsedSplit) -> dict[str, float]:
        """Own scores of the data set."""
        return further_scores_of(self.dataset, parsed)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Caveats of the data set."""
        return caveats_of(self.dataset)


def _say_once(text: str) -> None:
    if text not in _logged:
        _logged.add(text)
        _log.warning("pseudo-labels: %s", text)


def _innermost(dataset: Any) -> Any:
    """The data set that others such as `AveragedFrames` wrap."""
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset


def weak_labels_of(dataset: AVVPDataset) -> Tensor:
    """The weak labels of a split's videos, (N,C) float32 in {0,1}, without reading features where that is possible."""
    weak = _weak_labels(dataset)[1]
    return torch.stack([_many_hot(weak[video], len(dataset.classes)) for video in dataset.ids])


def _weak_labels(dataset: AVVPDataset) -> tuple[Sequence[str], Mapping[str, Collection[int]]]:
    """The ids of a split in the order of its annotations, and the class indices of each video's weak label.

    Where the data set does not keep its annotations, every video is read.
    """
    annotations = getattr(_innermost(dataset), "annotations", None)
    weak = getattr(annotations, "weak", {}).get(dataset.split)
    if weak is None:
        weak = {video: _indices(dataset[i].labels) for i, video in enumerate(dataset.ids)}
    return tuple(weak), weak


def _indices(labels: Tensor) -> tuple[int, ...]:
    return tuple(int(c) for c in labels.nonzero()[:, 0])


def _many_hot(indices: Collection[int], classes: int) -> Tensor:
    labels = torch.zeros(classes)
    labels[list(indices)] = 1
    return labels


def _require_complete(source: SegmentFolder, dataset: AVVPDataset) -> None:
    """Check that a source has labels of all videos, and of no video that is in no split; its `partial` allows both."""
    path, every = source.config.path, len(dataset.ids)
    lacking = {modality: videos for modality, videos in source.lacking(dataset.ids).items() if videos}
    splits = getattr(getattr(_innermost(dataset), "annotations", None), "weak", None)
    known = set().union(*splits.values()) if splits is not None else None
    unknown = sorted(source.ids - known) if known is not None else []
    accepts = f"`partial: true` in {path}/labels.yaml accepts that"
    for modality, videos in lacking.items():
        text = f"{len(videos)} of the {every} videos of split {dataset.split!r} have no {modality} labels"
        if not source.config.partial:
            raise ValueError(f"{path}: {text}, such as {videos[0]!r}; {accepts}")
        if all(len(each) == every for each in lacking.values()) and len(lacking) == len(source.lacking(())):
            raise ValueError(f"{path}: {text}, and no other labels")
        _say_once(f"{path}: {text}")
    if unknown and not source.config.partial:
        raise ValueError(
            f"{path}: has labels of {len(unknown)} videos in no split of {dataset.name}, such as {unknown[0]!r}; "
            f"{accepts}"
        )
    if unknown:
        _say_once(f"{path}: {len(unknown)} videos are in no split of {dataset.name} and were passed over")
