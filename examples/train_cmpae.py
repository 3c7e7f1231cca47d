"""CMPAE inside CoLeaF by the authors' recipe, with thresholds selected on validation; your data, or TuxAV mini.

python examples/train_cmpae.py [DATA]
"""

import sys
from pathlib import Path

import torch

from coleaf_framework import CoLeaFTrainer, recipe, select_thresholds, wrap
from coleaf_framework.data import AVVPFolder

MINI = Path(__file__).parent / "tuxav_mini"
NO_DENOISING = {"audio": 0.0, "visual": 0.0}  # label-noise ratios are published for LLP's 25 classes only


def main(root: Path | str = MINI, out: str = "runs/train_cmpae", epochs: int = 10) -> None:
    """Train, choose gates per class on validation, and score with and without them."""
    train, val, test = (AVVPFolder(root, split) for split in ("train", "val", "test"))
    official = recipe("official", "anchor.name=cmpae", f"trainer.epochs={epochs}", "trainer.batch_size=64")
    torch.manual_seed(0)
    model = wrap(
        "cmpae",
        streams=train.streams,
        num_classes=len(train.classes),
        config=official.coleaf,
        anchor_options={} if len(train.classes) == 25 else {"noise_ratios": NO_DENOISING},
    )
    trainer = CoLeaFTrainer(
        model, official.trainer, decision=official.decision, out=out, on_existing="overwrite", cache="memory"
    )
    trainer.fit(train, val)
    print(trainer.evaluate(test))
    chosen = select_thresholds(trainer.predict(val), column="event/V").chosen
    print(
        f"event-level V on {val.split}, where the visual gates were chosen: {chosen.before:.1f} -> {chosen.after:.1f}"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else MINI)
