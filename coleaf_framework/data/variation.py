"""How streams vary between videos and over time: python -m coleaf_framework.data.variation [FOLDER ...]

Prints two figures for each stream of each folder's training split; without a folder, for synthetic LLP, whose noise was
fitted to these figures of real features (docs/results.md).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from coleaf_framework.data.averaging import AveragedFrames
from coleaf_framework.data.dataset import AVVPDataset
from coleaf_framework.data.opening import open_folder
from coleaf_framework.data.synthetic import SyntheticLLP


@dataclass(frozen=True)
class Variation:
    """Variation of a stream whose frames are averaged over each segment; both figures are means over its features.

    Args:
        constant: Share of the variance that lies between the means of videos, in [0,1]. Independent noise has 1 / T.
        persistence: Lag-1 autocorrelation about each video's own mean. Independent noise has about -1 / T.
    """

    constant: float
    persistence: float


def measure_variation(data: AVVPDataset, videos: int | None = None) -> dict[str, Variation]:
    """Measure the variation of each stream. Constant features are left out of the means.

    Args:
        data: A data set of at least two videos.
        videos: Number of videos to use, from the first on; all if None.

    Returns:
        Stream name -> its variation.
    """
    averaged = AveragedFrames(data)
    n = min(len(data), videos or len(data))
    means: dict[str, list[Tensor]] = {name: [] for name in data.streams}
    within = {name: torch.zeros(3, spec.width, dtype=torch.float64) for name, spec in data.streams.items()}
    for i in range(n):
        for name, x in averaged[i].streams.items():
            x = x.double()
            gap = x - x.mean(0)
            means[name].append(x.mean(0))
            within[name] += torch.stack([gap.square().mean(0), gap.square().sum(0), (gap[1:] * gap[:-1]).sum(0)])
    found = {}
    for name, (variance, squares, products) in within.items():
        between = torch.stack(means[name]).var(0, correction=0)
        share, correlation = between / (between + variance / n), products / squares
        found[name] = Variation(share[~share.isnan()].mean().item(), correlation[~correlation.isnan()].mean().item())
    return found


def main(folders: list[str]) -> None:
    """Print both figures of every stream of every folder."""
    data: list[AVVPDataset] = [open_folder(folder, "train") for folder in folders] or [SyntheticLLP("train", 1000)]
    for split in data:
        for stream, x in measure_variation(split).items():
            sys.stdout.write(
                f"{split.name}, {stream}: {x.constant:.2f} of the variance is constant within a video, "
                f"autocorrelation {x.persistence:.2f} from segment to segment\n"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
