"""Parsers for the service's worker process that do what they are told by the media file's name."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from coleaf_framework._config import reason
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.results.parsed_video import ParsedVideo
from coleaf_framework.serving.worker_process import Loaded

CLASSES = ("Dog", "Speech")


class Told:
    """Answers with one event, or does what its marker files say.

    Args:
        orders: Folder; a file "sleep", "hog", "die", "fail", "fault", "full", "scant" or "litter" in it is the order.
    """

    def __init__(self, orders: Path) -> None:
        self.orders = orders

    def parse(self, videos: Sequence[Path]) -> tuple[list[ParsedVideo], dict[Path, str]]:
        """See `worker_process.Parser`."""
        (video,) = videos
        (self.orders / "parsed").write_text(str(os.getpid()))
        if self._told("sleep"):
            while True:
                time.sleep(60)
        if self._told("hog"):
            torch.zeros(10**11)
        if self._told("die"):
            os.kill(os.getpid(), 9)
        if self._told("fail"):
            return [], {video: "damaged after 2 s"}
        if self._told("fault"):
            raise TypeError("an inner fault")
        if self._told("full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._told("scant"):  # as `extract` says it
            return [], {video: reason(MemoryError())}
        if self._told("litter"):
            tempfile.mkdtemp()
            os.kill(os.getpid(), 9)
        return [parsed(video)], {}

    def _told(self, order: str) -> bool:
        return (self.orders / order).exists()


def parsed(video: Path) -> ParsedVideo:
    """A dog that is heard and seen from second 0 to 2 of 3."""
    probs = torch.zeros(3, 2, 2)
    probs[:2, :, 0] = 0.75
    return ParsedVideo(
        video, video.stem, "HAN", CLASSES, DecisionConfig(), 1.0, probs, torch.ones(3, 2, 2), probs > 0.5,
        notes=(f"{video.name} has no sound",),
    )  # fmt: skip


def load_told(orders: Path) -> Loaded:
    """For a worker."""
    return Loaded(Told(orders), "HAN, recipe told")


def load_refused() -> Loaded:
    """A run that cannot be used."""
    raise ValueError("runs/x: no such run")


def load_dying() -> Loaded:
    """A run whose loading ends the process."""
    os._exit(7)
