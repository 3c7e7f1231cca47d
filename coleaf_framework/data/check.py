"""Checking a data folder: what it contains, what is missing, broken or odd."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from coleaf_framework.data.extracted import ExtractedVideos
from coleaf_framework.data.features import NpyFiles
from coleaf_framework.data.opening import is_extracted, missing_annotations, open_folder, splits_of
from coleaf_framework.data.timed_features import TimedFeatures
from coleaf_framework.data.video_folder import VideoFolder
from coleaf_framework.protocol import StreamSpec

_SHOWN = 10
# Deviations that differ by more than this factor are reported: input layers are initialised for one common scale.
_FAR_APART = 100


@dataclass
class _Scale:
    """Running mean, deviation and range over all values of a stream."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, x: Tensor) -> None:
        x = x.double()
        self.count += x.numel()
        self.total += float(x.sum())
        self.squares += float(x.square().sum())
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def deviation(self) -> float:
        return math.sqrt(max(self.squares / self.count - self.mean**2, 0.0))


def _tell_scales(split: str, scales: Mapping[str, _Scale]) -> Iterator[tuple[str, str]]:
    known = {name: scale for name, scale in scales.items() if scale.count}
    for name, s in known.items():
        yield (
            "there",
            f"split {split!r}: stream {name} has mean {s.mean:.3g}, deviation {s.deviation:.3g}, "
            f"range {s.low:.3g} to {s.high:.3g}",
        )
    if not known:
        return
    least, most = (pick(known, key=lambda name: known[name].deviation) for pick in (min, max))
    low, high = known[least].deviation, known[most].deviation
    if known[least].low == known[least].high:
        yield "odd", f"split {split!r}: stream {least} is the same value everywhere"
    elif high / low > _FAR_APART:
        yield (
            "odd",
            f"split {split!r}: the deviation of stream {most} is {high / low:.3g} times that of {least}, so that a "
            f"network hardly sees {least} at first: consider --set data.standardize=true",
        )


def check_folder(root: Path, streams: Path | None = None) -> Iterator[tuple[str, str]]:
    """Read every file of a data folder and yield what was found.

    Args:
        root: The folder, of any data set that `open_folder` opens.
        streams: A file such as `streams.yaml`; that of the folder, if it has one, if None.

    Yields:
        "there", "missing", "broken" or "odd", and a sentence. What is missing or broken would stop training; what is
        odd would not.

    Raises:
        FileNotFoundError: There is no such folder, or it has no annotations.
        ValueError: An annotation file is malformed.
    """
    if is_extracted(root):
        yield from _check_extracted(root, streams)
        return
    yield from (("missing", sentence) for sentence in missing_annotations(root))
    shapes: list[Mapping[str, StreamSpec]] = []
    told: set[str] = set()
    for split in splits_of(root):
        try:
            data = open_folder(root, split, streams=streams, skip_incomplete=True)
        except (FileNotFoundError, ValueError) as problem:
            yield "missing", f"split {split!r}: {problem}"
            continue
        if not shapes:
            yield "there", f"{len(data.classes)} classes; streams: {_shapes(data.streams)}"
        shapes.append(data.streams)
        lines = [line for line in data.issues_lines() if line not in told]
        told.update(lines)
        yield from (("odd", f"annotations: {line}") for line in lines)
        if data.streams != shapes[0]:
            yield "broken", f"split {split!r} has other streams than the first: {data.streams}, not {shapes[0]}"
        yield from _check_split(data)


def _shapes(streams: Mapping[str, StreamSpec]) -> str:
    return ", ".join(f"{name} {s.width} wide, {s.frames} a segment" for name, s in streams.items())


def _check_extracted(root: Path, streams: Path | None) -> Iterator[tuple[str, str]]:
    """A folder of `coleaf extract` without annotations, whose videos are those of one split."""
    try:
        data = ExtractedVideos(root, (), streams=streams, skip_incomplete=True)
    except (FileNotFoundError, ValueError) as problem:
        yield "missing", str(problem)
        return
    files = {video.file for video in data.videos.values()}
    seconds = sum(video.end - video.start for video in data.videos.values())
    yield (
        "there",
        f"{len(data.videos)} videos without annotations, {seconds} s of {len(files)} files; streams: "
        f"{_shapes(data.streams)}",
    )
    yield from _check_split(data)


def _listed(kind: str, split: str, sentences: Sequence[str]) -> Iterator[tuple[str, str]]:
    for sentence in sentences[:_SHOWN]:
        yield kind, f"split {split!r}: {sentence}"
    if len(sentences) > _SHOWN:
        yield kind, f"split {split!r}: {len(sentences) - _SHOWN} more, {len(sentences)} in all"


def _check_split(data: VideoFolder) -> Iterator[tuple[str, str]]:
    features = data.features
    if isinstance(features, NpyFiles):
        gone = list(dict.fromkeys(video for video, _ in data.left_out))
        for stream, files in features.missing_files(gone).items():
            if files:
                count = f"{len(files)} of {data.total} videos have no file"
                yield "missing", f"split {data.split!r}: stream {stream!r}: {count}, such as {files[0][0]!r}"
    yield from _listed("missing", data.split, [sentence for _, sentence in data.left_out])
    if isinstance(features, TimedFeatures):
        for line in features.survey(data.ids, data.streams).lines():
            yield "odd", f"split {data.split!r}: {line}"
    broken = []
    scales = {name: _Scale() for name in data.streams}
    for i in range(len(data)):
        try:
            video = data[i]
        except (ValueError, OSError) as problem:
            broken.append(str(problem))
            continue
        for name, x in video.streams.items():
            scales[name].add(x)
    yield from _listed("broken", data.split, broken)
    yield "there", f"split {data.split!r}: {len(data) - len(broken)} of {data.total} videos can be read"
    yield from _tell_scales(data.split, scales)
