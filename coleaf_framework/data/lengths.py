"""In place of features, where only annotations are there: how many segments a video has. Enough to score against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from coleaf_framework.protocol import StreamSpec


@dataclass
class KnownLengths:
    """The `Features` of a folder without features: lengths that follow from the annotations, and no streams.

    Args:
        segment_seconds: Length of a segment.
        length: Video id -> number of segments, T.

    Example:
        >>> KnownLengths(1.0, lambda video: 10).segments("-0BKyt8iZ1I", {})
        10
    """

    segment_seconds: float
    length: Callable[[str], int]

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """See `Features.missing`; none, since nothing is asked for."""
        return []

    def streams(self, video: str, seconds: tuple[int, ...]) -> dict[str, StreamSpec]:
        """See `Features.streams`; none."""
        return {}

    def read(self, video: str, streams: Mapping[str, StreamSpec]) -> dict[str, Tensor]:
        """See `Features.read`.

        Args:
            video: Its id.
            streams: Specs of its streams.

        Returns:
            Nothing, since it always raises an error.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"video {video!r} has no features here: this folder was opened for its annotations alone")

    def segments(self, video: str, streams: Mapping[str, StreamSpec]) -> int:
        """See `Features.segments`; by the annotations."""
        return self.length(video)

    def statistics(self) -> dict[str, Tensor] | None:
        """See `Features.statistics`; None."""
        return None

    def digests(self, videos: Sequence[str], split: str) -> dict[str, str]:
        """See `Features.digests`; none."""
        return {}
