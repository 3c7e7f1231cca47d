"""Look-alikes that do not run as they are, or only in one way."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework import Out
from coleaf_framework.protocol import LLP_STREAMS
from tests.helpers.networks import NUM_CLASSES as C
from tests.helpers.traps import (
    EQUAL,
    FRAMES,
    REVERSED,
    STACKED,
    VISUAL_FIRST,
    WIDTH,
    Base,
    Encodes,
    returned,
    trap,
)


@trap("fails for every order; most telling is that the encoder is 16 wide, not that the widths are crossed",
      raises="16x16", undecided=("inputs", "segment_probs", "video_probs", "modality_probs", "tokens"))  # fmt: skip
class FailsEveryOrder(Base):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(16, 16)

    def forward(self, f_v: Tensor, f_a: Tensor) -> Any:
        return self.fc_prob(self.encoder(torch.stack(self.project(f_a, f_v), dim=2))).sigmoid()


@trap("calls .cuda() in forward, and takes its streams in another order", options={"follow_device": True},
      inputs={"f_v": "visual", "f_a": "audio"}, **FRAMES, tokens=STACKED)  # fmt: skip
class CudaOtherOrder(Base):
    def forward(self, f_v: Tensor, f_a: Tensor) -> Any:
        a, v = self.encode(f_a.cuda(), f_v.cuda())
        return returned(self.fc_prob(torch.stack([a, v], dim=2)).sigmoid())


@trap("`streams` is a number and `num_classes` a method", **FRAMES, tokens=STACKED)
class OtherAttributes(Encodes):
    streams = 2

    def num_classes(self) -> int:
        return C + 1

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned(self.fc_prob(self.stacked(audio, visual)).sigmoid())


@trap("its constructor takes an argparse.Namespace", **FRAMES, tokens=STACKED,
      options={"anchor_options": {"args": Namespace(classes=C, width=WIDTH)}})  # fmt: skip
def NamespaceConstructor() -> type[nn.Module]:
    return TakesNamespace


class TakesNamespace(Encodes):
    def __init__(self, args: Namespace) -> None:
        super().__init__(args.classes, args.width)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned(self.fc_prob(self.stacked(audio, visual)).sigmoid())


@trap("not a network but a function that makes one, which may be given in its place", **FRAMES, tokens=STACKED,
      options={"anchor_options": {"width": WIDTH}})  # fmt: skip
def FactoryFunction() -> Any:
    return lambda num_classes=C, width=8: TakesNamespace(Namespace(classes=num_classes, width=width))


@trap("equal widths, visual first, by helpful argument names in a misleading order", streams=EQUAL,
      inputs={"visual_feat": "visual", "audio_feat": "audio"}, segment_probs=Out(0, order=VISUAL_FIRST),
      tokens=REVERSED)  # fmt: skip
class HelpfulArguments(Base):
    def __init__(self) -> None:
        super().__init__(8, 8)

    def forward(self, visual_feat: Tensor, audio_feat: Tensor) -> Any:
        a, v = self.encode(audio_feat, visual_feat)
        return self.fc_prob(torch.stack([v, a], dim=2)).sigmoid()


@trap("slow: four transformer layers of width 512 on LLP's streams", streams=LLP_STREAMS, num_classes=25,
      video_probs=0, modality_probs=(1, 2), segment_probs=3, tokens=STACKED)  # fmt: skip
class Slow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc_a, self.fc_v, self.fc_st = nn.Linear(128, 512), nn.Linear(2048, 512), nn.Linear(512, 512)
        self.fc_fusion, self.fc_prob = nn.Linear(1024, 512), nn.Linear(512, 25)
        layer = nn.TransformerEncoderLayer(512, 8, 1024, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.cross = nn.MultiheadAttention(512, 8, batch_first=True)

    def forward(self, audio: Tensor, visual: Tensor, visual_st: Tensor) -> Any:
        frames = self.fc_v(visual).unflatten(1, (-1, 8)).mean(2)
        a, v = self.layers(self.fc_a(audio)), self.layers(self.fc_fusion(torch.cat([frames, self.fc_st(visual_st)], 2)))
        a, v = a + 0.3 * self.cross(a, v, v)[0], v + 0.3 * self.cross(v, a, a)[0]
        frame_prob = self.fc_prob(torch.stack([a, v], dim=2)).sigmoid()
        a_prob, v_prob = frame_prob.mean(1).unbind(1)
        return frame_prob.mean((1, 2)), a_prob, v_prob, frame_prob


@trap("its attribute num_classes counts a background class that it does not return: no call of wrap is accepted",
      **FRAMES, tokens=STACKED, optional=("segment_probs", "video_probs", "modality_probs", "tokens"))  # fmt: skip
class ClassesPlusOne(Encodes):
    num_classes = C + 1

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned(self.fc_prob(self.stacked(audio, visual)).sigmoid())
