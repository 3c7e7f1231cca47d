"""A parsed media file: a network's answer for it, on one timeline. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework._text import one_line
from coleaf_framework.data.extracted import WITHOUT, ExtractedVideo
from coleaf_framework.metrics import DecisionConfig, Event, list_events
from coleaf_framework.metrics.decision import gate_and_segments
from coleaf_framework.protocol import Modality
from coleaf_framework.results.events_file import VideoEvents
from coleaf_framework.results.predictions import Predictions


@dataclass(frozen=True)
class ParsedVideo:
    """What a network found in a media file.

    A file longer than the run's window is parsed window by window; the segments of all windows are concatenated here,
    so an event that crosses the border of two windows is one event.

    Args:
        file: The media file.
        id: Its name in results.
        parser: Name of the model.
        classes: C names.
        decision: The thresholds.
        segment_seconds: Length of a segment.
        segment_probs: (T,M,C) float32 in [0,1].
        gate_probs: (T,M,C) float32 in [0,1]: the probabilities that the gate compares, of each segment's window.
        decided: (T,M,C) bool: the predicted events.
        absent: The modality whose track the file lacks: no events are heard, or seen.
        notes: Sentences to be shown with the events.
    """

    file: Path
    id: str
    parser: str
    classes: tuple[str, ...]
    decision: DecisionConfig
    segment_seconds: float
    segment_probs: Tensor
    gate_probs: Tensor
    decided: Tensor
    absent: Modality | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the timeline, T segments."""
        return round(len(self.decided) * self.segment_seconds, 6)

    def events(self) -> list[Event]:
        """The predicted events, in order of onset."""
        return list_events(self.decided, self.classes, self.segment_probs, self.segment_seconds)

    def as_video_events(self) -> VideoEvents:
        """The same as `predictions.json` holds it."""
        return VideoEvents(self.id, self.seconds, self.events(), None)


def join_windows(predictions: Predictions, rows: Sequence[int], windows: Sequence[ExtractedVideo]) -> ParsedVideo:
    """Put the windows of a file side by side.

    Args:
        predictions: Of all windows of all files.
        rows: Which of them are the file's, in order of time.
        windows: The same as `videos.tsv` has them.
    """
    lengths = predictions.mask[list(rows)].sum(1).tolist()
    gates, _ = gate_and_segments(predictions.output, predictions.decision, predictions.mask)

    def side_by_side(x: Tensor) -> Tensor:
        return torch.cat([x[row, :length] for row, length in zip(rows, lengths, strict=True)])

    gate = gates.expand(-1, 2, -1)[:, None].expand(-1, predictions.mask.shape[1], -1, -1)
    first = windows[0]
    file, notes = Path(first.file), []
    if first.absent is not None:
        notes.append(f"{one_line(file.name)} has {WITHOUT[first.absent]}")
    if len(windows) > 1:
        seconds = f"{first.end - first.start} s"
        notes.append(f"{one_line(file.name)} was answered {seconds} at a time, as long as the training videos")
    return ParsedVideo(
        file, first.id if len(windows) == 1 else first.id.rpartition(".")[0], predictions.parser,
        predictions.classes, predictions.decision, predictions.segment_seconds,
        segment_probs=side_by_side(predictions.segment_probs), gate_probs=side_by_side(gate),
        decided=side_by_side(predictions.decided()), absent=first.absent, notes=tuple(notes),
    )  # fmt: skip
