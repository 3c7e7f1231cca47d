"""How much trained runs mix the modalities: python -m benchmarks.mixing DATA SPLIT RUN...

Of each modality's segment probabilities, the mean absolute change where the other modality's streams are taken from
another video (which shares no label), as a percentage of that change plus the change where its own streams are. 0 is a
network whose modalities never meet, 50 one that heeds both alike. Runs that differ in their seed alone share a line.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

from torch import Tensor

from coleaf_framework.data import AVVPDataset, open_folder
from coleaf_framework.labelling.exchange import ExchangedTrack, draw_partners
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.training import CoLeaFTrainer
from coleaf_framework.training.experiment import load_run


def mixing(trainer: CoLeaFTrainer, data: AVVPDataset) -> list[float]:
    """The percentage of each modality, audio first."""
    own = trainer.predict(data)
    partners = draw_partners(own.ids, own.labels)
    exchanged = [trainer.predict(ExchangedTrack(data, partners, modality)).segment_probs for modality in MODALITIES]

    def change(modality: int, probs: Tensor) -> float:
        difference = (probs[:, :, modality] - own.segment_probs[:, :, modality]).abs().mean(-1)
        return float(difference[own.mask].double().mean())

    shares = []
    for modality in range(len(MODALITIES)):
        own_track, other_track = (change(modality, exchanged[i]) for i in (modality, 1 - modality))
        shares.append(100 * other_track / (own_track + other_track))
    return shares


def main() -> None:
    """Print a line for each group of runs."""
    root, split, *folders = sys.argv[1:]
    data = open_folder(Path(root), split)
    groups: dict[str, list[list[float]]] = defaultdict(list)
    for folder in sorted(folders):
        _, trainer = load_run(Path(folder))
        groups[re.sub(r"-seed\d+$", "", Path(folder).name)].append(mixing(trainer, data))
    print(f"{'run':24} {'seeds':>5} {'audio':>7} {'visual':>7}   percent of the change that the other modality makes")
    for name, found in groups.items():
        audio, visual = (sum(x) / len(found) for x in zip(*found, strict=True))
        print(f"{name:24} {len(found):5} {audio:7.1f} {visual:7.1f}")


if __name__ == "__main__":
    main()
