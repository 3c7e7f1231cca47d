"""How often the 95 % interval of a paired difference leaves out the truth: python -m benchmarks.coverage [TRAININGS]

Two parts. Simulated: values with known effects of seeds and videos, in units of the rest's deviation. Real: small HANs
trained on TuxAV mini that differ in nothing but the seed, 36 of them (kept in runs/coverage); groups of S are drawn
without overlap and compared, so that the true difference is 0. Power: the share of draws whose interval leaves out 0
where the true difference is such that a normal test that knew every variance would find it in 80 %.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor

from coleaf_framework.metrics import ALL_KEYS
from coleaf_framework.metrics.intervals import VideoScores, paired_difference, standard_error
from coleaf_framework.record.settings import load_config
from coleaf_framework.results.columns import PRIMARY
from coleaf_framework.results.predictions_file import predictions_path, read_predictions, write_predictions
from coleaf_framework.training.experiment import open_split, train

MINI = Path(__file__).parents[1] / "examples/tuxav_mini"
SEEDS = (2, 3, 5, 10)
VIDEOS, DRAWS = 200, 10_000
# Deviations of seeds and of videos. On TuxAV, CoLeaF less HAN had 0 and 0.76, other pairs up to 0.02 and 1.9.
EFFECTS = ((0, 0), (0.02, 0), (0.05, 0), (0, 0.35), (0, 0.7), (0.02, 0.7), (0.02, 1), (0, 1.9), (0.1, 1))
REAL_DRAWS = 2_000


def missed(x: Tensor, truth: float) -> float:
    """Percent of draws (S,N,draws) whose interval leaves out a value."""
    error, freedom = standard_error(x)
    reach = error * torch.from_numpy(stats.t.ppf(0.975, freedom.clamp(max=1e9).numpy()))
    return 100 * ((x.mean((0, 1)) - truth).abs() > reach).double().mean().item()


def simulate() -> None:
    """Print false positives and power for each number of seeds and each pair of effects."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, DRAWS // 5, generator=generator, dtype=torch.float64)

    print("simulated: percent of intervals that leave out the truth / that leave out 0 where there is a difference")
    print(f"{'seeds':>6} {'videos':>6}" + "".join(f"{f'S={s}':>14}" for s in SEEDS))
    for of_seed, of_video in EFFECTS:
        cells = []
        for seeds in SEEDS:
            spread = (of_seed**2 / seeds + of_video**2 / VIDEOS + 1 / (seeds * VIDEOS)) ** 0.5
            difference = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * spread
            wrong, found = [], []
            for _ in range(5):
                x = of_seed * normal(seeds, 1) + of_video * normal(1, VIDEOS) + normal(seeds, VIDEOS)
                wrong.append(missed(x, 0))
                found.append(missed(x + difference, 0))
            cells.append(f"{sum(wrong) / 5:.1f} / {sum(found) / 5:.0f}")
        print(f"{of_seed:6} {of_video:6}" + "".join(f"{cell:>14}" for cell in cells))


def trainings(n: int, out: Path) -> VideoScores:
    """Scores of n small HANs, trained where they are not there yet."""
    each = []
    for seed in range(n):
        config = load_config(
            settings=(
                f"data.root={MINI.as_posix()!r}",
                "coleaf.enabled=false",
                "anchor.options.width=64",
                "trainer.epochs=8",
                "trainer.batch_size=64",
                "trainer.monitor=[]",
                "data.cache=memory",
                "data.average_frames=true",
                f"trainer.seed={seed}",
            )
        )
        folder = out / f"seed{seed}"
        if not predictions_path(folder, "test").is_file():
            trainer = train(config, folder, "overwrite", quiet=True)
            write_predictions(folder, trainer.predict(open_split(config.data, "test"), truth=True))
        each.append(read_predictions(folder, "test"))
    return VideoScores.of([x.decided() for x in each], each[0].truth)


def compare_real(scores: VideoScores) -> None:
    """Print how often disjoint groups of trainings seem to differ in the column of conclusions."""
    generator = torch.Generator().manual_seed(0)
    total, column = len(scores.f), ALL_KEYS.index(PRIMARY)
    print(f"real: {total} HANs that differ in the seed alone, percent of intervals in {PRIMARY} that leave out 0")
    for seeds in SEEDS:
        outside = 0
        for _ in range(REAL_DRAWS):
            order = torch.randperm(total, generator=generator)
            one, other = (
                VideoScores(scores.f[i], scores.supported[i]) for i in (order[:seeds], order[seeds : 2 * seeds])
            )
            found = paired_difference(one, other)
            outside += bool(found.low[column] > 0 or found.high[column] < 0)
        print(f"S={seeds}: {100 * outside / REAL_DRAWS:.1f}")


if __name__ == "__main__":
    simulate()
    compare_real(trainings(int(sys.argv[1]) if len(sys.argv) > 1 else 36, Path("runs/coverage")))
