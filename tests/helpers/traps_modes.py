"""Look-alikes that differ between training and evaluation, or from call to call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.helpers.traps import STACKED, Base, trap


@trap("logits in training, probabilities in evaluation: no kind is right for both",
      tokens=(1,), undecided=("segment_probs",))  # fmt: skip
class LogitsInTraining(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        frames = self.fc_prob(x)
        return (frames if self.training else frames.sigmoid()), x


@trap("returns its tokens in training only: they must be tapped",
      video_probs=0, segment_probs=1, tokens=STACKED)  # fmt: skip
class FewerInEvaluation(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        frames = self.fc_prob(x).sigmoid()
        out = frames.mean((1, 2)), frames
        return (*out, x) if self.training else out


@trap("the first output is for training only: positions move in evaluation",
      tokens=STACKED, undecided=("segment_probs", "video_probs"))  # fmt: skip
class ShiftedInEvaluation(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        frames = self.fc_prob(x).sigmoid()
        out = [frames.square(), frames, frames.mean((1, 2)), frames.mean((1, 2)).sqrt()]
        return out if self.training else out[1:]


@trap("functional dropout that evaluation does not switch off", segment_probs=0, video_probs=1, tokens=STACKED)
class DropoutInEvaluation(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = F.dropout(torch.stack(self.encode(audio, visual), dim=2), 0.2)
        frames = self.fc_prob(x).sigmoid()
        return frames, frames.mean((1, 2))


@trap("keeps a running mean of its tokens, updated in training, as an attribute that is no buffer",
      segment_probs=0, video_probs=1, tokens=STACKED)  # fmt: skip
class RunningMean(Base):
    memory: Tensor | None = None

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        if self.training:
            now = x.detach().mean((0, 1))
            self.memory = now if self.memory is None else 0.9 * self.memory + 0.1 * now
        frames = self.fc_prob(x if self.memory is None else x - self.memory).sigmoid()
        return frames, frames.mean((1, 2))


@trap("keeps its last frames, with their graph, and uses them in the next call",
      segment_probs=0, video_probs=1, tokens=STACKED)  # fmt: skip
class KeepsGraph(Base):
    last: Tensor | None = None

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        frames = self.fc_prob(torch.stack(self.encode(audio, visual), dim=2)).sigmoid()
        consistency = frames.mean() if self.last is None else (self.last.mean() - frames.mean()).square()
        self.last = frames
        return frames, frames.mean((1, 2)), consistency
