"""What the published-style networks with a trap share: a network to build on, and a list that they are entered in.

Each is a small network with one habit that misleads a reader of shapes and gradients. Its truth is what a careful
reader of its code would declare.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from coleaf_framework import StreamSpec, Tap
from tests.helpers.judging import Case, Truth
from tests.helpers.networks import NUM_CLASSES as C
from tests.helpers.networks import STREAMS

WIDTH = 12
VISUAL_FIRST = ("visual", "audio")
EQUAL = {"audio": StreamSpec(8, "audio"), "visual": StreamSpec(8, "visual")}  # nothing but names tells these apart
STACKED = (Tap("fc_prob", at="input"),)
REVERSED = (Tap("fc_prob", at="input", order=VISUAL_FIRST),)
TWICE = (Tap("fc_prob", at="input", call={"audio": 0, "visual": 1}),)

TRAPS: dict[str, Case] = {}
Made = TypeVar("Made", bound=Callable[[], Any])


class Base(nn.Module):
    """Projections, an encoder outside any module that mixes a little, and one classifier, `fc_prob`."""

    def __init__(self, audio: int = 6, visual: int = 8, classes: int = C, width: int = WIDTH) -> None:
        super().__init__()
        self.fc_a, self.fc_v = nn.Linear(audio, width), nn.Linear(visual, width)
        self.mix, self.fc_prob = nn.Linear(width, width), nn.Linear(width, classes)

    def project(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """(B,T,6) and (B,kT,8) -> two of (B,T,WIDTH)."""
        frames = visual.shape[1] // audio.shape[1]
        return self.fc_a(audio), self.fc_v(visual.unflatten(1, (-1, frames)).mean(2))

    def encode(self, audio: Tensor, visual: Tensor, strength: float = 0.2) -> tuple[Tensor, Tensor]:
        """Audio and visual tokens, (B,T,WIDTH) each; `strength` is how much each takes of the other."""
        a, v = self.project(audio, visual)
        return a + strength * self.mix(v), v + strength * self.mix(a)


def trap(
    about: str,
    *,
    streams: Mapping[str, StreamSpec] = STREAMS,
    num_classes: int = C,
    options: Mapping[str, Any] | None = None,
    raises: str | None = None,
    undecided: Collection[str] = (),
    optional: Collection[str] = (),
    **truth: Any,
) -> Callable[[Made], Made]:
    """Enter a network class, or a function that gives what is described, into TRAPS; the rest as in `Case`, `Truth`."""

    def enter(make: Made) -> Made:
        true = Truth(undecided=frozenset(undecided), optional=frozenset(optional), **truth)
        name = make.__name__
        assert name not in TRAPS
        TRAPS[name] = Case(name, about, make, true, streams, num_classes, options or {}, raises)
        return make

    return enter


ENCODER = (Tap("encoder"),)
FRAMES = {"segment_probs": 0, "video_probs": 1}


class Encodes(Base):
    """Its encoder is a module, run on the stacked tokens (B,T,M,WIDTH)."""

    def __init__(self, classes: int = C, width: int = WIDTH) -> None:
        super().__init__(classes=classes, width=width)
        self.encoder = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))

    def stacked(self, audio: Tensor, visual: Tensor) -> Tensor:
        """(B,T,M,WIDTH)."""
        out: Tensor = self.encoder(torch.stack(self.encode(audio, visual), dim=2))
        return out


def returned(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Segment and video probabilities."""
    return frames, frames.mean((1, 2))
