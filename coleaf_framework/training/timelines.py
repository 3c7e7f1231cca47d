"""Timelines of a few validation videos, drawn after each epoch for the trackers of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from coleaf_framework._config import reason
from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import segment_seconds_of
from coleaf_framework.metrics import DecisionConfig, decide, list_events
from coleaf_framework.metrics.events import split_types
from coleaf_framework.protocol import AnchorOutput, Batch
from coleaf_framework.report.pictures import timeline

logger = logging.getLogger(__name__)

Parse = Callable[[Sequence[int]], Iterator[tuple[Batch, AnchorOutput]]]
"""The batches of some videos, by their places in the split, each with the Anchor's output."""
_SEARCHED = 200  # videos that are read in search of some with two types of events


class Timelines:
    """Draws the timelines of a few validation videos, the same in every epoch.

    They are the first with events of two types (audible-only, visible-only, audible-visible); where fewer of the first
    200 have them, the first of the others are added.

    Args:
        data: the validation split.
        parse: runs the Anchor over videos of it.
        decision: the thresholds.
        videos: how many.
        name: what the pictures call the model.
    """

    def __init__(self, data: AVVPDataset, parse: Parse, decision: DecisionConfig, videos: int, name: str) -> None:
        self.data, self.parse, self.decision, self.name = data, parse, decision, name
        self._most, self._videos = videos, list[int]()

    def figures(self, epoch: int) -> dict[str, Any]:
        """Name of a picture -> figure; empty, after a warning, where they cannot be drawn."""
        try:
            if not self._videos and self._most:
                self._videos = chosen_videos(self.data, self._most)
            return self._drawn(epoch)
        except Exception as problem:
            logger.warning(
                "trackers get no timelines from epoch %d on, which cannot be drawn (%s); training goes on",
                epoch, reason(problem),
            )  # fmt: skip
            self._most, self._videos = 0, []
            return {}

    def _drawn(self, epoch: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if not self._videos:
            return found
        seconds, classes = segment_seconds_of(self.data), self.data.classes
        for batch, output in self.parse(self._videos):
            assert batch.segment_labels is not None
            decided, probs = decide(output, self.decision, batch.mask).cpu(), output.segment_probs.float().cpu()
            for i, video in enumerate(batch.ids):
                length = decided.shape[1] if batch.mask is None else int(batch.mask[i].sum())
                truth = batch.segment_labels[i, :length].cpu()
                parsers = {
                    "ground truth": list_events(truth, classes, None, seconds),
                    self.name: list_events(decided[i, :length], classes, probs[i, :length], seconds),
                }
                found[f"timeline/{video}"] = timeline(parsers, length * seconds, f"{video}, epoch {epoch}")
        return found


def chosen_videos(data: AVVPDataset, most: int) -> list[int]:
    """Places of the videos that `Timelines` draws, in order."""
    found: list[int] = []
    searched = range(min(len(data), max(_SEARCHED, most)))
    for i in searched:
        truth = data[i].segment_labels
        if truth is not None and _event_types(truth) > 1:
            found.append(i)
            if len(found) == most:
                return found
    others = [i for i in searched if i not in found]
    return sorted(found + others[: most - len(found)])


def _event_types(truth: Tensor) -> int:
    """How many of the three types of events a video has; truth (T,M,C) bool."""
    _, _, *typed = split_types(truth)
    return sum(bool(active.any()) for active in typed)
