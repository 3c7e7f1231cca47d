"""CMPAE inside CoLeaF by the authors' recipe, with thresholds selected on validation; your data, or synthetic LLP.

python examples/train_cmpae.py [DATA]
"""

import sys

import torch

from coleaf_framework import CoLeaFTrainer, recipe, wrap
from coleaf_framework.data import AVVPFolder, SyntheticLLP
from coleaf_framework.training import select_thresholds

NO_DENOISING = {"audio": 0.0, "visual": 0.0}  # label-noise ratios are published for LLP's 25 classes only


def main(root: str | None = None, out: str = "runs/train_cmpae") -> None:
    """Train, choose gates per class, and score with and without them."""
    if root is None:
        train, val = SyntheticLLP("train", 300), SyntheticLLP("val", 100)
    else:
        train, val = AVVPFolder(root, "train"), AVVPFolder(root, "val")
    classes = len(train.classes)
    official = recipe("official", "anchor.name=cmpae", f"trainer.epochs={3 if root is None else 10}")
    torch.manual_seed(0)
    model = wrap(
        "cmpae",
        streams=train.streams,
        num_classes=classes,
        statistics=train.statistics(),
        config=official.coleaf,
        anchor_options={} if classes == 25 else {"noise_ratios": NO_DENOISING},
    )
    trainer = CoLeaFTrainer(
        model, official.trainer, decision=official.decision, out=out, on_existing="overwrite", cache="memory"
    )
    trainer.fit(train, val)
    print(trainer.evaluate(val, "CMPAE in CoLeaF"))
    selection = select_thresholds(trainer, val, column="event/V")
    chosen = selection.chosen
    print(
        f"event-level V on {val.split}, where the visual gates were chosen: {chosen.before:.1f} -> {chosen.after:.1f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:2])
