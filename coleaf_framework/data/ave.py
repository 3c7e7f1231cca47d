"""AVE (Tian et al., ECCV 2018): 4,143 clips of 10 s with one audio-visual event each. Shape letters: see `protocol.py`.

root/Annotations.txt                        category&video&quality&start&end, without a header
root/train_order.h5, val_.., test_..        row numbers of each split, key "order"
root/audio_feature.h5                       stream "audio":  key "avadataset", (rows, 10, 128)
root/visual_feature.h5                      stream "visual": (rows, 10, 7, 7, 512), of whose maps the mean is taken
root/labels_noisy.h5                        background videos, which the published training adds; with
root/audio_feature_noisy.h5, visual_..        their features

or, instead of the features, a packed store, or npy files by video id that a streams.yaml declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework.data.annotation_files import find_file
from coleaf_framework.data.ave_features import AVEFeatures, AVENpyFeatures
from coleaf_framework.data.ave_files import (
    AVE_CLASSES,
    BACKGROUND_FILE,
    ORDER_FILES,
    ROWS_FILE,
    SECONDS,
    background_ids,
    find_issues,
    is_background,
    read_orders,
    read_rows,
    row_of,
    sample_id,
)
from coleaf_framework.data.features import Features
from coleaf_framework.data.layout import Layout, find_layout
from coleaf_framework.data.lengths import KnownLengths
from coleaf_framework.data.store import INDEX
from coleaf_framework.data.video_folder import VideoFolder, log_once, open_features
from coleaf_framework.metrics import ParsedSplit
from coleaf_framework.metrics.segment_accuracy import segment_accuracy
from coleaf_framework.protocol import MODALITIES

ACCURACY = "segment accuracy (product of both, where decided)"


class AVE(VideoFolder):
    """One split of AVE, weakly supervised; the head of this module shows its files, of which the splits need h5py.

    A sample is a row of `Annotations.txt`, named `VIDEO_ROW`, since 45 videos have several rows of different
    categories. Its weak label is its category. Second t of [start, end) is audible and visible, so `truth` is "joint".
    Background, the 29th column of the published labels, is the absence of events here.

    Training has the background videos of `labels_noisy.h5` too, with an empty weak label, if their features are there;
    otherwise a warning says that they are left out. Faults of the published files are counted in `issues` and are
    `caveats` of scores.

    Args:
        root: Folder of the data set.
        split: "train" (3,339 rows and 178 background videos), "val" (402) or "test" (402).
        streams: A file such as `streams.yaml`; that of the folder, if it has one, if None.
        skip_incomplete: Leave out samples that lack a file of a stream, and say so, instead of refusing the split.
        annotations_only: Look for no features.

    Raises:
        FileNotFoundError: A file is missing. The message names it.
        ImportError: h5py is not installed.
        ValueError: The split is unknown or has no row, or a file is malformed.
    """

    annotation_files = (ROWS_FILE, *ORDER_FILES.values(), BACKGROUND_FILE)

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        streams: Path | str | None = None,
        skip_incomplete: bool = False,
        annotations_only: bool = False,
    ) -> None:
        root = Path(root)
        self.streams_file, self.skip_incomplete = streams, skip_incomplete
        if not isinstance(split, str) or split not in ORDER_FILES:
            raise ValueError(f"split {split!r} is not one of {list(ORDER_FILES)}")
        path = find_file(root, ROWS_FILE)
        if path is None:
            raise FileNotFoundError(f"{root / ROWS_FILE}: no such file")
        self.rows = read_rows(path)
        orders = read_orders(root, len(self.rows))
        if split not in orders:
            raise ValueError(f"{root}: split {split!r} has no videos ({ORDER_FILES[split]}); it has {list(orders)}")
        self.issues = find_issues(self.rows, orders)
        background = background_ids(root)
        layout = None if annotations_only else find_layout(root, streams)
        features: Features = KnownLengths(1.0, lambda _: SECONDS)
        if not annotations_only:
            features = self._open_features(root, layout, len(background))
        if features.segment_seconds != 1:
            raise ValueError(f"{root}: AVE is annotated by the second, so segment_seconds is 1, not {layout}")
        gone = {video for video, _ in features.missing(background)}
        if background and len(gone) == len(background):
            background = ()
            self.issues.background = f"the {len(gone)} background videos of {BACKGROUND_FILE} are left out of training"
            self.issues.background += ", since their features are not there"
        samples = [sample_id(row, self.rows[row].video) for row in orders[split]]
        super().__init__(
            root,
            split,
            name="AVE",
            classes=AVE_CLASSES,
            ids=(*samples, *(background if split == "train" else ())),
            features=features,
            has_ground_truth=split != "train",
            truth="joint",
            skip_incomplete=skip_incomplete,
        )
        log_once(root, "annotations", tuple(self.issues.lines()))

    def weak_labels(self, video: str) -> Sequence[int]:
        """See `VideoFolder.weak_labels`; the row's category, none of a background video."""
        return [] if is_background(video) else [self.rows[row_of(video)].category]

    def ground_truth(self, video: str, segments: int) -> Tensor:
        """See `VideoFolder.ground_truth`; audible and visible in the seconds of [start, end)."""
        row = self.rows[row_of(video)]
        truth = torch.zeros(segments, len(MODALITIES), len(AVE_CLASSES), dtype=torch.bool)
        truth[row.onset : row.offset, :, row.category] = True
        return truth

    def seconds(self, video: str) -> tuple[int, ...]:
        """See `VideoFolder.seconds`; 10."""
        return (SECONDS,)

    def require_length(self, video: str, segments: int) -> None:
        """See `VideoFolder.require_length`; 10."""
        if segments != SECONDS:
            raise ValueError(f"video {video!r} has {segments} segments of features, but AVE's videos last {SECONDS} s")

    def training_split(self) -> AVE:
        """See `VideoFolder.training_split`."""
        return AVE(self.root, "train", streams=self.streams_file, skip_incomplete=self.skip_incomplete)

    def issues_lines(self) -> list[str]:
        """See `VideoFolder.issues_lines`."""
        return self.issues.lines()

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences to print beside scores: faults of the published files that touch this split."""
        return (*self.issues.faults(self.split), *super().caveats)

    def further_scores(self, parsed: ParsedSplit) -> Mapping[str, float]:
        """Segment accuracy in percent, by the definition of `metrics/segment_accuracy.py`."""
        return {ACCURACY: segment_accuracy(parsed.segment_probs, parsed.decided, parsed.truth, parsed.mask)}

    def annotated(self) -> list[object]:
        """See `VideoFolder.annotated`."""
        rows = [None if is_background(video) else self.rows[row_of(video)] for video in self.ids]
        return [
            self.classes,
            [(v, row and (row.category, row.onset, row.offset)) for v, row in zip(self.ids, rows, strict=True)],
        ]

    def _known_seconds(self, video: str) -> float:
        return float(SECONDS)

    def _open_features(self, root: Path, layout: Layout | None, background: int) -> Features:
        if (root / INDEX).exists():
            return open_features(root, layout, self._known_seconds)
        if layout is not None:
            return AVENpyFeatures(root, layout, self._known_seconds)
        return AVEFeatures(root, len(self.rows), background)


def ave_splits(root: Path) -> tuple[str, ...]:
    """The splits of which a folder has annotations."""
    return tuple(split for split, name in ORDER_FILES.items() if find_file(root, name) is not None)
