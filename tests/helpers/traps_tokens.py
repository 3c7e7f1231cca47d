"""Look-alikes whose tokens are not where they seem to be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_framework import Out, Tap
from tests.helpers.networks import NUM_CLASSES as C
from tests.helpers.traps import (
    ENCODER,
    FRAMES,
    STACKED,
    TWICE,
    WIDTH,
    Base,
    Encodes,
    returned,
    trap,
)


@trap("returns scores of width 1, (B,T,M,1), which look like tokens", **FRAMES, tokens=STACKED)
class WidthOne(Encodes):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(WIDTH, 1)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = self.stacked(audio, visual)
        scores = self.score(x)
        return *returned(self.fc_prob(x * scores.sigmoid()).sigmoid()), scores


@trap("an nn.Identity that runs twice within the audio branch", **FRAMES, tokens=TWICE)
class IdentityTwice(Base):
    def __init__(self) -> None:
        super().__init__()
        self.identity = nn.Identity()

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual)
        a = self.identity(self.identity(a) * 2)
        return returned(torch.stack([self.fc_prob(x) for x in (a, v)], dim=2).sigmoid())


@trap("returns its projected inputs, as HCMN does, and not its tokens", **FRAMES, tokens=STACKED)
class ProjectionsReturned(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x_a, x_v = self.project(audio, visual)
        return *returned(self.fc_prob(self.stacked(audio, visual)).sigmoid()), x_a, x_v


@trap("the classifier is a product with prototypes, no module", **FRAMES, tokens=ENCODER)
class Prototypes(Encodes):
    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(C, WIDTH))
        del self.fc_prob

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned((self.stacked(audio, visual) @ self.prototypes.T).sigmoid())


@trap("the classifier is an MLP: its hidden layer holds no tokens", **FRAMES, tokens=ENCODER)
class MLPHead(Encodes):
    def __init__(self) -> None:
        super().__init__()
        self.fc_prob = nn.Sequential(nn.Linear(WIDTH, 20), nn.ReLU(), nn.Linear(20, C))  # type: ignore[assignment]

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned(self.fc_prob(self.stacked(audio, visual)).sigmoid())


@trap("a classifier for each modality, the visual one first",
      **FRAMES, tokens=((Tap("head_a", at="input"), Tap("head_v", at="input")),))  # fmt: skip
class ClassifierEach(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head_v, self.head_a = nn.Linear(WIDTH, C), nn.Linear(WIDTH, C)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual)
        v_frames = self.head_v(v).sigmoid()
        return returned(torch.stack([self.head_a(a).sigmoid(), v_frames], dim=2))


@trap("a shared classifier that runs on visual tokens first",
      segment_probs=(0, 1), tokens=(Tap("fc_prob", at="input", call={"audio": 1, "visual": 0}),))  # fmt: skip
class VisualRunsFirst(Base):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        a, v = self.encode(audio, visual)
        v_frames = self.fc_prob(v).sigmoid()
        return self.fc_prob(a).sigmoid(), v_frames


@trap("the head holds its sigmoid", **FRAMES, tokens=ENCODER)
class SigmoidInHead(Encodes):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(WIDTH, C), nn.Sigmoid())

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned(self.head(self.stacked(audio, visual)))


@trap("layer norm and dropout before the classifier: before or after them is right, dropped or not",
      **FRAMES, tokens=(*ENCODER, Tap("norm"), Tap("drop"), Tap("fc_prob", at="input")))  # fmt: skip
class NormBeforeHead(Encodes):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(WIDTH), nn.Dropout(0.3)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return returned(self.fc_prob(self.drop(self.norm(self.stacked(audio, visual)))).sigmoid())


@trap("calls F.linear on the weight of a module that never runs", **FRAMES, tokens=ENCODER)
class FunctionalLinear(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = self.stacked(audio, visual)
        return returned(F.linear(x, self.fc_prob.weight, self.fc_prob.bias).sigmoid())


@trap("returns normalised copies of its tokens, for a contrastive loss; the classifier reads others",
      **FRAMES, tokens=STACKED)  # fmt: skip
class NormalisedCopies(Encodes):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = self.stacked(audio, visual)
        return *returned(self.fc_prob(x).sigmoid()), F.normalize(x[:, :, 0], dim=-1), F.normalize(x[:, :, 1], dim=-1)


@trap("class-wise tokens (B,T,C,D) with a classifier of width 1, as CVCMS has; or the tokens that they are made of",
      **FRAMES, tokens=(Out(2, visual=3, layout="b t c d", reduce="mean"), *ENCODER))  # fmt: skip
class ClassTokens(Encodes):
    def __init__(self) -> None:
        super().__init__()
        self.to_classes, self.fc_prob = nn.Linear(WIDTH, C * 8), nn.Linear(8, 1)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        x = self.to_classes(self.stacked(audio, visual)).relu().unflatten(-1, (C, 8))
        return *returned(self.fc_prob(x).squeeze(-1).sigmoid()), x[:, :, 0], x[:, :, 1]
