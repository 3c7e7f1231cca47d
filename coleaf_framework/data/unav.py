"""UnAV-100 (Geng et al., CVPR 2023): dense audio-visual events in untrimmed videos. Shape letters: see `protocol.py`.

root/unav100_annotations.json         here or in root/annotations/
root/classes.txt                      one class a line; not needed where the file has an event of each class
root/<id>_vggish.npy                  stream "audio",     (rows, 128); here or in root/feats/
root/<id>_rgb.npy                     stream "visual",    (rows, 1024)
root/<id>_flow.npy                    stream "visual_st", (rows, 1024)

or, instead of these features, those of a `streams.yaml` (`layout.py`) or a packed store (`store.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework.data.annotation_files import CLASSES_FILE, find_file, read_classes
from coleaf_framework.data.features import Features
from coleaf_framework.data.layout import Layout, StreamFiles, find_layout
from coleaf_framework.data.lengths import KnownLengths
from coleaf_framework.data.unav_annotations import SUBSETS, UNAV_FILE, UnAVAnnotations, UnAVVideo, read_unav
from coleaf_framework.data.video_folder import VideoFolder, log_once, open_features
from coleaf_framework.metrics import ParsedSplit, decide
from coleaf_framework.metrics.joint import joint_scores
from coleaf_framework.metrics.localization import TimedEvents, localization_scores
from coleaf_framework.metrics.proposals import propose_videos
from coleaf_framework.metrics.time_grid import TimeGrid, mark_segments, to_whole_seconds
from coleaf_framework.protocol import MODALITIES, AnchorOutput

UNAV_GRID = TimeGrid(0.32, first=0.48)
"""Token t is made of the seconds from 0.32 t to 0.32 t + 0.96, its centre is 0.32 t + 0.48."""
OUR_DEFINITION = (
    "AV scores on UnAV-100 are by our definition of CoLeaF's Table 8 (docs/unav100.md), whose own is not published in "
    "full: compare methods that were scored here, not with that table"
)
_MOST_APART = 2


def unav_segments(duration: float) -> int:
    """Number of tokens that the published features of a video have, by its duration in seconds.

    At 25 frames a second, with a window of 24 frames and one more for optical flow, every 8 frames.

    Example:
        >>> unav_segments(10), unav_segments(60)
        (29, 185)
    """
    return max(1, int((25 * duration - 25) // 8) + 1)


def unav_truth(video: UnAVVideo, segments: int, num_classes: int, grid: TimeGrid = UNAV_GRID) -> tuple[Tensor, int]:
    """Ground truth of a video: an event marks the segments whose centre lies in it, or the nearest one if none does.

    Args:
        video: Its annotations.
        segments: Number of segments, T.
        num_classes: Number of classes, C.
        grid: Where the segments lie; `TimeGrid(1.0)` for whole seconds.

    Returns:
        (T,M,C) bool, the same for both modalities; and the number of events that met no centre.

    Example:
        >>> truth, nearest = unav_truth(UnAVVideo(2.0, (0.0,), (1.0,), (0,)), segments=4, num_classes=1)
        >>> truth.shape, truth[:, 0, 0], nearest  # centres 0.48, 0.8, 1.12 and 1.44
        (torch.Size([4, 2, 1]), tensor([ True,  True, False, False]), 0)
    """
    truth, nearest = mark_segments(video.starts, video.ends, video.labels, grid.centres(segments), num_classes)
    return torch.from_numpy(truth)[:, None].repeat(1, len(MODALITIES), 1), nearest


class UnAV100(VideoFolder):
    """One split of UnAV-100, whose events are all audible and visible (`truth` is "joint").

    A segment is a token of the published features, 0.32 s. Audio and visual rows of unequal number are cut to the
    shorter, counted and logged once. Validation and test have ground truth (`unav_truth`); training videos have weak
    labels only: the classes of their events.

    With a `streams.yaml`, segments have its length. Those of 0.32 s are taken for the published tokens; those of any
    other length begin with the video.

    Args:
        root: Folder of the data set; the head of this module shows its files.
        split: "train", "val" or "test".
        streams: A file such as `streams.yaml`; that of the folder, if it has one, if None.
        skip_incomplete: Leave out the videos that lack a file of a stream, and say so, instead of refusing the split.
        annotations_only: Look for no features: a video has the tokens of `unav_segments`.

    Raises:
        FileNotFoundError: A file is missing. The message names it.
        ValueError: The split is unknown or has no videos, or the annotations are malformed (`read_unav`).

    Example:
        A folder with one test video of 10 s:

        >>> import json, tempfile
        >>> import numpy as np
        >>> root = Path(tempfile.mkdtemp())
        >>> event = {"segment": [1, 2.5], "label": "dog barking", "label_id": 0}
        >>> video = {"duration": 10, "subset": "test", "annotations": [event]}
        >>> _ = (root / "unav100_annotations.json").write_text(json.dumps({"database": {"-0BKyt8iZ1I": video}}))
        >>> for kind, width in (("vggish", 128), ("rgb", 1024), ("flow", 1024)):
        ...     np.save(root / f"-0BKyt8iZ1I_{kind}.npy", np.zeros((29, width), np.float32))
        >>> data = UnAV100(root, "test")
        >>> data.segments(0), data.segment_seconds, data.truth, data[0].segment_labels.shape
        (29, 0.32, 'joint', torch.Size([29, 2, 1]))
    """

    annotation_files = (CLASSES_FILE, UNAV_FILE)

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
        if not isinstance(split, str) or split not in SUBSETS.values():
            raise ValueError(f"split {split!r} is not one of {list(SUBSETS.values())}")
        self.annotations = _read_folder(root)
        self.videos = self.annotations.videos[split]
        if not self.videos:
            filled = [name for name, videos in self.annotations.videos.items() if videos]
            raise ValueError(f"{root}: split {split!r} has no videos in {UNAV_FILE}; it has {filled}")
        if annotations_only:
            features: Features = KnownLengths(
                UNAV_GRID.seconds, lambda video: unav_segments(self.videos[video].duration)
            )
        else:
            features = open_features(root, find_layout(root, streams), self._known_seconds, usual=_layout(root))
        super().__init__(
            root,
            split,
            name="UnAV-100",
            classes=self.annotations.classes,
            ids=tuple(self.videos),
            features=features,
            has_ground_truth=split != "train",
            truth="joint",
            skip_incomplete=skip_incomplete,
        )
        tokens = self.segment_seconds == UNAV_GRID.seconds
        self.grid = UNAV_GRID if tokens else TimeGrid(self.segment_seconds)
        log_once(root, "annotations", [self.annotations.provenance])

    def weak_labels(self, video: str) -> Sequence[int]:
        """See `VideoFolder.weak_labels`."""
        return self.videos[video].classes

    def ground_truth(self, video: str, segments: int) -> Tensor:
        """See `VideoFolder.ground_truth`, and `unav_truth`."""
        return unav_truth(self.videos[video], segments, len(self.classes), self.grid)[0]

    def require_length(self, video: str, segments: int) -> None:
        """See `VideoFolder.require_length`: less than half, or more than twice, of the segments are another video's."""
        duration = self.videos[video].duration
        tokens = self.grid == UNAV_GRID
        expected = unav_segments(duration) if tokens else max(1, round(duration / self.segment_seconds))
        if not expected <= _MOST_APART * segments <= _MOST_APART**2 * expected:
            raise ValueError(
                f"{self.root}: video {video!r} has {segments} segments of features, where about {expected} were "
                f"expected for its {duration:g} s: they are incomplete or another video's"
            )

    def training_split(self) -> UnAV100:
        """See `VideoFolder.training_split`."""
        return UnAV100(self.root, "train", streams=self.streams_file, skip_incomplete=self.skip_incomplete)

    def events(self) -> TimedEvents:
        """The true events of the split's videos, to score proposals against with `localization_scores`."""
        rows = [(v, x) for v in self.ids for x in zip(*self._columns(self.videos[v]), strict=True)]
        label, start, end = zip(*(x for _, x in rows), strict=True) if rows else ((), (), ())
        return TimedEvents([v for v, _ in rows], label, start, end)

    @property
    def durations(self) -> tuple[float, ...]:
        """Duration of each video in seconds."""
        return tuple(self.videos[video].duration for video in self.ids)

    def whole_seconds(self, segment_probs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Segment probabilities of the split's videos, and their ground truth, on a grid of whole seconds.

        Args:
            segment_probs: (N,T,M,C) in [0,1], of all videos in order.
            mask: (N,T) bool, True = real segment; None where all are.

        Returns:
            Probabilities (N,S,M,C) by `to_whole_seconds`, ground truth (N,S,M,C) bool by `unav_truth`, and the mask
            (N,S) bool. S is the longest duration, rounded up.
        """
        lengths = [segment_probs.shape[1]] * len(self) if mask is None else mask.sum(1).tolist()
        probs, truth = [], []
        for video, x, length in zip(self.ids, segment_probs, lengths, strict=True):
            probs.append(to_whole_seconds(x[:length], self.grid, self.videos[video].duration))
            truth.append(unav_truth(self.videos[video], len(probs[-1]), len(self.classes), TimeGrid(1.0))[0])
        pad = torch.nn.utils.rnn.pad_sequence
        real = pad([torch.ones(len(x), dtype=torch.bool) for x in probs], batch_first=True)
        return pad(probs, batch_first=True), pad(truth, batch_first=True), real

    def further_scores(self, parsed: ParsedSplit) -> Mapping[str, float]:
        """mAP of `propose_videos`' proposals at tIoU 0.1 to 0.9 and their mean; AV on whole seconds; in percent."""
        found = propose_videos(self.ids, parsed.segment_probs, parsed.mask, self.durations, self.grid)
        seconds, truth, mask = self.whole_seconds(parsed.segment_probs, parsed.mask)
        output = AnchorOutput(seconds, parsed.video_probs, seconds.new_empty(0), parsed.modality_probs)
        at_seconds = joint_scores(decide(output, parsed.decision, mask), truth)
        return {
            **localization_scores(found, self.events()).as_dict(),
            **{f"{column} at 1 s": score for column, score in at_seconds.items()},
        }

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences to print beside scores: the definition of AV, where annotations are from, what is left out."""
        return (OUR_DEFINITION, self.annotations.provenance, *super().caveats)

    def annotated(self) -> list[object]:
        """See `VideoFolder.annotated`."""
        return [self.classes, [(v, self.videos[v].duration, *self._columns(self.videos[v])) for v in self.ids]]

    @staticmethod
    def _columns(video: UnAVVideo) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
        return video.labels, video.starts, video.ends

    def _known_seconds(self, video: str) -> float | None:
        """The duration, where it says how many segments there are; tokens are fewer, by their window."""
        tokens = self.features.segment_seconds == UNAV_GRID.seconds
        return None if tokens else self.videos[video].duration


def unav_splits(root: Path) -> tuple[str, ...]:
    """The splits of which a folder has annotations, for `opening.splits_of`."""
    return tuple(split for split, videos in _read_folder(root).videos.items() if videos)


def _read_folder(root: Path) -> UnAVAnnotations:
    path = find_file(root, UNAV_FILE)
    if path is None:
        raise FileNotFoundError(f"{root / UNAV_FILE}: no such file, here or in the folder 'annotations'")
    return read_unav(path, None if find_file(root, CLASSES_FILE) is None else read_classes(root))


def _layout(root: Path) -> Layout:
    folder = "feats" if (root / "feats").is_dir() else ""
    kinds = {"audio": ("audio", "vggish"), "visual": ("visual", "rgb"), "visual_st": ("visual", "flow")}
    return Layout(
        segment_seconds=UNAV_GRID.seconds,
        streams={
            name: StreamFiles(modality=modality, folder=folder, pattern=f"{{id}}_{kind}.npy", frames=1)
            for name, (modality, kind) in kinds.items()
        },
    )
