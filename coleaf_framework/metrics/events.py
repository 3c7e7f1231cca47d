"""Events: maximal runs of consecutive active segments, as tensors and as lists. Shape letters: see `protocol.py`."""

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
        Five tensors (..., C) bool, for audible, visible, audible-only, visible-only and audible-visible.
    """
    audio, visual = segments.unbind(-2)
    return audio, visual, audio & ~visual, visual & ~audio, audio & visual


def run_starts(active: Tensor) -> Tensor:
    """True in the first segment of each run: (..., T) bool -> (..., T) bool."""
    before = torch.nn.functional.pad(active[..., :-1], (1, 0))
    return active & ~before


def run_ends(active: Tensor) -> Tensor:
    """For each active segment, the exclusive end of its run.

    Args:
        active: (..., T) bool.

    Returns:
        (..., T) integer in [1, T], meaningful where `active`.
    """
    length = active.shape[-1]
    index = torch.arange(length, device=active.device).expand(active.shape)
    next_gap = torch.where(active, length, index)
    return next_gap.flip(-1).cummin(-1).values.flip(-1)


def list_runs(active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The runs of each row, in order.

    Args:
        active: (R,T) bool.

    Returns:
        First segments, exclusive ends, and where there is a run: (R,P) each, P the most runs of a row.

    Example:
        >>> begin, end, there = list_runs(torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0]], dtype=torch.bool))
        >>> begin.tolist(), end.tolist(), there.tolist()
        ([[0, 3], [1, 0]], [[2, 4], [2, 0]], [[True, True], [True, False]])
    """
    starts, ends = run_starts(active), run_ends(active)
    numbers = starts.sum(-1)
    most = int(numbers.max()) if len(active) else 0
    row, at = starts.nonzero(as_tuple=True)
    place = starts.cumsum(-1)[row, at] - 1
    begin, end = (torch.zeros(len(active), most, dtype=torch.long, device=active.device) for _ in range(2))
    begin[row, place], end[row, place] = at, ends[row, at]
    return begin, end, torch.arange(most, device=active.device) < numbers[:, None]


@dataclass(frozen=True)
class Event:
    """One event of a video.

    Args:
        label: class name.
        modality: "audible-only", "visible-only" or "audible-visible".
        onset: seconds from the video's start.
        offset: seconds from the video's start, after the onset.
        confidence: in [0,1], the mean segment probability over the event and its modalities, computed in float64 and
            rounded to 4 decimals; None for ground truth.

    Example:
        >>> Event("Dog", "audible-only", onset=2.0, offset=6.0).confidence is None
        True
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
        segment_probs: (T,M,C) in [0,1], from which confidences are computed; None leaves them out.
        seconds: length of a segment.

    Returns:
        Events with times in seconds, sorted by onset, then by label and modality.

    Example:
        >>> segments = torch.tensor([[1, 0], [1, 1], [0, 0]], dtype=torch.bool).unsqueeze(-1)  # T=3, M=2, C=1
        >>> for event in list_events(segments, ("Dog",)):
        ...     print(event.modality, event.onset, event.offset)
        audible-only 0.0 1.0
        audible-visible 1.0 2.0
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
                confidence = round(segment_probs[onset:offset, index, c].double().mean().item(), 4)
            start, end = (round(t * seconds, 6) for t in (onset, offset))  # 0.96, not 3 * 0.32
            events.append(Event(classes[c], modality, start, end, confidence))
    return sorted(events, key=lambda e: (e.onset, e.label, e.modality))
