"""Videos whose features `coleaf extract` made, without annotations: `videos.tsv`.

    id	file	start	end	absent	state
    clock	/home/me/clock.mp4	0	8	visual	310232 1732752000000000000
    holiday.0-10	/home/me/holiday.mp4	0	10		9510232 1732752000123456789
    holiday.10-20	/home/me/holiday.mp4	10	20		9510232 1732752000123456789

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from coleaf_framework.data.annotation_files import plain_name, tsv_rows
from coleaf_framework.data.dataset import AVVPDataset
from coleaf_framework.data.layout import find_layout
from coleaf_framework.data.recipe_file import PROJECTION_FILE, RECIPE_FILE
from coleaf_framework.data.video_folder import VideoFolder, open_features
from coleaf_framework.protocol import MODALITIES, Modality
from coleaf_framework.storage import require_file

VIDEOS_FILE = "videos.tsv"
COLUMNS = ("id", "file", "start", "end", "absent", "state")
WITHOUT: Mapping[Modality, str] = {
    "audio": "no audio track, so events can only be seen",
    "visual": "no video track, so events can only be heard",
}
"""What users are told of files that lack the track of a modality."""


@dataclass(frozen=True)
class ExtractedVideo:
    """A row of `videos.tsv`.

    Args:
        id: Names the feature files.
        file: The media file.
        start: First second of the file that the features are of.
        end: Where they end, in whole seconds after `start`.
        absent: The modality whose track the file lacks; its features are those of silence or of black frames.
        state: Size of the file in bytes and time of its last change in nanoseconds, by which `coleaf extract` tells
            whether it has changed since.
    """

    id: str
    file: str
    start: int
    end: int
    absent: Modality | None = None
    state: str = ""

    def row(self) -> str:
        """The row, with a line break."""
        return "\t".join([self.id, self.file, str(self.start), str(self.end), self.absent or "", self.state]) + "\n"


def read_videos(path: Path) -> dict[str, ExtractedVideo]:
    """Read a `videos.tsv`: id -> video, in order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A row is malformed, or an id is there twice. The message names file and line.
    """
    require_file(path)
    found: dict[str, ExtractedVideo] = {}
    for where, cells in tsv_rows(path, COLUMNS):
        video = plain_name(where, cells["id"])
        if video in found:
            raise ValueError(f"{where}: video {video!r} is there twice")
        if not (cells["start"].isdecimal() and cells["end"].isdecimal() and int(cells["start"]) < int(cells["end"])):
            raise ValueError(f"{where}: expected whole seconds, start before end, found {cells['start']!r} to "
                             f"{cells['end']!r}")  # fmt: skip
        absent: Modality | None = next((m for m in MODALITIES if m == cells["absent"]), None)
        if cells["absent"] and absent is None:
            raise ValueError(f"{where}: absent is {cells['absent']!r}, where audio, visual or nothing was expected")
        found[video] = ExtractedVideo(
            video, cells["file"], int(cells["start"]), int(cells["end"]), absent, cells["state"]
        )
    return found


def read_absent(root: Path) -> dict[str, Modality]:
    """Video id -> the modality whose track its file lacks, of a folder that `coleaf extract` wrote; others have none.

    Raises:
        ValueError: As `read_videos`.
    """
    if not ((root / VIDEOS_FILE).exists() and (root / RECIPE_FILE).exists()):
        return {}
    return {video.id: video.absent for video in read_videos(root / VIDEOS_FILE).values() if video.absent is not None}


def absent_caveats(absent: Sequence[Modality | None]) -> tuple[str, ...]:
    """Sentences about videos that lack a track, of which `absent` says the modality."""
    counts = {m: sum(each == m for each in absent) for m in MODALITIES}
    return tuple(f"{n} of {len(absent)} videos have {WITHOUT[m]}" for m, n in counts.items() if n)


class ExtractedVideos(VideoFolder):
    """The videos of a folder that `coleaf extract` wrote, in every split the same, without labels or ground truth.

    Args:
        root: The folder.
        classes: C class names of the model that will answer for them.
        split: Name of the split in results.
        streams: A file such as `streams.yaml`; that of the folder if None.
        skip_incomplete: Leave out the videos that lack a file of a stream, instead of refusing the folder.

    Raises:
        FileNotFoundError: A file is missing. The message names it.
        ValueError: A file is malformed, or there are no videos.
    """

    annotation_files = (VIDEOS_FILE, RECIPE_FILE, PROJECTION_FILE)

    def __init__(
        self, root: Path | str, classes: Sequence[str], split: str = "test", *, streams: Path | str | None = None,
        skip_incomplete: bool = False,
    ) -> None:  # fmt: skip
        root = Path(root)
        self.videos: Mapping[str, ExtractedVideo] = read_videos(root / VIDEOS_FILE)
        if not self.videos:
            raise ValueError(f"{root / VIDEOS_FILE}: names no videos")
        super().__init__(
            root, split, name=root.resolve().name, classes=tuple(classes), ids=tuple(self.videos),
            features=open_features(root, find_layout(root, streams), self._length), skip_incomplete=skip_incomplete,
        )  # fmt: skip

    def _length(self, video: str) -> float:
        return float(self.videos[video].end - self.videos[video].start)

    def seconds(self, video: str) -> tuple[int, ...]:
        """See `VideoFolder.seconds`."""
        return (self.videos[video].end - self.videos[video].start,)

    def absent(self, video: str) -> Modality | None:
        """The modality whose track the video's file lacks."""
        return self.videos[video].absent

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences about videos that lack a track."""
        return absent_caveats([video.absent for video in self.videos.values()])

    def weak_labels(self, video: str) -> Sequence[int]:
        """None are known."""
        return ()

    def ground_truth(self, video: str, segments: int) -> Tensor:
        """There is none.

        Args:
            video: its id.
            segments: number of segments, T.

        Returns:
            Nothing, since it always raises an error.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"video {video!r} has no ground truth")

    def annotated(self) -> list[object]:
        """See `VideoFolder.annotated`."""
        return [list(self.classes), [[v.id, v.start, v.end, v.absent] for v in self.videos.values()]]

    def training_split(self) -> AVVPDataset:
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{self.root}: holds videos without labels, so there is no training split")
