"""Data sets in LLP's layout, on disk. Shape letters: see `protocol.py`.

root/classes.txt                      one class a line (LLP itself needs none)
root/AVVP_*.csv                       annotations, here or in root/annotations/
root/feats/vggish/<id>.npy            stream "audio",     (frames * T, width), any real dtype
root/feats/res152/<id>.npy            stream "visual"
root/feats/r2plus1d_18/<id>.npy       stream "visual_st"

or, instead of root/feats, a packed store (`store.py`), or any folders that a streams.yaml declares (`layout.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework._config import shown
from coleaf_framework.data.annotation_files import (
    CLASSES_FILE,
    DENSE_FILES,
    WEAK_FILES,
    find_file,
    read_classes,
    video_seconds,
)
from coleaf_framework.data.annotations import AnnotationIssues, Annotations, dense_labels, read_annotations
from coleaf_framework.data.extracted import VIDEOS_FILE, absent_caveats, read_absent
from coleaf_framework.data.features import Features
from coleaf_framework.data.layout import find_layout
from coleaf_framework.data.lengths import KnownLengths
from coleaf_framework.data.video_folder import VideoFolder, log_once, open_features
from coleaf_framework.protocol import Modality

LLP_CLASSES = (
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw",
    "Cello", "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter",
    "Accordion", "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing",
    "Baby_cry_infant_cry", "Blender", "Clapping",
)  # fmt: skip
"""LLP's 25 classes, in the order of the published code."""


class AVVPFolder(VideoFolder):
    """One split of a data set in LLP's layout, which the head of this module shows.

    Widths, frames per segment and dtype are read from the files. The first video of the split sets width and frames per
    segment, and every other video must agree. The number of segments may differ between videos. A segment is one
    second: the times at the end of `filename` say how many there are (`_0_10` means ten). If the first filename has no
    times, the shortest stream has one row per segment.

    With a `streams.yaml` (`layout.py`), in the folder or as `streams`, the streams, their files and the length of a
    segment are what it says, and rows are brought to segments by time (`timed_features.py`).

    There is ground truth if both `AVVP_eval_*.csv` exist. Everything odd in the annotations is counted in `issues` and
    logged once.

    Args:
        root: Folder of the data set.
        split: "train", "val" or "test".
        classes: Class names, in index order; read from `classes.txt` if None.
        streams: A file such as `streams.yaml`; that of the folder, if it has one, if None.
        skip_incomplete: Leave out the videos that lack a file of a stream, and say so, instead of refusing the split.
        annotations_only: Look for no features: a video has as many segments of 1 s as its filename says.

    Raises:
        FileNotFoundError: A file is missing. The message names it.
        ValueError: The split is unknown or has no videos, or an annotation or `streams.yaml` is malformed.

    Example:
        From the root of the repository:

        >>> from coleaf_framework.data import AVVPFolder
        >>> data = AVVPFolder("examples/tuxav_mini", "test")
        >>> data[0].streams["audio"].shape[1] == data.streams["audio"].width
        True
        >>> data[0].segment_labels.shape == (data.segments(0), 2, len(data.classes))
        True
    """

    annotation_files = (CLASSES_FILE, *WEAK_FILES.values(), *DENSE_FILES.values(), VIDEOS_FILE)

    def __init__(
        self,
        root: Path | str,
        split: str,
        classes: Sequence[str] | None = None,
        *,
        streams: Path | str | None = None,
        skip_incomplete: bool = False,
        annotations_only: bool = False,
    ) -> None:
        root = Path(root)
        self.streams_file, self.skip_incomplete = streams, skip_incomplete
        if not isinstance(split, str) or split not in WEAK_FILES:
            raise ValueError(f"split {split!r} is not one of {list(WEAK_FILES)}")
        names = read_classes(root) if classes is None else _named(classes)
        self.annotations: Annotations = read_annotations(root, names)
        self.issues: AnnotationIssues = self.annotations.issues
        if not self.annotations.weak.get(split):
            filled = [name for name, videos in self.annotations.weak.items() if videos]
            raise ValueError(f"{root}: split {split!r} has no videos ({WEAK_FILES[split]}); it has {filled}")
        self._absent = read_absent(root)
        dense = [find_file(root, name) for name in DENSE_FILES.values()]
        if annotations_only:
            features: Features = KnownLengths(1.0, self._seconds_of_filename)
        else:
            features = open_features(root, find_layout(root, streams), self._known_seconds)
        super().__init__(
            root,
            split,
            name=root.resolve().name,
            classes=names,
            ids=tuple(self.annotations.weak[split]),
            features=features,
            has_ground_truth=split != "train" and None not in dense,
            skip_incomplete=skip_incomplete,
        )
        log_once(root, "annotations", tuple(self.issues.lines()))

    def seconds(self, video: str) -> tuple[int, ...]:
        """See `VideoFolder.seconds`; by the video's filename."""
        return video_seconds(self.annotations.filenames[video])

    def absent(self, video: str) -> Modality | None:
        """The modality whose track the video's file lacks, where `coleaf extract` has written so."""
        return self._absent.get(video)

    def weak_labels(self, video: str) -> Sequence[int]:
        """See `VideoFolder.weak_labels`."""
        return self.annotations.weak[self.split][video]

    def ground_truth(self, video: str, segments: int) -> Tensor:
        """See `VideoFolder.ground_truth`; the segments that an annotated interval touches."""
        intervals = self.annotations.dense[video]
        # Whole segments may cover a little less than the seconds of the filename.
        lasts = max(segments * self.segment_seconds, *self.seconds(video), 0)
        for event in (event for events in intervals.values() for event in events):
            if event.offset > lasts + 1e-6:
                raise ValueError(
                    f"{event.where}: bad interval {event.onset:g} to {event.offset:g}: "
                    f"video {video!r} lasts {lasts:g} s"
                )
        return torch.from_numpy(dense_labels(intervals, segments, len(self.classes), self.segment_seconds))

    def require_length(self, video: str, segments: int) -> None:
        """See `VideoFolder.require_length`; by the seconds in its filename."""
        seconds = self.seconds(video)
        if seconds and segments not in {max(1, round(n / self.segment_seconds)) for n in seconds}:
            raise ValueError(
                f"video {video!r} has {segments} segments of features, but lasts {seconds[0]} s by its filename "
                f"{self.annotations.filenames[video]!r}: a segment is {_in_words(self.segment_seconds)}"
            )

    def training_split(self) -> AVVPFolder:
        """See `VideoFolder.training_split`."""
        return AVVPFolder(
            self.root, "train", self.classes, streams=self.streams_file, skip_incomplete=self.skip_incomplete
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences to print beside scores: videos shared with another split, or that lack a stream or track."""
        lacking = absent_caveats([self.absent(video) for video in self.ids])
        return (*self.issues.overlaps(self.split), *super().caveats, *lacking)

    def issues_lines(self) -> list[str]:
        """See `VideoFolder.issues_lines`."""
        return self.issues.lines()

    def annotated(self) -> list[object]:
        """See `VideoFolder.annotated`."""
        notes = self.annotations
        intervals = {
            v: {m: [(i.onset, i.offset, i.label) for i in events] for m, events in notes.dense[v].items()}
            for v in self.ids
            if self.has_ground_truth
        }
        labels = [(v, notes.filenames[v], notes.weak[self.split][v]) for v in self.ids]
        return [self.classes, labels, intervals]

    def _known_seconds(self, video: str) -> float | None:
        return next(iter(self.seconds(video)), None)

    def _seconds_of_filename(self, video: str) -> int:
        if not (seconds := self.seconds(video)):
            raise ValueError(
                f"{self.root}: has no features, and the filename of video {video!r} does not end with its times, such "
                "as _0_10, so how long it lasts is not known"
            )
        return seconds[0]


class LLP(AVVPFolder):
    """One split of Look, Listen and Parse (Tian et al., ECCV 2020): `AVVPFolder` with LLP's 25 classes.

    Args:
        root: Folder of the data set.
        split: "train" (10,000 videos), "val" (649) or "test" (1,200).
        streams: As of `AVVPFolder`.
        skip_incomplete: As of `AVVPFolder`.
        annotations_only: As of `AVVPFolder`.

    Example:
        A folder with one training video:

        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from coleaf_framework.data import LLP
        >>> root = Path(tempfile.mkdtemp())
        >>> _ = (root / "AVVP_train.csv").write_text("filename\\tevent_labels\\n-0BKyt8iZ1I_20_30\\tSpeech,Dog\\n")
        >>> for folder, rows, width in (("vggish", 10, 128), ("res152", 80, 2048), ("r2plus1d_18", 10, 512)):
        ...     (root / "feats" / folder).mkdir(parents=True)
        ...     np.save(root / "feats" / folder / "-0BKyt8iZ1I.npy", np.zeros((rows, width), np.float32))
        >>> data = LLP(root, "train")
        >>> len(data), len(data.classes), data.segments(0), data.streams["visual"].frames
        (1, 25, 10, 8)
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        streams: Path | str | None = None,
        skip_incomplete: bool = False,
        annotations_only: bool = False,
    ) -> None:
        super().__init__(
            root,
            split,
            LLP_CLASSES,
            streams=streams,
            skip_incomplete=skip_incomplete,
            annotations_only=annotations_only,
        )
        self.name = "LLP, synthetic features" if self.synthetic else "LLP"


def _named(classes: Sequence[str]) -> tuple[str, ...]:
    names = tuple(classes) if isinstance(classes, list | tuple) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"classes is {shown(classes)}, where a sequence of names was expected, each once")
    return names


def _in_words(seconds: float) -> str:
    return "one second" if seconds == 1 else f"{seconds:g} s"
