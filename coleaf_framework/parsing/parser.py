"""A run as a parser of media files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.results.parsed_video import ParsedVideo


class VideoParser:
    """Parses media files with a run: features by the recipe that it was trained on, then its Anchor.

    Args:
        run: The run folder.
        features: Name of the recipe, for a run whose record names none.
        weights: Folder with the recipe's weights; None for where its library keeps them.
        decision: Thresholds; the run's if None.
        device: Where the networks run; the run's `trainer.device` if None.
        trust: As in `CoLeaF.load`.

    Raises:
        FileNotFoundError: There is no such run, or weights are missing.
        ImportError: A library is missing; says how to install it.
        ValueError: The run's record names no recipe and `features` neither, or they differ, or the weights or the
            projection are not those that it was trained on. The message says what differs.
    """

    def __init__(
        self,
        run: Path,
        *,
        features: str | None = None,
        weights: Path | None = None,
        decision: DecisionConfig | None = None,
        device: str | None = None,
        trust: bool = False,
    ) -> None:
        raise NotImplementedError

    def parse(
        self, videos: Sequence[Path], *, jobs: int = 1, progress: Callable[[Path, float], None] | None = None
    ) -> tuple[list[ParsedVideo], dict[Path, str]]:
        """Parse files.

        Args:
            videos: The files.
            jobs: Processes that extract features.
            progress: See `extraction.extract`.

        Returns:
            The parsed files in order, and those that could not be read: file -> why, in a sentence.
        """
        raise NotImplementedError
