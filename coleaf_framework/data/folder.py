"""Data sets in LLP's layout, on disk. Shape letters: see `protocol.py`.

root/classes.txt                      one class a line (LLP itself needs none)
root/AVVP_*.csv                       annotations, here or in root/annotations/
root/feats/vggish/<id>.npy            stream "audio",     (frames * T, width), any real dtype
root/feats/res152/<id>.npy            stream "visual"
root/feats/r2plus1d_18/<id>.npy       stream "visual_st"

or, instead of root/feats, a packed store (`store.py`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

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
from coleaf_framework.data.dataset import Video, stream_statistics
from coleaf_framework.data.features import Features, NpyFeatures
from coleaf_framework.data.store import INDEX, PackedFeatures
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.storage import text_digest

SYNTHETIC_MARKER = "SYNTHETIC.txt"
"""A folder with this file has synthetic features; the data set's name then says so."""

LLP_CLASSES = (
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw",
    "Cello", "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter",
    "Accordion", "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing",
    "Baby_cry_infant_cry", "Blender", "Clapping",
)  # fmt: skip
"""LLP's 25 classes, in the order of the published code."""

_log = logging.getLogger("coleaf_framework.data")
_logged: set[tuple[Path, tuple[str, ...]]] = set()


class AVVPFolder(Dataset[Video]):
    """One split of a data set in LLP's layout, which the head of this module shows.

    Widths, frames per segment and dtype are read from the files. The first video of the split sets width and frames per
    segment, and every other video must agree. The number of segments may differ between videos. A segment is one
    second: the times at the end of `filename` say how many there are (`_0_10` means ten). If the first filename has no
    times, the shortest stream has one row per segment.

    There is ground truth if both `AVVP_eval_*.csv` exist. Everything odd in the annotations is counted in `issues` and
    logged once.

    Args:
        root: Folder of the data set.
        split: "train", "val" or "test".
        classes: Class names, in index order; read from `classes.txt` if None.

    Raises:
        FileNotFoundError: A file is missing. The message names it.
        ValueError: The split is unknown or has no videos, or an annotation is malformed.

    Example:
        From the root of the repository:

        >>> from coleaf_framework.data import AVVPFolder
        >>> data = AVVPFolder("examples/tuxav_mini", "test")
        >>> data[0].streams["audio"].shape[1] == data.streams["audio"].width
        True
        >>> data[0].segment_labels.shape == (data.segments(0), 2, len(data.classes))
        True
    """

    def __init__(self, root: Path | str, split: str, classes: Sequence[str] | None = None) -> None:
        self.root, self.split = Path(root), split
        if not isinstance(split, str) or split not in WEAK_FILES:
            raise ValueError(f"split {split!r} is not one of {list(WEAK_FILES)}")
        self.synthetic = find_file(self.root, SYNTHETIC_MARKER) is not None
        self.name = self.root.resolve().name + (", synthetic features" if self.synthetic else "")
        self.classes = read_classes(self.root) if classes is None else _named(classes)
        self.annotations: Annotations = read_annotations(self.root, self.classes)
        self.issues: AnnotationIssues = self.annotations.issues
        if not self.annotations.weak.get(split):
            filled = [name for name, videos in self.annotations.weak.items() if videos]
            raise ValueError(f"{self.root}: split {split!r} has no videos ({WEAK_FILES[split]}); it has {filled}")
        self.ids: Sequence[str] = tuple(self.annotations.weak[split])
        dense = [find_file(self.root, name) for name in DENSE_FILES.values()]
        self.has_ground_truth = split != "train" and None not in dense
        self.features: Features = _open_features(self.root)
        self._require_features()
        first = self.ids[0]
        seconds = video_seconds(self.annotations.filenames[first])
        self.streams: Mapping[str, StreamSpec] = self.features.streams(first, seconds)
        self._log_issues()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Video:
        """Read a video.

        Raises:
            FileNotFoundError: A feature file is missing.
            ValueError: A feature file is damaged, does not fit the first video's, or contains NaN or inf; or the number
                of segments differs from the seconds in the filename. The message names the file or the video.
        """
        video = self.ids[index]
        streams = self.features.read(video, self.streams)
        segments = len(streams["audio"]) // self.streams["audio"].frames
        seconds = video_seconds(self.annotations.filenames[video])
        if seconds and segments not in seconds:
            raise ValueError(
                f"video {video!r} has {segments} segments of features, but lasts {seconds[0]} s by its filename "
                f"{self.annotations.filenames[video]!r}: a segment is one second"
            )
        labels = torch.zeros(len(self.classes))
        labels[list(self.annotations.weak[self.split][video])] = 1
        truth = None
        if self.has_ground_truth:
            truth = self._truth(video, segments)
        return Video(video, streams, labels, truth)

    def statistics(self) -> dict[str, Tensor]:
        """Mean and deviation of each stream over the training split: stream -> (2, width)."""
        known = self.features.statistics()
        if known is not None:
            return known
        return stream_statistics(self if self.split == "train" else AVVPFolder(self.root, "train", self.classes))

    def segments(self, index: int) -> int:
        """T of a video, without reading its features."""
        return self.features.segments(self.ids[index], self.streams)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences to print beside scores on this split: which videos it shares with another split."""
        return tuple(self.issues.overlaps(self.split))

    def digests(self) -> dict[str, str]:
        """Digests of the split: "annotations" or a stream's name -> digest (see `Features.digests`)."""
        notes = self.annotations
        intervals = {
            v: {m: [(i.onset, i.offset, i.label) for i in events] for m, events in notes.dense[v].items()}
            for v in self.ids
            if self.has_ground_truth
        }
        labels = [(v, notes.filenames[v], notes.weak[self.split][v]) for v in self.ids]
        annotations = f"text:{text_digest(json.dumps([self.classes, labels, intervals]))}"
        return {"annotations": annotations, **self.features.digests(self.ids, self.split)}

    def _require_features(self) -> None:
        if missing := self.features.missing(self.ids):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise FileNotFoundError(
                f"{missing[0][1]}{more}; split {self.split!r} has {len(self.ids)} videos "
                "(`coleaf check-data` lists what is missing)"
            )

    def _truth(self, video: str, segments: int) -> Tensor:
        intervals = self.annotations.dense[video]
        for event in (event for events in intervals.values() for event in events):
            if event.offset > segments:
                raise ValueError(
                    f"{event.where}: bad interval {event.onset:g} to {event.offset:g}: "
                    f"video {video!r} lasts {segments} s"
                )
        return torch.from_numpy(dense_labels(intervals, segments, len(self.classes)))

    def _log_issues(self) -> None:
        lines = tuple(self.issues.lines())
        if lines and (self.root.resolve(), lines) not in _logged:
            _logged.add((self.root.resolve(), lines))
            _log.warning("%s: annotations: %s", self.root, "; ".join(lines))


class LLP(AVVPFolder):
    """One split of Look, Listen and Parse (Tian et al., ECCV 2020): `AVVPFolder` with LLP's 25 classes.

    Args:
        root: Folder of the data set.
        split: "train" (10,000 videos), "val" (649) or "test" (1,200).

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

    def __init__(self, root: Path | str, split: str) -> None:
        super().__init__(root, split, LLP_CLASSES)
        self.name = "LLP, synthetic features" if self.synthetic else "LLP"


def _named(classes: Sequence[str]) -> tuple[str, ...]:
    names = tuple(classes) if isinstance(classes, list | tuple) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"classes is {shown(classes)}, where a sequence of names was expected, each once")
    return names


def open_folder(root: Path | str, split: str) -> AVVPFolder:
    """Open a split of a folder in LLP's layout: as `AVVPFolder` if it has a `classes.txt`, as `LLP` otherwise.

    Args:
        root: Folder of the data set, with npy files or packed.
        split: "train", "val" or "test".

    Raises:
        FileNotFoundError: A file is missing. The message names it.
        ValueError: The split is unknown or has no videos, or an annotation is malformed.

    Example:
        From the root of the repository:

        >>> from coleaf_framework.data import open_folder
        >>> data = open_folder("examples/tuxav_mini", "val")
        >>> data.name, data.split, sorted(data.streams)
        ('tuxav_mini', 'val', ['audio', 'visual', 'visual_st'])
    """
    return LLP(root, split) if find_file(Path(root), CLASSES_FILE) is None else AVVPFolder(root, split)


def _open_features(root: Path) -> Features:
    if not (root / INDEX).exists():
        return NpyFeatures(root)
    if (root / "feats").exists():
        raise ValueError(f"{root / INDEX} and {root / 'feats'} both exist: remove one of them")
    return PackedFeatures(root)
