"""A training step: Anchor alone, CoLeaF by the paper and by the authors' code; against the straightforward loop and the
arithmetic floor.

python -m benchmarks.bench_step [ROUNDS] [--json FILE]

Random features of LLP's shapes, batch 128, epoch 5 (every term is on). Times are the least of ROUNDS, taken in turn.
"x plain": how many times faster than the plain loop. "floor": the step's own matrix products (torch's FLOP counter) at
the machine's rate, measured in the same rounds over as long a time; "% of floor": how much of the step's time that is.
MB: what a first step needs beside weights and batch, in a process of its own. The losses of both loops are compared
first, with dropout off.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import Products, main_arguments, minima, peak_memory, peak_memory_of, print_table
from benchmarks.straightforward import losses_of_step, plain_model
from coleaf_framework import CoLeaFConfig, wrap
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import LLP_STREAMS, Batch, Progress

VIDEOS, SEGMENTS, CLASSES = 128, 10, 25
PROGRESS = Progress(epoch=5, step=3)
RECIPES = {"alone": CoLeaFConfig(enabled=False), "paper": CoLeaFConfig(), "official": CoLeaFConfig.official()}
Updates = Callable[[CoLeaF, Batch, Progress], Iterator[dict[str, Tensor]]]


def our_updates(model: CoLeaF, batch: Batch, progress: Progress) -> Iterator[dict[str, Tensor]]:
    """The terms of each update of a step of our loop, which shares the Anchor's forward pass."""
    shared = model.shared_pass(batch, progress)
    for which in model.updates(progress):
        yield model.update(batch, progress, which, shared).losses


def step(model: CoLeaF, updates: Updates, optimizer: torch.optim.Optimizer, batch: Batch) -> Callable[[], None]:
    """A training step to call."""

    def run() -> None:
        for terms in updates(model, batch, PROGRESS):
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()

    return run


def without_dropout(model: CoLeaF) -> CoLeaF:
    """A copy of the model that drops nothing."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return model


def compare(model: CoLeaF, batch: Batch) -> None:
    """Both loops' terms, held together."""
    ours, plain = without_dropout(model), plain_model(without_dropout(model))
    a: dict[str, Any] = {k: v for terms in our_updates(ours, batch, PROGRESS) for k, v in terms.items()}
    b: dict[str, Any] = {k: v for terms in losses_of_step(plain, batch, PROGRESS) for k, v in terms.items()}
    torch.testing.assert_close({k: a[k] for k in sorted(a)}, {k: b[k] for k in sorted(b)}, rtol=1e-3, atol=1e-4)


def random_batch(device: str) -> Batch:
    """128 videos of LLP's shapes."""
    streams = {name: torch.randn(VIDEOS, s.frames * SEGMENTS, s.width) for name, s in LLP_STREAMS.items()}
    return Batch(streams, labels=(torch.rand(VIDEOS, CLASSES) < 0.07).float()).to(device)


def make_step(model: CoLeaF, kind: str, batch: Batch) -> Callable[[], None]:
    """A step of our loop, with fused Adam as the trainer has it, or of the plain one."""
    net = model if kind == "ours" else plain_model(copy.deepcopy(model))
    fused = {"fused": True} if kind == "ours" else {}
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-4, **fused)
    return step(net, our_updates if kind == "ours" else losses_of_step, optimizer, batch)


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "--memory" in sys.argv:
        anchor, recipe, kind = sys.argv[-3:]
        model = wrap(anchor, config=RECIPES[recipe]).to(device).train()
        print(peak_memory(make_step(model, kind, random_batch(device))))
        return
    rounds, path = main_arguments(7)
    batch, products, rows = random_batch(device), Products(device), []
    for anchor in ("han", "cmpae"):
        runs: dict[str, Callable[[], None]] = {}
        for recipe, config in RECIPES.items():
            model = wrap(anchor, config=config).to(device).train()
            compare(model, batch)
            runs |= {f"{recipe} {kind}": make_step(model, kind, batch) for kind in ("ours", "plain")}
        for run in runs.values():
            run()
        seconds = minima(runs | products.runs, rounds)
        rate = products.rate(seconds)
        for recipe in RECIPES:
            ours, plain_seconds = seconds[f"{recipe} ours"], seconds[f"{recipe} plain"]
            with FlopCounterMode(display=False) as counter:
                runs[f"{recipe} ours"]()
            floor = counter.get_total_flops() / rate
            rows.append(
                [anchor, recipe, 1e3 * ours, ours / seconds["alone ours"], plain_seconds / ours]
                + [1e3 * floor, 100 * floor / ours, 1e-9 * rate]
                + [peak_memory_of("benchmarks.bench_step", anchor, recipe, kind) for kind in ("ours", "plain")]
            )
    columns = ["Anchor", "recipe", "ms", "x alone", "x plain", "floor ms", "% of floor", "GFLOP/s", "MB", "MB plain"]
    print_table(f"one training step, batch {VIDEOS}", columns, rows, path, rounds=rounds)


if __name__ == "__main__":
    main()
