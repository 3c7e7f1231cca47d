"""Look-alikes whose returned probabilities mislead: uncertainties, crossed modalities, training against evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_framework import DERIVE, Constant, Out
from tests.helpers.networks import NUM_CLASSES as C
from tests.helpers.traps import EQUAL, REVERSED, STACKED, TWICE, VISUAL_FIRST, WIDTH, Base, trap

PROBABILITIES = ("segment_probs", "video_probs", "modality_probs")
ORDERED = ("segment_probs", "modality_probs", "tokens")


class Doubt(Base):
    """A second head, `fc_unc`, for uncertainties of the same shapes as the probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.fc_unc, self.fc_video = nn.Linear(WIDTH, C), nn.Linear(WIDTH, C)

    def pooled(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the video, of audio, of visual (B,C), and of the segments, (B,T,M,C)."""
        audio, visual = frame.mean(1).unbind(1)
        return frame.mean((1, 2)), audio, visual, frame


@trap("uncertainty heads of their own; named in the return statement",
      video_probs=0, modality_probs=(1, 2), segment_probs=3, tokens=(4,))  # fmt: skip
class UncertaintyNamed(Doubt):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        p_video, p_audio, p_visual, p_frame = self.pooled(self.fc_prob(x).sigmoid())
        u_video, u_audio, u_visual, u_frame = self.pooled(self.fc_unc(x).sigmoid())
        return p_video, p_audio, p_visual, p_frame, x, u_video, u_audio, u_visual, u_frame


@trap("two heads of one kind, nothing named: which is the probability?",
      tokens=(8,), undecided=PROBABILITIES)  # fmt: skip
class TwoHeadsUnnamed(Doubt):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(WIDTH, C), nn.Linear(WIDTH, C)
        del self.fc_prob, self.fc_unc, self.fc_video

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        both = [y for head in (self.one, self.two) for y in self.pooled(head(x).sigmoid())]
        return (*both, x)


@trap("1 - |2p - 1|, computed from the probabilities, without names",
      video_probs=0, modality_probs=(1, 2), segment_probs=3, tokens=(4,), optional=PROBABILITIES)  # fmt: skip
class UncertaintyComputed(Doubt):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        out = self.pooled(self.fc_prob(x).sigmoid())
        return (*out, x, *(1 - (2 * y - 1).abs() for y in out))


@trap("the computed uncertainties come before the probabilities, named",
      video_probs=4, modality_probs=(5, 6), segment_probs=7, tokens=(8,))  # fmt: skip
class UncertaintyFirst(Doubt):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        video_prob, a_prob, v_prob, frame_prob = self.pooled(self.fc_prob(x).sigmoid())
        unc, a_unc, v_unc, frame_unc = (1 - (2 * y - 1).abs() for y in (video_prob, a_prob, v_prob, frame_prob))
        return unc, a_unc, v_unc, frame_unc, video_prob, a_prob, v_prob, frame_prob, x


@trap("entropies, in a dict with names",
      video_probs="video_prob", modality_probs=("audio_prob", "visual_prob"), segment_probs="frame_prob",
      tokens=STACKED)  # fmt: skip
class EntropyDict(Doubt):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        names = ("video", "audio", "visual", "frame")
        probs = dict(zip(names, self.pooled(self.fc_prob(x).sigmoid()), strict=True))
        entropies = {f"{k}_entropy": F.binary_cross_entropy(p, p.detach(), reduction="none") for k, p in probs.items()}
        return {**entropies, **{f"{k}_prob": p for k, p in probs.items()}}


@trap("evidential: presence over strength, and the uncertainty K / S",
      video_probs="prob", segment_probs="frame_prob", tokens=STACKED)  # fmt: skip
class EvidentialUncertainty(Doubt):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        alpha, beta = F.softplus(self.fc_prob(x)) + 1, F.softplus(self.fc_unc(x)) + 1
        strength = alpha + beta
        frame, vacuity = alpha / strength, 2 / strength
        return {
            "uncertainty": vacuity.mean((1, 2)),
            "frame_uncertainty": vacuity,
            "prob": frame.mean((1, 2)),
            "frame_prob": frame,
        }


@trap("a video head of its own, whose segment head nothing else uses; uncertainties too",
      video_probs=0, segment_probs=1, modality_probs=DERIVE, tokens=STACKED)  # fmt: skip
class VideoHeadAndUncertainty(Doubt):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        video_prob, frame_prob = self.fc_video(x.mean((1, 2))).sigmoid(), self.fc_prob(x).sigmoid()
        video_unc, frame_unc = self.fc_unc(x.mean((1, 2))).sigmoid(), self.fc_unc(x).sigmoid()
        return video_prob, frame_prob, video_unc, frame_unc


@trap("no loss on its video probability reaches the segment head: the video head is separate",
      video_probs=1, segment_probs=0, modality_probs=DERIVE, tokens=STACKED)  # fmt: skip
class VideoHeadApart(Doubt):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(audio, visual), dim=2)
        return self.fc_prob(x).sigmoid(), self.fc_video(x.mean((1, 2))).sigmoid()


@trap("the audio token is audio + 3 W(visual); only its name says so",
      segment_probs=("audio_frames", "visual_frames"), modality_probs=("audio", "visual"), video_probs="video",
      tokens=TWICE)  # fmt: skip
class StrongMixingNamed(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual, strength=3.0)
        a_frames, v_frames = self.fc_prob(a).sigmoid(), self.fc_prob(v).sigmoid()
        a_prob, v_prob = a_frames.mean(1), v_frames.mean(1)
        video = (a_prob + v_prob) / 2
        return {
            "video": video, "visual": v_prob, "audio": a_prob, "visual_frames": v_frames, "audio_frames": a_frames,
        }  # fmt: skip


@trap("the same without names: only the residual path tells",
      segment_probs=(1, 0), tokens=TWICE, optional=ORDERED)  # fmt: skip
class StrongMixingUnnamed(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x1, x2 = self.encode(audio, visual, strength=3.0)
        y1, y2 = self.fc_prob(x1).sigmoid(), self.fc_prob(x2).sigmoid()
        return y2, y1


@trap("strong mixing by attention with a residual; variables are named in the return statement",
      video_probs=0, modality_probs=(1, 2), segment_probs=3, tokens=STACKED)  # fmt: skip
class StrongAttentionNamed(Base):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.project(audio, visual)
        a, v = a + 6 * self.attention(a, v, v)[0], v + 6 * self.attention(v, a, a)[0]
        frame_prob = self.fc_prob(torch.stack([a, v], dim=2)).sigmoid()
        a_prob, v_prob = frame_prob.mean(1).unbind(1)
        return (a_prob + v_prob) / 2, a_prob, v_prob, frame_prob


@trap("segments are audio first, modality probabilities visual first",
      video_probs=0, modality_probs=(2, 1), segment_probs=3, tokens=STACKED)  # fmt: skip
class OppositeOrders(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual)
        frame_prob = self.fc_prob(torch.stack([a, v], dim=2)).sigmoid()
        return frame_prob.mean((1, 2)), frame_prob[:, :, 1].mean(1), frame_prob[:, :, 0].mean(1), frame_prob


@trap("segments are visual first, modality probabilities audio first",
      video_probs=0, modality_probs=(1, 2), segment_probs=Out(3, order=VISUAL_FIRST),
      tokens=(Out(4, order=VISUAL_FIRST),))  # fmt: skip
class SegmentsVisualFirst(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual)
        x = torch.stack([v, a], dim=2)
        frame_prob = self.fc_prob(x).sigmoid()
        v_prob, a_prob = frame_prob.mean(1).unbind(1)
        return (a_prob + v_prob) / 2, a_prob, v_prob, frame_prob, x


@trap("forward(visual, audio, flag) with streams of equal widths, not by the streams' names", streams=EQUAL,
      inputs={"f_v": "visual", "f_a": "audio", "flag": Constant(True)}, segment_probs=0, tokens=STACKED)  # fmt: skip
class EqualWidthsFlag(Base):
    def __init__(self) -> None:
        super().__init__(8, 8)

    def forward(self, f_v: Tensor, f_a: Tensor, flag: bool) -> Any:
        a, v = self.encode(f_a, f_v, 0.2 if flag else 0.0)
        return self.fc_prob(torch.stack([a, v], dim=2)).sigmoid()


@trap("equal widths and arguments x1, x2: nothing says which is audio", streams=EQUAL,
      inputs=("audio", "visual"), video_probs=0, undecided=("inputs", "segment_probs", "tokens"))  # fmt: skip
class EqualWidthsUnhelpful(Base):
    def __init__(self) -> None:
        super().__init__()
        self.proj1, self.proj2 = nn.Linear(8, WIDTH), nn.Linear(8, WIDTH)
        del self.fc_a, self.fc_v

    def forward(self, x1: Tensor, x2: Tensor) -> Any:
        y1, y2 = self.proj1(x1), self.proj2(x2)
        frames = self.fc_prob(torch.stack([y1 + 0.2 * self.mix(y2), y2 + 0.2 * self.mix(y1)], dim=2)).sigmoid()
        return frames.mean((1, 2)), frames


class Parsed(NamedTuple):
    v_frames: Tensor
    a_frames: Tensor
    v: Tensor
    a: Tensor
    global_prob: Tensor


@trap("a named tuple, visual first, strong mixing",
      segment_probs=("a_frames", "v_frames"), modality_probs=("a", "v"), video_probs="global_prob",
      tokens=TWICE)  # fmt: skip
class NamedTupleOutput(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = (self.fc_prob(x).sigmoid() for x in self.encode(audio, visual, 3.0))
        return Parsed(v, a, v.mean(1), a.mean(1), (a + v).mean(1) / 2)


@dataclass
class Result:
    frame_prob: Tensor
    a_prob: Tensor
    v_prob: Tensor
    av_prob: Tensor


@trap("a dataclass, the modalities stacked visual first",
      segment_probs=Out("frame_prob", order=VISUAL_FIRST), modality_probs=("a_prob", "v_prob"), video_probs="av_prob",
      tokens=REVERSED)  # fmt: skip
class DataclassOutput(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual)
        frame = self.fc_prob(torch.stack([v, a], dim=2)).sigmoid()
        return Result(frame, frame[:, :, 1].mean(1), frame[:, :, 0].mean(1), frame.mean((1, 2)))


@trap("misleading names: what it calls audio is made of the visual stream alone (as MM-Pyramid's index 0)",
      segment_probs=Out("frames", order=VISUAL_FIRST), modality_probs=("visual", "audio"), video_probs="global",
      tokens=REVERSED, optional=ORDERED)  # fmt: skip
class MisleadingNames(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual, 0.0)
        frames = self.fc_prob(torch.stack([v, a], dim=2)).sigmoid()
        first, second = frames.mean(1).unbind(1)
        return {"global": frames.mean((1, 2)), "audio": first, "visual": second, "frames": frames}


@trap("misleading arguments: `audio` has the width of the visual stream, and the reverse",
      inputs={"audio": "visual", "visual": "audio"}, segment_probs=0, tokens=STACKED)  # fmt: skip
class MisleadingArguments(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = torch.stack(self.encode(visual, audio), dim=2)
        return self.fc_prob(x).sigmoid()
