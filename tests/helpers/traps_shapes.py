"""Look-alikes whose shapes mislead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_framework import Out, Tap
from tests.helpers.networks import NUM_CLASSES as C
from tests.helpers.traps import (
    FRAMES,
    REVERSED,
    STACKED,
    TWICE,
    VISUAL_FIRST,
    WIDTH,
    Base,
    Encodes,
    returned,
    trap,
)


@trap("a background class: C + 1 columns",
      tokens=STACKED, optional=("tokens",),
      undecided=("segment_probs", "video_probs", "modality_probs"))  # fmt: skip
class Background(Encodes):
    def __init__(self) -> None:
        super().__init__(classes=C + 1)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned(self.fc_prob(self.stacked(audio, visual)).sigmoid())


@trap("modalities folded into the batch, (B M) T C",
      segment_probs=Out(0, layout="(b m) t c"), video_probs=1,
      tokens=(Tap("fc_prob", at="input", layout="(b m) t d"),))  # fmt: skip
class FoldedModalities(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        frames = self.fc_prob(torch.stack(self.encode(audio, visual), dim=1).flatten(0, 1)).sigmoid()
        return frames, frames.mean(1).unflatten(0, (-1, 2)).mean(1)


@trap("classes before time, (B,M,C,T)", segment_probs=Out(0, layout="b m c t"), tokens=STACKED)
class ClassesBeforeTime(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return self.fc_prob(self.stacked(audio, visual)).sigmoid().permute(0, 2, 3, 1)


@trap("a softmax over classes, and one over time, beside the probabilities; both named",
      segment_probs="frame_prob", video_probs="prob", tokens=STACKED)  # fmt: skip
class Softmaxes(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        logits = self.fc_prob(self.stacked(audio, visual))
        class_att, frame_att, frames = (3 * logits).softmax(-1), logits.softmax(1), logits.sigmoid()
        pooled = (class_att * frame_att * frames).sum((1, 2))
        return {"class_att": class_att, "frame_att": frame_att, "frame_prob": frames, "prob": pooled}


@trap("attention maps of the shape (B,T,C), in [0, 1] and not normalised, from heads of their own; named",
      segment_probs=("a_frame_prob", "v_frame_prob"), modality_probs=("a_prob", "v_prob"), tokens=TWICE)  # fmt: skip
class SigmoidAttention(Base):
    def __init__(self) -> None:
        super().__init__()
        self.fc_att = nn.Linear(WIDTH, C)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual)
        a_att, v_att = self.fc_att(a).sigmoid(), self.fc_att(v).sigmoid()
        a_frames, v_frames = self.fc_prob(a).sigmoid(), self.fc_prob(v).sigmoid()
        a_prob, v_prob = ((w * p).sum(1) / w.sum(1) for w, p in ((a_att, a_frames), (v_att, v_frames)))
        return {
            "a_att": a_att, "v_att": v_att, "a_prob": a_prob, "v_prob": v_prob, "a_frame_prob": a_frames,
            "v_frame_prob": v_frames,
        }  # fmt: skip


@trap("contrastive logits (B,B) and similarities (B,T,T), where B = C and T = 10",
      segment_probs=2, video_probs=3, tokens=STACKED)  # fmt: skip
class Contrastive(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = F.normalize(self.stacked(audio, visual), dim=-1)
        a, v = x.unbind(2)
        return a.mean(1) @ v.mean(1).T, a @ v.mT, *returned(self.fc_prob(x).sigmoid())


@trap("detached copies before the outputs that carry a gradient", segment_probs=2, video_probs=3, tokens=STACKED)
class DetachedCopies(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        out = returned(self.fc_prob(self.stacked(audio, visual)).sigmoid())
        return *(x.detach() for x in out), *out


@trap("the same tensor twice, and a copy", segment_probs=0, video_probs=1, tokens=STACKED)
class Duplicates(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        frames, video = returned(self.fc_prob(self.stacked(audio, visual)).sigmoid())
        return frames, video, frames, video, frames.clone(), video + 0


@trap("a class token in front of the segments, (B,T+1,M,C), beside the segments alone; named",
      segment_probs="frame_prob", video_probs="video_prob", tokens=(Out("tokens"),))  # fmt: skip
class OneMoreSegment(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = self.stacked(audio, visual)
        every = torch.cat([x.mean(1, keepdim=True), x], dim=1)
        probs = self.fc_prob(every).sigmoid()
        video = probs[:, 0].mean(1)
        return {"all_prob": probs, "video_prob": video, "frame_prob": probs[:, 1:], "all": every, "tokens": x}


@trap("a list of the outputs of every layer, the last of which counts", segment_probs=0, video_probs=1,
      tokens=(Out("2.2"),))  # fmt: skip
class LayerList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x, every = torch.stack(self.encode(audio, visual), dim=2), []
        for layer in self.layers:
            x = x + layer(x).tanh()
            every.append(x)
        return *returned(self.fc_prob(x).sigmoid()), every


class Sized(Encodes):
    """Returns segments with classes before time, both modalities' probabilities, and its video's."""

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = self.stacked(audio, visual)
        frame_prob = self.fc_prob(x).sigmoid()
        return frame_prob.permute(0, 3, 1, 2), frame_prob.mean(1), frame_prob.mean((1, 2))


SIZED = {"segment_probs": Out(0, layout="b c t m"), "modality_probs": 1, "video_probs": 2, "tokens": STACKED}


@trap("as many classes as segments: C = T = 10", num_classes=10, **SIZED)
class TenClasses(Sized):
    def __init__(self) -> None:
        super().__init__(10)


@trap("as many classes as modalities: C = 2", num_classes=2, **SIZED)
class TwoClasses(Sized):
    def __init__(self) -> None:
        super().__init__(2)


@trap("as many classes as tokens are wide: C = D = 8", num_classes=8, **SIZED)
class ClassesAsWide(Sized):
    def __init__(self) -> None:
        super().__init__(8, 8)


@trap("as many classes as videos in a probe's larger batch: C = 4", num_classes=4, **SIZED)
class FourClasses(Sized):
    def __init__(self) -> None:
        super().__init__(4)


@trap("half of its modules never run", **FRAMES, tokens=STACKED)
class DeadModules(Encodes):
    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder, self.visual_encoder = nn.Linear(WIDTH, WIDTH), nn.LSTM(WIDTH, WIDTH)
        self.head, self.classifier = nn.Linear(WIDTH, C), nn.Linear(WIDTH, C)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned(self.fc_prob(self.stacked(audio, visual)).sigmoid())


@trap("logits as well as probabilities of the segments, as VALOR returns: either is right",
      video_probs="video", segment_probs="frames", tokens=STACKED)  # fmt: skip
class LogitsAndProbs(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        logits = self.fc_prob(self.stacked(audio, visual))
        return {"video": logits.sigmoid().mean((1, 2)), "frames_logits": logits, "frames": logits.sigmoid()}


@trap("(C,C) logits without a batch axis, similarities (B T,T) and their integer targets, as MGN, MA and JoMoLD return",
      video_probs=3, segment_probs=4, tokens=STACKED)  # fmt: skip
class NoBatchAxis(Encodes):
    def __init__(self) -> None:
        super().__init__()
        self.class_tokens, self.fc_cls = nn.Parameter(torch.randn(C, WIDTH)), nn.Linear(WIDTH, C)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = self.stacked(audio, visual)
        similarities = (x[:, :, 0] @ x[:, :, 1].mT).flatten(0, 1)
        targets = torch.arange(x.shape[1]).repeat(len(x))
        frames, video = returned(self.fc_prob(x).sigmoid())
        return self.fc_cls(self.class_tokens), similarities, targets, video, frames


@trap("a pyramid: the classifier runs on three levels and its outputs are averaged, as DHHN's; the last sums all",
      **FRAMES, optional=("tokens",), tokens=(
          Tap("fc_prob", at="input", call="last"),
          Tap("fc_prob", at="input", call=(0, 1, 2), combine=(1 / 3, 1 / 3, 1 / 3))))  # fmt: skip
class Pyramid(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = self.stacked(audio, visual)
        levels = [x, x + x.tanh(), x + x.tanh() + x.sigmoid()]
        return returned(torch.stack([self.fc_prob(level).sigmoid() for level in levels]).mean(0))


@trap("audio is updated first, and visual then from the new audio, as in VALOR; strong, and named",
      segment_probs=Out("frame_prob", order=VISUAL_FIRST), modality_probs=("audio_prob", "visual_prob"),
      tokens=REVERSED)  # fmt: skip
class SequentialUpdate(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.project(audio, visual)
        a = a + self.mix(v)
        v = v + 2 * self.mix(a)
        frame_prob = self.fc_prob(torch.stack([v, a], dim=2)).sigmoid()
        visual_prob, audio_prob = frame_prob.mean(1).unbind(1)
        return {"frame_prob": frame_prob, "audio_prob": audio_prob, "visual_prob": visual_prob}
