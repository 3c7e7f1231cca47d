"""Whole epochs of CoLeaF as the trainer runs them, all videos kept on the device: HAN on averaged frames, CMPAE on all.

python -m benchmarks.bench_epoch [VIDEOS] [--json FILE]

Random features of LLP's shapes, batch 128, both recipes; on a GPU in bf16 and compiled, and with LLP's 10,000 videos by
default; on a CPU in float32 with 512. Seconds are those of the last of six epochs, without validation; "to LLP" scales
them to 10,000 videos. "floor" is the epoch's matrix products at the machine's measured rate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bench_step import RECIPES, make_step, random_batch
from benchmarks.measuring import Products, main_arguments, minima, print_table
from coleaf_framework import CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AveragedFrames, SyntheticLLP, Video
from coleaf_framework.protocol import LLP_STREAMS

LLP_VIDEOS = 10_000


class RandomVideos(SyntheticLLP):
    """Videos of LLP's shapes that cost nothing to make: all alike but for their labels."""

    def __init__(self, n: int) -> None:
        super().__init__("train", n)
        self._streams = {name: torch.randn(10 * s.frames, s.width) for name, s in LLP_STREAMS.items()}

    def __getitem__(self, index: int) -> Video:
        return Video(self.ids[index], self._streams, torch.nn.functional.one_hot(torch.tensor(index % 25), 25).float())


def main() -> None:
    """Print the table."""
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    videos, path = main_arguments(LLP_VIDEOS if gpu else 512)
    products = Products(device, torch.bfloat16 if gpu else torch.float32)
    rate = products.rate(minima(products.runs, 5))
    rows: list[list[Any]] = []
    for anchor in ("han", "cmpae"):
        data: Any = RandomVideos(videos)
        if anchor == "han":
            data = AveragedFrames(data)
        for recipe in ("paper", "official"):
            model = wrap(anchor, streams=data.streams, config=RECIPES[recipe])
            config = TrainerConfig(epochs=6, precision="bf16" if gpu else "float32", compile=gpu)
            trainer = CoLeaFTrainer(model, config, cache="device", quiet=True)
            history = trainer.fit(data)
            seconds = history[-1]["seconds"]
            with FlopCounterMode(display=False) as counter:
                batch = random_batch(device)
                if anchor == "han":
                    visual = batch.streams["visual"].unflatten(1, (-1, 8)).mean(2)
                    batch = type(batch)({**batch.streams, "visual": visual}, batch.labels)
                make_step(wrap(anchor, streams=data.streams, config=RECIPES[recipe]).to(device), "ours", batch)()
            floor = counter.get_total_flops() / 128 * videos / rate
            rows.append([anchor, recipe, seconds, videos / seconds, seconds * LLP_VIDEOS / videos, floor])
    columns = ["Anchor", "recipe", "s an epoch", "videos/s", "s, to LLP", "floor s"]
    print_table(f"epochs of {videos} videos, kept on the device", columns, rows, path, gflops=round(rate / 1e9))


if __name__ == "__main__":
    main()
