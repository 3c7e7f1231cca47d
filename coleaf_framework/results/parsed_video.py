"""A parsed media file: a network's answer for it, on one timeline. Shape letters: see `protocol.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from coleaf_framework.metrics import DecisionConfig, Event, list_events
from coleaf_framework.protocol import Modality


@dataclass(frozen=True)
class ParsedVideo:
    """What a network found in a media file.

    A file longer than the run's window is answered window by window; the segments of all windows stand side by side
    here, so an event that goes on over the end of a window is one event.

    Args:
        file: The media file.
        id: Its name in results.
        parser: Name of the model.
        classes: C names.
        decision: The thresholds.
        segment_seconds: Length of a segment.
        segment_probs: (T,M,C) float32 in [0,1].
        gate_probs: (T,M,C) float32 in [0,1]: the probabilities that the gate is on, those of a segment's window.
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
