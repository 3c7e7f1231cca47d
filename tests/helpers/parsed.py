"""Made-up parsed videos, and what `metrics` finds in them at other thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from coleaf_framework.metrics import DecisionConfig, Event, ModalityThresholds, decide, list_events
from coleaf_framework.protocol import AnchorOutput
from coleaf_framework.results.parsed_video import ParsedVideo

CLIP = Path(__file__).resolve().parents[2] / "examples/clips/tuxva000000.mp4"


def answer(seed: int, windows: int = 1, segments: int = 10, classes: int = 3) -> AnchorOutput:
    """A random answer for the windows of a video.

    Half of the probabilities lie on a slider's step, and some where a mean of four decimals has to be rounded to even.
    """
    random = torch.Generator().manual_seed(seed)

    def probs(*shape: int) -> torch.Tensor:
        on_step = torch.randint(0, 101, shape, generator=random) / 100
        halfway = torch.randint(0, 33, shape, generator=random) / 32
        kind = torch.rand(shape, generator=random)
        return torch.where(kind < 0.5, on_step, torch.where(kind < 0.7, halfway, torch.rand(shape, generator=random)))

    gates = probs(windows, 2, classes)
    tokens = torch.zeros(windows, segments, 2, 4)
    return AnchorOutput(probs(windows, segments, 2, classes), gates.amax(1), tokens, modality_probs=gates)


def parsed(output: AnchorOutput, classes: tuple[str, ...], **changes: Any) -> ParsedVideo:
    """The answer as a parsed video of the real clip, side by side as `ParsedVideo` holds it."""
    config = changes.pop("decision", DecisionConfig(gate="modality", gate_threshold=0.4))
    segments = output.segment_probs.shape[1]
    fields: dict[str, Any] = {
        "file": CLIP,
        "id": "clip",
        "parser": "HAN in CoLeaF",
        "classes": classes,
        "decision": config,
        "segment_seconds": 1.0,
        "segment_probs": output.segment_probs.flatten(0, 1),
        "gate_probs": output.modality_probs[:, None].expand(-1, segments, -1, -1).flatten(0, 1),
        "decided": decide(output, config).flatten(0, 1),
    }
    return ParsedVideo(**(fields | changes))


def events_at(output: AnchorOutput, video: ParsedVideo, segment: int, audio: int, visual: int) -> list[Event]:
    """The events at positions of the sliders, in hundredths."""
    gates = ModalityThresholds(audio=audio / 100, visual=visual / 100)
    config = DecisionConfig(segment_threshold=segment / 100, gate="modality", gate_threshold=gates)
    decided = decide(output, config).flatten(0, 1)
    return list_events(decided, video.classes, video.segment_probs, video.segment_seconds)
