"""Streams with LLP's names and other widths, for the networks that ship."""

from __future__ import annotations

import torch

from coleaf_framework import StreamSpec

SMALL = {
    "audio": StreamSpec(6, "audio"),
    "visual": StreamSpec(8, "visual", frames=3),
    "visual_st": StreamSpec(4, "visual"),
}


def small_batch(segments: int, videos: int = 3) -> dict[str, torch.Tensor]:
    return {name: torch.randn(videos, s.frames * segments, s.width) for name, s in SMALL.items()}
