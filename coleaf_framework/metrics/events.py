"""Events: maximal runs of segments, as tensors and as lists. Shape letters: see `protocol.py`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EVENT_TYPES = ("audible-only", "visible-only", "audible-visible")


def split_types(segments: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A, V, Ao, Vo and AV of eq. 14-15.

    Args:
        segments: (..., M, C) bool, audio and visual.

    Returns:
        Five (..., C) bool: audible, visible, audible-only, visible-only, audible-visible.
    """
    audio, visual = segments.unbind(-2)
    return audio, visual, audio & ~visual, visual & ~audio, audio & visual


def run_starts(active: Tensor) -> Tensor:
    """Where runs start: (..., T) bool -> (..., T) bool."""
    before = torch.nn.functional.pad(active[..., :-1], (1, 0))
    return active & ~before


def run_ends(active: Tensor) -> Tensor:
    """The end, exclusive, of the run that each active segment belongs to.

    Args:
        active: (..., T) bool.

    Returns:
        (..., T) integer in [1, T], meaningful where `active`.
    """
    length = active.shape[-1]
    index = torch.arange(length, device=active.device).expand(active.shape)
    next_gap = torch.where(active, length, index)
    return next_gap.flip(-1).cummin(-1).values.flip(-1)


@dataclass(frozen=True)
class Event:
    """One event of a video.

    Args:
        label: class name.
        modality: "audible-only", "visible-only" or "audible-visible".
        onset, offset: seconds from the video's start, onset before offset.
        confidence: in [0,1], the mean segment probability over the event and its modalities; None for truth.
    """

    label: str
    modality: str
    onset: float
    offset: float
    confidence: float | None = None


def list_events(
    segments: Tensor, classes: tuple[str, ...], segment_probs: Tensor | None = None, seconds: float = 1.0
) -> list[Event]:
    """The events of one video, in order of onset.

    Args:
        segments: (T,M,C) bool.
        classes: C names.
        segment_probs: (T,M,C) in [0,1], for confidences.
        seconds: length of a segment.
    """
    _, _, *typed = split_types(segments)
    modality_index = ([0], [1], [0, 1])
    events = []
    for modality, active, index in zip(EVENT_TYPES, typed, modality_index, strict=True):
        starts, ends = run_starts(active.T), run_ends(active.T)  # (C,T)
        for c, onset in starts.nonzero().tolist():
            offset = int(ends[c, onset])
            confidence = None
            if segment_probs is not None:
                confidence = round(segment_probs[onset:offset, index, c].float().mean().item(), 4)
            events.append(Event(classes[c], modality, onset * seconds, offset * seconds, confidence))
    return sorted(events, key=lambda e: (e.onset, e.label, e.modality))
