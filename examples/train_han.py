"""HAN inside CoLeaF, from Python: on your data in LLP's layout, or on TuxAV mini without an argument.

python examples/train_han.py [DATA]
"""

import sys
from pathlib import Path

import torch

from coleaf_framework import CoLeaFTrainer, TrainerConfig, load_anchor, wrap
from coleaf_framework.data import AVVPFolder

MINI = Path(__file__).parent / "tuxav_mini"


def main(root: Path | str = MINI, out: str = "runs/train_han", epochs: int = 15) -> None:
    """Train, score, and load the Anchor alone."""
    train, val, test = (AVVPFolder(root, split) for split in ("train", "val", "test"))
    torch.manual_seed(0)
    model = wrap("han", streams=train.streams, num_classes=len(train.classes))
    config = TrainerConfig(epochs=epochs, batch_size=64)
    trainer = CoLeaFTrainer(model, config, out=out, on_existing="overwrite", cache="memory")
    trainer.fit(train, val)
    print(trainer.evaluate(test))
    anchor = load_anchor(out)  # HAN alone, with its trained weights
    print(anchor(**{name: x[None] for name, x in test[0].streams.items()}).video_probs.round(decimals=2))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else MINI)
