"""Does CoLeaF's Reference come too late on a small data set? Trains HAN three ways and prints their validation scores.

    python benchmarks/late_reference.py DATA [EPOCHS]

HAN alone; HAN in CoLeaF; and a fresh HAN in CoLeaF whose Reference is the one that the second run ended with, all terms
on from the first epoch. Same seed, same schedule; the score is the mean of the segment-level support-only Ao, Vo, AV.
"""

from __future__ import annotations

import sys

from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder
from coleaf_framework.model import CoLeaF
from coleaf_framework.training import seed_everything

COLUMN = "support/segment/Type@AVo"


def main(root: str, epochs: int = 15) -> None:
    """Train the three on the folder `root`, in LLP's layout, and print one line per epoch."""
    train, val = AVVPFolder(root, "train"), AVVPFolder(root, "val")
    statistics = train.statistics()

    def scores(config: CoLeaFConfig, reference_of: CoLeaF | None = None) -> tuple[CoLeaF, list[float]]:
        seed_everything(0)
        model = wrap("han", streams=train.streams, num_classes=len(train.classes), statistics=statistics, config=config)
        if reference_of is not None:
            model.reference = reference_of.reference
        trainer = CoLeaFTrainer(model, TrainerConfig(epochs=epochs, batch_size=64, monitor=()), cache=True)
        return model, [entry["val"][COLUMN] for entry in trainer.fit(train, val)]

    _, alone = scores(CoLeaFConfig(enabled=False))
    model, coleaf = scores(CoLeaFConfig())
    _, taught = scores(CoLeaFConfig(anchor_warmup=0, reference_warmup=0), reference_of=model)
    print("epoch  alone  in CoLeaF  with a Reference trained before")
    for epoch, row in enumerate(zip(alone, coleaf, taught, strict=True), start=1):
        print("{:5}  {:5.1f}  {:9.1f}  {:9.1f}".format(epoch, *row))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
