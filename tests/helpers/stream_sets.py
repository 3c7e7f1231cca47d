"""Stream sets for property tests: any names, widths and frames per segment."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from hypothesis import strategies as st
from torch import Tensor

from coleaf_framework import StreamSpec


def features(streams: Mapping[str, StreamSpec], videos: int, segments: int) -> dict[str, Tensor]:
    return {name: torch.randn(videos, s.frames * segments, s.width) for name, s in streams.items()}


@st.composite
def stream_sets(draw: st.DrawFn) -> dict[str, StreamSpec]:
    """One to three streams of either modality."""
    kinds = [m for m in ("audio", "visual") for _ in range(draw(st.integers(1, 3)))]
    order = draw(st.permutations(kinds))
    size = st.integers(1, 4)
    return {f"{kind}-{i}": StreamSpec(draw(size), kind, frames=draw(size)) for i, kind in enumerate(order)}
