"""Data sets in LLP's layout, on disk. Shape letters: see `protocol.py`.

root/classes.txt                      one class a line (LLP itself needs none)
root/AVVP_*.csv                       annotations, here or in root/annotations/
root/feats/vggish/<id>.npy            stream "audio",     (frames * T, width), any real dtype
root/feats/res152/<id>.npy            stream "visual"
root/feats/r2plus1d_18/<id>.npy       stream "visual_st"
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from coleaf_framework.data.annotations import (
    CLASSES_FILE,
    DENSE_FILES,
    WEAK_FILES,
    AnnotationReport,
    Annotations,
    dense_labels,
    find_file,
    read_annotations,
    read_classes,
    video_seconds,
)
from coleaf_framework.data.dataset import Video, stream_statistics
from coleaf_framework.protocol import Modality, StreamSpec

FOLDERS: Mapping[str, tuple[str, Modality]] = {
    "audio": ("vggish", "audio"),
    "visual": ("res152", "visual"),
    "visual_st": ("r2plus1d_18", "visual"),
}

SYNTHETIC_MARKER = "SYNTHETIC.txt"
"""A folder with this file holds synthetic features, and every name made from it says so."""

LLP_CLASSES = (
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw",
    "Cello", "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter",
    "Accordion", "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing",
    "Baby_cry_infant_cry", "Blender", "Clapping",
)  # fmt: skip
"""LLP's 25 classes, in the order of the published code."""

_log = logging.getLogger("coleaf_framework.data")
_reported: set[tuple[Path, tuple[str, ...]]] = set()


class AVVPFolder(Dataset[Video]):
    """One split of a data set in LLP's layout.

    Args:
        root: its folder.
        split: "train", "val" or "test".
        classes: class names; from `classes.txt` where None.

    Stream widths, frames per segment, number of segments and dtype are read from the files: the first video of
    the split sets width and frames, and every other must agree; the number of segments may vary. A segment is a
    second by the times in `filename`; where it has none, the shortest stream has one vector per segment. Without
    both `AVVP_eval_*.csv` there is no ground truth. What is odd in the annotations is counted in `report` and
    logged once.

    Raises:
        FileNotFoundError: a file is missing; names it.
        ValueError: an unknown split, a malformed annotation, or a split without videos.
    """

    def __init__(self, root: Path | str, split: str, classes: Sequence[str] | None = None) -> None:
        self.root, self.split = Path(root), split
        if split not in WEAK_FILES:
            raise ValueError(f"split {split!r} is not one of {list(WEAK_FILES)}")
        self.synthetic = find_file(self.root, SYNTHETIC_MARKER) is not None
        self.name = self.root.resolve().name + (", synthetic features" if self.synthetic else "")
        self.classes = read_classes(self.root) if classes is None else tuple(classes)
        self.annotations: Annotations = read_annotations(self.root, self.classes)
        self.report: AnnotationReport = self.annotations.report
        if not self.annotations.weak.get(split):
            filled = [name for name, videos in self.annotations.weak.items() if videos]
            raise ValueError(f"{self.root}: split {split!r} has no videos ({WEAK_FILES[split]}); it has {filled}")
        self.ids: Sequence[str] = tuple(self.annotations.weak[split])
        dense = [find_file(self.root, name) for name in DENSE_FILES.values()]
        self.has_ground_truth = split != "train" and None not in dense
        self._require_features()
        self.streams: Mapping[str, StreamSpec] = self._detect_streams()
        self._log_report()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Video:
        """One video.

        Raises:
            ValueError: a feature file is truncated, has another shape than the first video's, or holds NaN or
                inf; names the file.
        """
        video = self.ids[index]
        streams = {name: self._read(name, video) for name in self.streams}
        lengths = {name: len(x) // self.streams[name].frames for name, x in streams.items()}
        if len(set(lengths.values())) > 1:
            found = "; ".join(f"{self._path(name, video)} has {n}" for name, n in lengths.items())
            raise ValueError(f"video {video!r}: its streams differ in their number of segments: {found}")
        labels = torch.zeros(len(self.classes))
        labels[list(self.annotations.weak[self.split][video])] = 1
        truth = None
        if self.has_ground_truth:
            truth = self._truth(video, lengths["audio"])
        return Video(video, streams, labels, truth)

    def statistics(self) -> dict[str, Tensor]:
        """Mean and deviation of each stream over the training split: stream -> (2, width)."""
        train = self if self.split == "train" else AVVPFolder(self.root, "train", self.classes)
        return stream_statistics(train)

    def _path(self, stream: str, video: str) -> Path:
        return self.root / "feats" / FOLDERS[stream][0] / f"{video}.npy"

    def _missing_features(self) -> list[Path]:
        missing = []
        for stream in FOLDERS:
            folder = self._path(stream, "x").parent
            present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            missing += [folder / f"{video}.npy" for video in self.ids if f"{video}.npy" not in present]
        return missing

    def _require_features(self) -> None:
        if missing := self._missing_features():
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise FileNotFoundError(
                f"{missing[0]}: no such file{more}; split {self.split!r} has {len(self.ids)} videos "
                "(`coleaf check-data` lists what is missing)"
            )

    def _detect_streams(self) -> dict[str, StreamSpec]:
        shapes = {stream: _load(self._path(stream, self.ids[0])).shape for stream in FOLDERS}
        seconds = video_seconds(self.annotations.filenames[self.ids[0]])
        segments = min(shape[0] for shape in shapes.values())
        if seconds is not None and all(shape[0] % seconds == 0 for shape in shapes.values()):
            segments = seconds  # a segment is a second, however many vectors each stream has for it
        for stream, (length, _) in shapes.items():
            if length % segments:
                raise ValueError(
                    f"{self._path(stream, self.ids[0])}: {length} rows are no multiple of {segments} segments"
                )
        return {
            stream: StreamSpec(width, FOLDERS[stream][1], frames=length // segments)
            for stream, (length, width) in shapes.items()
        }

    def _read(self, stream: str, video: str) -> Tensor:
        path, spec = self._path(stream, video), self.streams[stream]
        array = _load(path)
        if array.shape[1] != spec.width or len(array) % spec.frames:
            raise ValueError(
                f"{path}: found shape {array.shape}, expected ({spec.frames} * T, {spec.width}) as in the "
                f"first video {self.ids[0]!r}"
            )
        x = torch.from_numpy(array.astype(np.float32))
        if not torch.isfinite(x).all():
            raise ValueError(f"{path}: video {video!r}, stream {stream!r} holds NaN or inf")
        return x

    def _truth(self, video: str, segments: int) -> Tensor:
        intervals = self.annotations.dense[video]
        for event in (event for events in intervals.values() for event in events):
            if event.offset > segments:
                raise ValueError(
                    f"{event.where}: bad interval {event.onset:g} to {event.offset:g}: "
                    f"video {video!r} lasts {segments} s"
                )
        return torch.from_numpy(dense_labels(intervals, segments, len(self.classes)))

    def _log_report(self) -> None:
        lines = tuple(self.report.lines())
        if lines and (self.root.resolve(), lines) not in _reported:
            _reported.add((self.root.resolve(), lines))
            _log.warning("%s: annotations: %s", self.root, "; ".join(lines))


class LLP(AVVPFolder):
    """One split of Look, Listen and Parse (Tian et al., ECCV 2020): `AVVPFolder` with LLP's 25 classes.

    Args:
        root: its folder; see this module's head for the layout.
        split: "train" (10,000 videos), "val" (649) or "test" (1,200).
    """

    def __init__(self, root: Path | str, split: str) -> None:
        super().__init__(root, split, LLP_CLASSES)
        self.name = "LLP, synthetic features" if self.synthetic else "LLP"


def open_folder(root: Path | str, split: str) -> AVVPFolder:
    """`AVVPFolder` where `root` has a `classes.txt`, `LLP` where it has none; errors are theirs."""
    return LLP(root, split) if find_file(Path(root), CLASSES_FILE) is None else AVVPFolder(root, split)


def _load(path: Path) -> NDArray[np.generic]:
    """A 2-D array of real numbers from an npy file, never executing anything in it."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, EOFError, OSError) as problem:
        raise ValueError(f"{path}: not a whole .npy file of numbers: {problem}") from problem
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{path}: found {found}, expected real numbers of shape (frames * T, width)")
    return array
