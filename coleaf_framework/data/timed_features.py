"""npy features in the layout of a `streams.yaml`: rows are brought to each video's T segments by time.

The number of segments is the video's seconds by its filename, divided by the length of a segment. Without such times
it is what the shortest stream of a known rate covers. A stream that lasts longer is cut at T; one that ends earlier
repeats its last row. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework.data.features import NpyFiles, finite_rows
from coleaf_framework.data.layout import Layout, resample, resample_bicubic
from coleaf_framework.data.npy_files import array_shape
from coleaf_framework.protocol import StreamSpec

_ROUNDING = 1e-6  # of a segment
_MOST_APART = 2  # a stream that covers less than a half, or more than twice, of a video is not that video's


@dataclass
class RowCounts:
    """How the rows of a split's streams were brought to segments.

    Args:
        videos: Number of videos.
        cut: Stream -> number of videos whose rows go on for a row or more after the last segment.
        padded: Stream -> number of videos whose rows end a row or more before the last segment.
        resampled: Stream -> what was done to its rows, as a clause.
    """

    videos: int = 0
    cut: dict[str, int] = field(default_factory=dict)
    padded: dict[str, int] = field(default_factory=dict)
    resampled: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A sentence for each thing that was done to a stream."""
        found = [f"stream {name!r}: {clause}" for name, clause in self.resampled.items()]
        for counts, what in (
            (self.cut, "go on after the last segment and are cut there"),
            (self.padded, "end before the last segment and repeat their last row"),
        ):
            found += [
                f"stream {name!r}: rows of {count} of {self.videos} videos {what}"
                for name, count in counts.items()
                if count
            ]
        return found


class TimedFeatures(NpyFiles):
    """Features in any layout, read as (frames * T, width).

    Args:
        root: Folder of the data set.
        layout: Where its streams lie, and how their rows lie in time.
        seconds: Length of a video in seconds, or None where it is not known.
    """

    def __init__(self, root: Path, layout: Layout, seconds: Callable[[str], float | None]) -> None:
        super().__init__(root, layout)
        self.seconds = seconds
        self._lengths: dict[str, int] = {}  # T of the videos that were looked at
        self._spread: frozenset[str] = frozenset()  # streams whose rows span the whole video

    def streams(self, video: str, seconds: tuple[int, ...] = ()) -> dict[str, StreamSpec]:
        """See `Features.streams`; `seconds` is not used."""
        rows, widths = self._rows(video)
        segments = self._segments(video, rows)
        specs, spread = {}, set()
        for name, files in self.layout.streams.items():
            frames = files.frames or 1
            if not files.has_rate:
                if files.resampling == "bicubic" or rows[name] % segments:
                    spread.add(name)
                else:
                    frames = rows[name] // segments
            specs[name] = StreamSpec(widths[name], files.modality, frames=frames)
        self._spread = frozenset(spread)
        return specs

    def survey(self, videos: Sequence[str], streams: Mapping[str, StreamSpec]) -> RowCounts:
        """Look at the headers of all files.

        Args:
            videos: Ids of the videos.
            streams: Specs of their streams.

        Returns:
            Numbers of videos whose rows were cut or padded, and how rows were resampled, for each stream.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, its width or number of rows does not fit, or the streams of a video differ
                in length by more than a factor of two. The message names the file or video.
        """
        counts = RowCounts(len(videos), dict.fromkeys(streams, 0), dict.fromkeys(streams, 0))
        for video in videos:
            rows, widths = self._rows(video)
            segments = self._lengths[video] = self._segments(video, rows)
            for name, spec in streams.items():
                self._require_fitting(name, video, rows[name], widths[name], segments, spec)
                if (a_segment := self._rows_a_segment(name)) is not None:
                    beyond = rows[name] - a_segment * segments
                    counts.cut[name] += beyond >= 1 - _ROUNDING
                    counts.padded[name] += beyond <= -1 + _ROUNDING
        for name, files in self.layout.streams.items():
            if files.resampling == "bicubic":
                rows, _ = self._rows(videos[0])
                counts.resampled[name] = (
                    f"{rows[name]} rows of {videos[0]!r} are taken to span the whole video and are brought to its "
                    f"{self._segments(videos[0], rows)} segments by bicubic interpolation and pooling"
                )
            elif name in self._spread:
                rows, _ = self._rows(videos[0])
                segments = self._segments(videos[0], rows)
                counts.resampled[name] = (
                    f"{rows[name]} rows of {videos[0]!r} are no multiple of its {segments} segments, so rows are "
                    "taken to span the whole video and are averaged over each segment, by time"
                )
            elif not files.has_rate and streams[name].frames > 1:
                counts.resampled[name] = (
                    f"{streams[name].frames} rows a segment, as of the first video, are taken for frames in order of "
                    "time (frames in streams.yaml says so, groups that they are blocks)"
                )
            elif files.row_seconds is not None:
                counts.resampled[name] = (
                    f"rows every {files.row_seconds:g} s are averaged over segments of "
                    f"{self.layout.segment_seconds:g} s, by time"
                )
        return counts

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """See `Features.read`."""
        loaded = {}
        for name in streams:
            path, groups = self.path(name, video), self.layout.streams[name].groups
            x = finite_rows(path, video, name)
            _require_groups(path, len(x), groups)
            loaded[name] = x.unflatten(0, (groups, -1)).mean(0) if groups > 1 else x  # type: ignore[no-untyped-call]
        rows = {name: len(x) for name, x in loaded.items()}
        if loaded.keys() != self.layout.streams.keys():
            rows, _ = self._rows(video)
        segments = self._segments(video, rows)
        features = {}
        for name, spec in streams.items():
            x = loaded[name]
            self._require_fitting(name, video, len(x), x.shape[1], segments, spec)
            if self.layout.streams[name].resampling == "bicubic":
                features[name] = resample_bicubic(x, segments)
            elif name in self._spread:
                features[name] = resample(x, len(x) / segments, segments)
            elif (row_seconds := self.layout.streams[name].row_seconds) is not None:
                features[name] = resample(x, self.layout.segment_seconds / row_seconds, segments)
            else:
                x = x[: spec.frames * segments]
                features[name] = torch.cat([x, x[-1:].expand(spec.frames * segments - len(x), -1)])
        return features

    def rule(self, stream: str) -> str:
        """See `NpyFiles.rule`; it tells apart stores that were packed from the same files by other rules."""
        files = self.layout.streams[stream]
        told = [self.layout.segment_seconds, files.frames, files.row_seconds, files.groups]
        # Left out where it is the mean, so that the digests of older stores stay those of their files.
        return json.dumps(told if files.resampling == "mean" else [*told, files.resampling])

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """See `Features.segments`; from the headers of the files, or as `survey` found it there."""
        known = self._lengths.get(video)
        return self._segments(video, self._rows(video)[0]) if known is None else known

    def _rows(self, video: str) -> tuple[dict[str, int], dict[str, int]]:
        """Rows of a group, and widths, of each stream of a video."""
        rows, widths = {}, {}
        for name, files in self.layout.streams.items():
            path = self.path(name, video)
            length, widths[name] = array_shape(path)
            _require_groups(path, length, files.groups)
            rows[name] = length // files.groups
        return rows, widths

    def _rows_a_segment(self, name: str) -> float | None:
        """Rows a segment by the layout; None for a stream without a rate."""
        files = self.layout.streams[name]
        if files.row_seconds is not None:
            return self.layout.segment_seconds / files.row_seconds
        return files.frames

    def _segments(self, video: str, rows: Mapping[str, int]) -> int:
        """T of a video: by its seconds, or by its shortest stream."""
        rates = {name: self._rows_a_segment(name) for name in rows}
        lengths = {name: rows[name] / rate for name, rate in rates.items() if rate is not None}
        seconds = self.seconds(video)
        if seconds is not None:
            segments = max(1, round(seconds / self.layout.segment_seconds))
            by = "its annotations"
        else:
            segments = max(1, math.floor(min(lengths.values()) + _ROUNDING)) if lengths else min(rows.values())
            by = "its shortest stream"
        for name, length in lengths.items():
            if not segments / _MOST_APART <= length <= segments * _MOST_APART:
                unit = self.layout.segment_seconds
                raise ValueError(
                    f"{self.path(name, video)}: {rows[name]} rows cover {length * unit:.4g} s, but the video has "
                    f"{segments * unit:.4g} s by {by}: these differ by more than a factor of {_MOST_APART}, so a file "
                    f"or {'row_seconds' if self.layout.streams[name].row_seconds else 'frames'} of the stream is wrong"
                )
        return segments

    def _require_fitting(self, name: str, video: str, rows: int, width: int, segments: int, spec: StreamSpec) -> None:
        files = self.layout.streams[name]
        if files.width not in (None, width):
            raise ValueError(f"{self.path(name, video)}: width {width}, where streams.yaml says {files.width}")
        if width != spec.width:
            raise ValueError(f"{self.path(name, video)}: width {width}, not {spec.width} as in the split's first video")
        if self._rows_a_segment(name) is None and name not in self._spread and rows != spec.frames * segments:
            raise ValueError(
                f"{self.path(name, video)}: {rows} rows for {segments} segments, not {spec.frames} a segment as in the "
                "split's first video: say in streams.yaml how its rows lie in time, by frames or row_seconds"
            )


def _require_groups(path: Path, rows: int, groups: int) -> None:
    if rows % groups:
        raise ValueError(f"{path}: {rows} rows are no multiple of groups: {groups} in streams.yaml")
