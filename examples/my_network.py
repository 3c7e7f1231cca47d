"""A network of one's own in CoLeaF: the twelve lines of the README, on synthetic LLP.

python examples/my_network.py
"""

import torch
from torch import nn

from coleaf_framework import AnchorOutput, CoLeaFTrainer, StreamSpec, TrainerConfig, wrap
from coleaf_framework.data import SyntheticLLP


class MyNet(nn.Module):
    """A small AVVP network: it declares its inputs and returns three tensors."""

    streams = {"audio": StreamSpec(128, "audio"), "visual_st": StreamSpec(512, "visual")}  # noqa: RUF012
    num_classes = 25

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.audio = nn.Linear(128, width)
        self.visual = nn.Linear(512, width)
        self.attention = nn.MultiheadAttention(width, num_heads=4, batch_first=True)
        self.classify = nn.Linear(width, 25)

    def forward(self, audio: torch.Tensor, visual_st: torch.Tensor) -> AnchorOutput:
        """(B,T,128) and (B,T,512) -> probabilities and tokens."""
        a, v = self.audio(audio), self.visual(visual_st)
        tokens = torch.stack([a + self.attention(a, v, v)[0], v + self.attention(v, a, a)[0]], dim=2)  # (B,T,2,D)
        segment_probs = self.classify(tokens).sigmoid()  # (B,T,2,25)
        return AnchorOutput(segment_probs, video_probs=segment_probs.mean((1, 2)), tokens=tokens)


def main() -> None:
    """Train briefly, and show what the Anchor can do without the Reference."""
    torch.manual_seed(0)
    model = wrap(MyNet)
    trainer = CoLeaFTrainer(model, TrainerConfig(epochs=3, batch_size=32))
    trainer.fit(SyntheticLLP("train", 200), SyntheticLLP("val", 50))
    print(trainer.evaluate(SyntheticLLP("test", 100)))
    print(f"to deploy: {type(model.anchor).__name__}, {sum(p.numel() for p in model.anchor.parameters()):,} parameters")


if __name__ == "__main__":
    main()
