"""A network in the published style, put into CoLeaF as it is: it returns a tuple and never its tokens.

python examples/wrap_unmodified.py
"""

import torch
from torch import nn

from coleaf_framework import CoLeaFTrainer, Constant, Out, Tap, TrainerConfig, describe, wrap
from coleaf_framework.data import SyntheticLLP


class Encoder(nn.Module):
    """Attention within and, if it is told to, across modalities."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(width, 1, batch_first=True)
        self.cross = nn.MultiheadAttention(width, 1, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, a: torch.Tensor, v: torch.Tensor, with_ca: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Two (B,T,D) -> two (B,T,D)."""
        mixed = []
        for x, other in ((a, v), (v, a)):
            y = x + self.own(x, x, x)[0]
            mixed.append(self.norm(y + self.cross(x, other, other)[0] if with_ca else y))
        return mixed[0], mixed[1]


class PublishedStyle(nn.Module):
    """Somebody's parser: visual before audio, a flag, four outputs by position, a module that nobody uses."""

    def __init__(self, width: int = 128, classes: int = 25) -> None:
        super().__init__()
        self.fc_a, self.fc_v, self.fc_st = nn.Linear(128, width), nn.Linear(2048, width), nn.Linear(512, width)
        self.encoder, self.old_encoder = Encoder(width), Encoder(width)
        self.fc_prob, self.fc_att = nn.Linear(width, classes), nn.Linear(width, classes)

    def forward(self, f_v: torch.Tensor, f_st: torch.Tensor, f_a: torch.Tensor, with_ca: bool) -> tuple:  # type: ignore[type-arg]
        """(B,8T,2048), (B,T,512), (B,T,128) -> global, audio and visual probabilities, and frames, visual first."""
        visual = self.fc_v(f_v).unflatten(1, (-1, 8)).mean(2) + self.fc_st(f_st)
        a, v = self.encoder(self.fc_a(f_a), visual, with_ca)
        x = torch.stack([v, a], dim=2)
        frames = self.fc_prob(x).sigmoid()
        v_prob, a_prob = (self.fc_att(x).softmax(1) * frames).sum(1).unbind(1)
        return (a_prob + v_prob) / 2, a_prob, v_prob, frames


def main(videos: int = 200, epochs: int = 3) -> None:
    """Look at it, wrap it, train it, take it out again."""
    torch.manual_seed(0)
    net = PublishedStyle()
    print(describe(net))
    train = SyntheticLLP("train", videos)
    model = wrap(
        net,
        inputs={"f_v": "visual", "f_st": "visual_st", "f_a": "audio", "with_ca": Constant(True)},
        outputs={
            "segment_probs": Out(3, order=("visual", "audio")),
            "video_probs": 0,
            "modality_probs": (1, 2),
        },
        tokens=Tap("encoder"),
        streams=train.streams,
        num_classes=len(train.classes),
        statistics=train.statistics(),
    )
    trainer = CoLeaFTrainer(model, TrainerConfig(epochs=epochs, batch_size=32), quiet=True)
    trainer.fit(train)
    print(trainer.evaluate(SyntheticLLP("test", videos // 2)))
    print(f"taken out again: {model.strip() is net}")


if __name__ == "__main__":
    main()
