"""LFAV (Hou et al., ACM TOMM 2024): 5,175 long videos, annotated in either modality. Shape letters: see `protocol.py`.

root/train_weakly.csv, val_weak_av.csv, test_weak_av.csv     filename <tab> event_labels: weak labels
root/{train,val,test}_{audio,visual}_weakly.csv              the same of either modality
root/{val,test}_{audio,visual}.csv                           filename <tab> onset <tab> offset <tab> event_labels
root/feats/vggish/<id>.npy                                   stream "audio":     (T, width), one row a second
root/feats/resnet18/<id>.npy                                 stream "visual"
root/feats/r2plus1d_18/<id>.npy                              stream "visual_st"

or, instead of root/feats, a packed store, or any folders that a streams.yaml declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework.data.annotation_files import find_file
from coleaf_framework.data.layout import Layout, StreamFiles, find_layout
from coleaf_framework.data.lfav_files import LFAV_CLASSES, LFAV_FILES, WEAK, read_lfav
from coleaf_framework.data.video_folder import VideoFolder, log_once, open_features
from coleaf_framework.metrics import ParsedSplit
from coleaf_framework.metrics.snippet_map import snippet_map
from coleaf_framework.protocol import MODALITIES

LFAV_LAYOUT = Layout(
    streams={
        "audio": StreamFiles(modality="audio", folder="feats/vggish", frames=1),
        "visual": StreamFiles(modality="visual", folder="feats/resnet18", frames=1),
        "visual_st": StreamFiles(modality="visual", folder="feats/r2plus1d_18", frames=1),
    }
)
"""One row a second. Where a stream of a video ends earlier than the others, all are cut there."""


class LFAV(VideoFolder):
    """One split of LFAV; the head of this module shows its files.

    Videos are as long as their features, so their lengths differ. The weak label is the published one of the video;
    `modality_labels` are the published weak labels of audio and of visual. An event marks the seconds from its onset to
    its offset, the offset included, as LFAV's own code has it (LLP excludes it). Faults of the published files are
    counted in `issues` and logged once.

    Args:
        root: Folder of the data set.
        split: "train" (3,721 videos), "val" (486) or "test" (968).
        streams: A file such as `streams.yaml`; that of the folder, if it has one, if None.
        skip_incomplete: Leave out the videos that lack a file of a stream, and say so, instead of refusing the split.

    Raises:
        FileNotFoundError: A file is missing. The message names it.
        ValueError: The split is unknown or has no videos, or a file is malformed.

    Example:
        A folder with one training video:

        >>> import tempfile
        >>> import numpy as np
        >>> root = Path(tempfile.mkdtemp())
        >>> for name, labels in (("", "cat,cry"), ("_audio", "cat,cry"), ("_visual", "cat")):
        ...     _ = (root / f"train{name}_weakly.csv").write_text(f"filename\\tevent_labels\\n-0BKyt8iZ1I\\t{labels}")
        >>> for files in LFAV_LAYOUT.streams.values():
        ...     (root / files.folder).mkdir(parents=True)
        ...     np.save(files.path(root, "-0BKyt8iZ1I"), np.zeros((160, 128), np.float32))
        >>> data = LFAV(root, "train")
        >>> data.segments(0), data[0].modality_labels.sum(1)  # audio, visual
        (160, tensor([2., 1.]))
    """

    annotation_files = LFAV_FILES

    def __init__(
        self, root: Path | str, split: str, *, streams: Path | str | None = None, skip_incomplete: bool = False
    ) -> None:
        root = Path(root)
        self.streams_file, self.skip_incomplete = streams, skip_incomplete
        if not isinstance(split, str) or split not in WEAK:
            raise ValueError(f"split {split!r} is not one of {list(WEAK)}")
        self.annotations = read_lfav(root)
        self.issues = self.annotations.issues
        if not self.annotations.weak.get(split):
            filled = [name for name, videos in self.annotations.weak.items() if videos]
            raise ValueError(f"{root}: split {split!r} has no videos ({WEAK[split]}); it has {filled}")
        layout = find_layout(root, streams)
        features = open_features(root, layout, self._known_seconds, LFAV_LAYOUT)
        if features.segment_seconds != 1:
            raise ValueError(
                f"{root}: LFAV is annotated by the second, so segment_seconds is 1, not {features.segment_seconds:g}"
            )
        super().__init__(
            root,
            split,
            name="LFAV",
            classes=LFAV_CLASSES,
            ids=tuple(self.annotations.weak[split]),
            features=features,
            has_ground_truth=split != "train",
            skip_incomplete=skip_incomplete,
        )
        log_once(root, "annotations", tuple(self.issues.lines()))
        log_once(root, f"split {split!r}", self._cut_events())

    def weak_labels(self, video: str) -> Sequence[int]:
        """See `VideoFolder.weak_labels`; as published, which may differ from the union of both modalities'."""
        return self.annotations.weak[self.split][video]

    def modality_labels(self, video: str) -> Tensor:
        """See `VideoFolder.modality_labels`; as published."""
        labels = torch.zeros(len(MODALITIES), len(LFAV_CLASSES))
        for m, modality in enumerate(MODALITIES):
            labels[m, list(self.annotations.modality[self.split][modality][video])] = 1
        return labels

    def ground_truth(self, video: str, segments: int) -> Tensor:
        """See `VideoFolder.ground_truth`; seconds from onset to offset, both included, cut at the last segment."""
        truth = torch.zeros(segments, len(MODALITIES), len(LFAV_CLASSES), dtype=torch.bool)
        for m, modality in enumerate(MODALITIES):
            for event in self.annotations.events[self.split][video][modality]:
                truth[int(event.onset) : int(event.offset) + 1, m, event.label] = True
        return truth

    def training_split(self) -> LFAV:
        """See `VideoFolder.training_split`."""
        return LFAV(self.root, "train", streams=self.streams_file, skip_incomplete=self.skip_incomplete)

    def issues_lines(self) -> list[str]:
        """See `VideoFolder.issues_lines`."""
        return [*self.issues.lines(), *(f"split {self.split!r}: {line}" for line in self._cut_events())]

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences to print beside scores on this split: videos that it shares with another, or that are left out."""
        return (*self.issues.overlaps(self.split), *super().caveats)

    def further_scores(self, parsed: ParsedSplit) -> Mapping[str, float]:
        """Snippet mAP of A, V, AV and their mean, in percent (`metrics/snippet_map.py`)."""
        scores = snippet_map(parsed.segment_probs, parsed.truth, parsed.mask)
        return {f"snippet mAP {name}": score for name, score in scores.items()}

    def annotated(self) -> list[object]:
        """See `VideoFolder.annotated`."""
        notes, split = self.annotations, self.split
        labels = [(v, notes.weak[split][v], [notes.modality[split][m][v] for m in MODALITIES]) for v in self.ids]
        events = {
            v: {m: [(i.onset, i.offset, i.label) for i in found] for m, found in notes.events[split][v].items()}
            for v in self.ids
            if self.has_ground_truth
        }
        return [self.classes, labels, events]

    def _cut_events(self) -> list[str]:
        """A sentence about the events that go on after the features of their video."""
        count, first = 0, ""
        for i, video in enumerate(self.ids if self.has_ground_truth else ()):
            segments = self.segments(i)
            for event in (e for events in self.annotations.events[self.split][video].values() for e in events):
                if event.offset > segments:  # an offset of T is the end of the video
                    count += 1
                    first = first or f"{event.where}: to {event.offset:g} s of {segments} s"
        return [f"{count} events go on after the features of their video and are cut there ({first})"] if count else []

    def _known_seconds(self, video: str) -> None:
        return None


def lfav_splits(root: Path) -> tuple[str, ...]:
    """The splits of which a folder has annotations."""
    return tuple(split for split, name in WEAK.items() if find_file(root, name) is not None)
