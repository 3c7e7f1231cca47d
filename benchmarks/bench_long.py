"""A training step on long videos: UnAV-100's size against LLP's, time, memory and the largest tensor.

python -m benchmarks.bench_long [ROUNDS] [--json FILE]

Random features, 16 videos, epoch 5 (every term is on). "UnAV": rgb 1024, flow 1024 and vggish 128 wide, C = 100, videos
of 29 to 185 segments in one batch, padded to T = 185 and masked. "LLP": its three streams, C = 25, T = 10, no mask.
Times are the least of ROUNDS, taken in turn. "x LLP": how many times LLP's step; the batch has 185/10 = 18.5 times its
segments. MB: what a first step needs beside weights and batch, in a process of its own. "largest tensor": that a step
makes or changes, of all operations of forward, backward and update.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.bench_step import our_updates, step
from benchmarks.measuring import main_arguments, minima, peak_memory, peak_memory_of, print_table
from coleaf_framework import CoLeaFConfig, StreamSpec, wrap
from coleaf_framework.protocol import LLP_STREAMS, Batch

VIDEOS, SHORTEST, LONGEST = 16, 29, 185
UNAV_STREAMS = {
    "rgb": StreamSpec(1024, "visual"),
    "flow": StreamSpec(1024, "visual"),
    "vggish": StreamSpec(128, "audio"),
}
SIZES: dict[str, tuple[Mapping[str, StreamSpec], int, int]] = {
    "LLP": (LLP_STREAMS, 10, 25),
    "UnAV": (UNAV_STREAMS, LONGEST, 100),
}
RECIPES = {
    "alone": CoLeaFConfig(enabled=False),
    "paper": CoLeaFConfig(),
    "strong": CoLeaFConfig.strong(),
    "official": CoLeaFConfig.official(),
}
NO_NOISE = {"noise_ratios": {"audio": 0.0, "visual": 0.0}}


class LargestTensor(TorchDispatchMode):
    """Notes the largest floating-point tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numel, self.shape = 0, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for x in returned if isinstance(returned, tuple | list) else [returned]:
            if isinstance(x, Tensor) and x.is_floating_point() and x.numel() > self.numel:
                self.numel, self.shape = x.numel(), " x ".join(map(str, x.shape))
        return returned


def random_batch(size: str, device: str) -> Batch:
    """16 videos; UnAV's of unequal length."""
    streams, segments, classes = SIZES[size]
    features = {name: torch.randn(VIDEOS, s.frames * segments, s.width) for name, s in streams.items()}
    labels = (torch.rand(VIDEOS, classes) < 0.07).float()
    mask = None
    if size == "UnAV":
        mask = torch.arange(segments) < torch.linspace(SHORTEST, LONGEST, VIDEOS).round()[:, None]
    return Batch(features, labels, mask=mask).to(device)


def make_step(anchor: str, recipe: str, size: str, device: str) -> Callable[[], None]:
    """A training step to call."""
    streams, _, classes = SIZES[size]
    model = wrap(
        anchor,
        streams=streams,
        num_classes=classes,
        config=RECIPES[recipe],
        anchor_options=NO_NOISE if anchor == "cmpae" else {},
    )
    model.to(device).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    return step(model, our_updates, optimizer, random_batch(size, device))


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "--memory" in sys.argv:
        anchor, recipe, size = sys.argv[-3:]
        print(peak_memory(make_step(anchor, recipe, size, device)))
        return
    rounds, path = main_arguments(3)
    rows: list[list[Any]] = []
    for anchor in ("han", "cmpae"):
        for recipe in RECIPES:
            runs = {size: make_step(anchor, recipe, size, device) for size in SIZES}
            with LargestTensor() as largest:
                runs["UnAV"]()
            runs["LLP"]()
            seconds = minima(runs, rounds)
            memory = {size: peak_memory_of("benchmarks.bench_long", anchor, recipe, size) for size in SIZES}
            times = [1e3 * seconds["LLP"], 1e3 * seconds["UnAV"], seconds["UnAV"] / seconds["LLP"]]
            needed = [memory["LLP"], memory["UnAV"], memory["UnAV"] / memory["LLP"]]
            rows.append([anchor, recipe, *times, *needed, largest.shape])
    columns = ["Anchor", "recipe", "LLP ms", "UnAV ms", "x LLP", "LLP MB", "UnAV MB", "x LLP", "largest tensor"]
    print_table(f"one training step, {VIDEOS} videos", columns, rows, path, rounds=rounds)


if __name__ == "__main__":
    main()
