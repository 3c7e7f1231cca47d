"""Small Anchors, good and bad."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, StreamSpec

STREAMS = {"audio": StreamSpec(6, "audio"), "visual": StreamSpec(8, "visual", frames=2)}
NUM_CLASSES = 3

# A file of a user's own, with a network `Own` that is no plugin.
NETWORK = """
import torch
from torch import nn
class Own(nn.Module):
    def __init__(self, streams, num_classes):
        super().__init__()
        self.streams, self.num_classes = streams, num_classes
        self.a, self.v = nn.Linear(streams["audio"].width, 8), nn.Linear(streams["visual_st"].width, 8)
        self.c, self.f = nn.Linear(8, num_classes), nn.Linear(streams["visual"].width, 8)
    def forward(self, audio, visual, visual_st):
        frames = visual.unflatten(1, (-1, self.streams["visual"].frames)).mean(2)
        tokens = torch.stack([self.a(audio), self.v(visual_st) + self.f(frames)], 2).tanh()
        segment = self.c(tokens).sigmoid()
        return {"segment_probs": segment, "video_probs": segment.mean((1, 2)), "tokens": tokens}
"""


class TinyNet(nn.Module):
    """An Anchor in a few lines; `spoil` changes its output."""

    streams = STREAMS
    num_classes = NUM_CLASSES

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.audio_in, self.visual_in = nn.Linear(6, width), nn.Linear(8, width)
        self.mix, self.classify = nn.Linear(width, width), nn.Linear(width, NUM_CLASSES)

    def spoil(self, output: dict[str, Tensor]) -> Any:
        return AnchorOutput(**output)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        visual = visual.unflatten(1, (-1, 2)).mean(2)
        x = torch.stack([self.audio_in(audio), self.visual_in(visual)], dim=2).tanh()
        tokens = x + self.mix(x.flip(2))
        segment_probs = self.classify(tokens).sigmoid()
        modality_probs = segment_probs.mean(1)
        return self.spoil(
            {
                "segment_probs": segment_probs,
                "video_probs": modality_probs.mean(1),
                "tokens": tokens,
                "modality_probs": modality_probs,
            }
        )


def batch_of(videos: int = 4, segments: int = 5, lengths: list[int] | None = None) -> Any:
    from coleaf_framework import Batch

    mask = None
    if lengths is not None:
        mask = torch.arange(segments)[None] < torch.tensor(lengths)[:, None]
    return Batch(
        streams={n: torch.randn(videos, s.frames * segments, s.width) for n, s in STREAMS.items()},
        labels=(torch.rand(videos, NUM_CLASSES) < 0.5).float(),
        mask=mask,
    )
