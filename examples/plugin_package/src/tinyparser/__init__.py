"""An AVVP network as an Anchor plugin."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coleaf_framework.protocol import LLP_STREAMS, AnchorOutput, StreamSpec


class TinyParser(nn.Module):
    """One Linear per stream, averaged within each modality, and a gated exchange between the two."""

    def __init__(self, num_classes: int = 25, streams: Mapping[str, StreamSpec] = LLP_STREAMS, width: int = 64) -> None:
        super().__init__()
        self.streams, self.num_classes = streams, num_classes
        self.project = nn.ModuleDict({name: nn.Linear(spec.width, width) for name, spec in streams.items()})
        self.gate = nn.Linear(2 * width, width)
        self.classify = nn.Linear(width, num_classes)

    def forward(self, **streams: Tensor) -> AnchorOutput:
        """Streams (B, frames * T, width) -> probabilities and tokens."""
        own: dict[str, list[Tensor]] = {"audio": [], "visual": []}
        for name, spec in self.streams.items():
            x = self.project[name](streams[name])
            own[spec.modality].append(x.unflatten(1, (-1, spec.frames)).mean(2))
        a, v = (torch.stack(own[modality]).mean(0) for modality in ("audio", "visual"))
        mixed = [x + self.gate(torch.cat([x, y], -1)).sigmoid() * y for x, y in ((a, v), (v, a))]
        tokens = torch.stack(mixed, dim=2)
        segment_probs = self.classify(tokens).sigmoid()
        return AnchorOutput(segment_probs, segment_probs.mean((1, 2)), tokens)
