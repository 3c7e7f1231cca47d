"""Does training in bf16 end within the seed noise of float32? On synthetic LLP, HAN in CoLeaF by the paper.

python -m benchmarks.bf16_noise [SEEDS] [--json FILE]

Trains on 600 synthetic videos with averaged frames for ten epochs and scores 300, both precisions from the same seeds.
Synthetic data: the numbers say nothing about LLP.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.measuring import main_arguments, print_table
from coleaf_framework import CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AveragedFrames, SyntheticLLP
from coleaf_framework.training.device import seed_everything

COLUMNS = ("segment/Type@AVo", "support/segment/Type@AVo", "event/Type@AV", "support/event/Type@AVo")


def scores(
    precision: Any, seed: int, train: AveragedFrames, test: AveragedFrames, statistics: Any, **settings: Any
) -> dict[str, float]:
    """Test columns of one run."""
    seed_everything(seed)
    model = wrap("han", streams=train.streams, statistics=statistics)
    settings = {"epochs": 10, "batch_size": 32, "monitor": ()} | settings
    config = TrainerConfig(seed=seed, precision=precision, **settings)
    trainer = CoLeaFTrainer(model, config, cache="memory", quiet=True)
    trainer.fit(train)
    return dict(trainer.evaluate(test).scores)


def main() -> None:
    """Print the table."""
    seeds, path = main_arguments(4)
    train, test = AveragedFrames(SyntheticLLP("train", 600)), AveragedFrames(SyntheticLLP("test", 300))
    known = train.statistics()
    found = {p: [scores(p, seed, train, test, known) for seed in range(seeds)] for p in ("float32", "bf16")}
    rows = []
    for column in COLUMNS:
        full, half = ([run[column] for run in found[p]] for p in ("float32", "bf16"))
        differences = [h - f for f, h in zip(full, half, strict=True)]
        both = [f(scores) for scores in (full, half) for f in (statistics.mean, statistics.stdev)]
        rows.append([column, *both, statistics.mean(differences)])
    columns = ["column", "float32", "deviation", "bf16", "deviation", "bf16 - float32"]
    print_table(f"bf16 against float32, synthetic data, {seeds} seeds", columns, rows, path)


if __name__ == "__main__":
    main()
