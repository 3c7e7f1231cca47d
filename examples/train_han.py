"""HAN inside CoLeaF, from Python: on your data in LLP's layout, or on synthetic LLP without an argument.

python examples/train_han.py [DATA]
"""

import sys

import torch

from coleaf_framework import CoLeaFTrainer, TrainerConfig, load_anchor, wrap
from coleaf_framework.data import AVVPFolder, SyntheticLLP


def main(root: str | None = None, out: str = "runs/train_han") -> None:
    """Train, score, and load the Anchor alone."""
    if root is None:
        train, val = SyntheticLLP("train", 400), SyntheticLLP("val", 100)
    else:
        train, val = AVVPFolder(root, "train"), AVVPFolder(root, "val")
    torch.manual_seed(0)
    model = wrap("han", streams=train.streams, num_classes=len(train.classes), statistics=train.statistics())
    config = TrainerConfig(epochs=3 if root is None else 15, batch_size=64)
    trainer = CoLeaFTrainer(model, config, out=out, on_existing="overwrite", cache="memory")
    trainer.fit(train, val)
    print(trainer.evaluate(val, "HAN in CoLeaF"))
    anchor = load_anchor(out)  # takes raw features: the standardisation comes with it
    print(anchor(**{name: x[None] for name, x in val[0].streams.items()}).video_probs.round(decimals=2))


if __name__ == "__main__":
    main(*sys.argv[1:2])
