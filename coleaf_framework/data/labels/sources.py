"""Where pseudo-labels come from: a folder of arrays of segments, or lists of labels to remove.

Shape letters: see `protocol.py`; index 0 of M is audio and 1 is visual, whatever order the files have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework._config import shown
from coleaf_framework.data.labels.arrays import ids_in, read_label_array
from coleaf_framework.data.labels.config import SourceConfig
from coleaf_framework.data.labels.removals import Removals, read_removals
from coleaf_framework.protocol import MODALITIES

FOLDERS: Mapping[str, tuple[str, str]] = {  # kind -> audio, visual
    "valor": ("CLAP/segment_pseudo_labels", "CLIP/segment_pseudo_labels"),
    "npy": ("audio", "visual"),
    "lsld": ("audio", "visual"),
}


@dataclass(frozen=True)
class SourceLabels:
    """What a source says of a video.

    Args:
        labels: (T,M,C) float32 in [0,1]; 0 where it says nothing.
        mask: (T,M,C) bool, True where it says something.
    """

    labels: Tensor
    mask: Tensor


class SegmentFolder:
    """Labels of segments in one npy file a video and modality, (T,C) in [0,1].

    A modality without a folder, or a video without a file, has no labels.

    Args:
        config: Of kind valor, npy or lsld.
        classes: The C class names.

    Attributes:
        ids: Videos with a file of either modality.
        about: Sentence for the log: what the labels are, and whether they are confined to the weak label.

    Raises:
        FileNotFoundError: There is no folder of either modality; names both.
        ValueError: They are of other classes, or not converted.
    """

    def __init__(self, config: SourceConfig, classes: Sequence[str]) -> None:
        self.config, self.classes, root = config, classes, Path(config.path)
        self.folders = tuple(root / name for name in FOLDERS[config.kind])
        if config.kind == "lsld" and root.is_file():
            raise ValueError(f"{root}: convert it first, by coleaf convert-labels {root} --out FOLDER")
        if config.classes is not None and tuple(config.classes) != tuple(classes):
            raise ValueError(
                f"{root}: its labels are of the classes {shown(list(config.classes))}, the data set has "
                f"{shown(list(classes))}"
            )
        if not any(folder.is_dir() for folder in self.folders):
            raise FileNotFoundError(f"{self.folders[0]} and {self.folders[1]}: no such folders (kind {config.kind})")
        self._files = tuple(ids_in(folder) for folder in self.folders)
        self.ids = self._files[0] | self._files[1]
        self.about = f"{root} ({config.kind}): {self._confinement}{self._silent}"

    @property
    def _confinement(self) -> str:
        if self.config.intersect:
            return "labels outside the weak label become 0"
        if self.config.kind == "valor":
            return "labels are 0 outside the weak label, which was checked"
        if self.config.kind == "lsld":
            return "audio labels are 0 outside the weak label, which was checked; visual labels are kept outside it"
        return "labels outside the weak label are kept"

    @property
    def _silent(self) -> str:
        without = [name for name, files in zip(MODALITIES, self._files, strict=True) if not files]
        return f"; no {without[0]} labels" if without else ""

    def lacking(self, videos: Sequence[str]) -> dict[str, list[str]]:
        """Modality -> those of the videos that have no file of it, for modalities with any files."""
        each = zip(MODALITIES, self._files, strict=True)
        return {name: [video for video in videos if video not in files] for name, files in each if files}

    def read(self, video: str, weak: Tensor, segments: int) -> SourceLabels:
        """What the files say of a video.

        Args:
            video: Id of the video.
            weak: (C,) in {0,1}, its weak label.
            segments: T of the video.

        Returns:
            Labels (T,M,C) float32 in [0,1], and mask (T,M,C) bool.

        Raises:
            ValueError: as `read_label_array`; or labels that its kind confines to the weak label are outside it.
        """
        labels = torch.zeros(segments, len(MODALITIES), len(self.classes))
        mask = torch.zeros_like(labels, dtype=torch.bool)
        for m, (folder, files) in enumerate(zip(self.folders, self._files, strict=True)):
            if video not in files:
                continue
            path = folder / f"{video}.npy"
            own = read_label_array(path, video, segments, self.classes)
            if self.config.intersect:
                own = own * weak
            elif self.config.kind == "valor" or (self.config.kind == "lsld" and MODALITIES[m] == "audio"):
                self._require_confined(path, video, own, weak)
            labels[:, m], mask[:, m] = own, True
        return SourceLabels(labels, mask)

    def _require_confined(self, path: Path, video: str, labels: Tensor, weak: Tensor) -> None:
        outside = (labels > 0).any(0) & (weak == 0)
        if outside.any():
            name = self.classes[int(outside.nonzero()[0])]
            raise ValueError(
                f"{path}: labels {name!r}, which the weak label of video {video!r} lacks, though labels of kind "
                f"{self.config.kind} are confined to it: are these of other data? (kind npy keeps them)"
            )


class RemovalLists:
    """Weak labels per modality without those that a list removes, as MA (Wu, Yang, CVPR 2021) trains with.

    Args:
        config: Of kind ma.
        classes: The C class names.
        order: Ids of the rows of the file of weak labels, which lists of row numbers refer to.
        weak: Video -> class indices, of these rows.

    Attributes:
        about: Sentence for the log: how many labels are removed.

    Raises:
        ValueError: A listed row or id does not exist, or its weak label lacks the class. Names file, row and class.
    """

    def __init__(
        self, config: SourceConfig, classes: Sequence[str], order: Sequence[str], weak: Mapping[str, Collection[int]]
    ) -> None:
        if config.intersect or config.partial:
            raise ValueError(f"{config.path}: intersect and partial do nothing for kind ma, which only removes labels")
        self.config = config
        self.removals: Removals = read_removals(Path(config.path), classes, order, weak)
        audio, visual = (len(pairs) for pairs in self.removals.pairs)
        self.about = f"{config.path} (ma): weak labels per modality, {audio} removed from audio, {visual} from visual"

    def read(self, video: str, weak: Tensor, segments: int) -> SourceLabels:
        """The labels of a video, the same in every segment; arguments as of `SegmentFolder.read`."""
        labels = weak.repeat(len(MODALITIES), 1)
        for m, pairs in enumerate(self.removals.of(video)):
            labels[m, list(pairs)] = 0
        labels = labels.expand(segments, -1, -1).clone()
        return SourceLabels(labels, torch.ones_like(labels, dtype=torch.bool))


def open_source(
    config: SourceConfig, classes: Sequence[str], order: Sequence[str], weak: Mapping[str, Collection[int]]
) -> SegmentFolder | RemovalLists:
    """Open a source; arguments and errors as of `SegmentFolder` and `RemovalLists`."""
    if not isinstance(config, SourceConfig):
        raise ValueError(f"{shown(config)} is no source of labels: expected a SourceConfig")
    if config.kind == "ma":
        return RemovalLists(config, classes, order, weak)
    return SegmentFolder(config, classes)
