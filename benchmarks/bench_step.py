"""A training step: Anchor alone, CoLeaF by the paper and by the authors' code; against the straightforward loop and the
arithmetic floor.

python -m benchmarks.bench_step [ROUNDS] [--json FILE]

Random features of LLP's shapes, batch 128, epoch 5 (every term is on). Times are the least of ROUNDS, taken in turn.
"floor" is the step's own matrix products (torch's FLOP counter) over the machine's measured rate; "of floor" says how
much of the step's time that is. The losses of both loops are compared first, with dropout off.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import main_arguments, matmul_rate, minima, peak_memory, report
from benchmarks.straightforward import losses_of_step, plain_model
from coleaf_framework import CoLeaFConfig, wrap
from coleaf_framework.model import CoLeaF
from coleaf_framework.protocol import LLP_STREAMS, Batch, Progress

VIDEOS, SEGMENTS, CLASSES = 128, 10, 25
PROGRESS = Progress(epoch=5, step=3)
RECIPES = {"alone": CoLeaFConfig(enabled=False), "paper": CoLeaFConfig(), "official": CoLeaFConfig.official()}
Updates = Callable[[CoLeaF, Batch, Progress], Iterator[dict[str, Tensor]]]


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
    a: dict[str, Any] = {k: v for terms in ours.updates(batch, PROGRESS) for k, v in terms.items()}
    b: dict[str, Any] = {k: v for terms in losses_of_step(plain, batch, PROGRESS) for k, v in terms.items()}
    torch.testing.assert_close({k: a[k] for k in sorted(a)}, {k: b[k] for k in sorted(b)}, rtol=1e-3, atol=1e-4)


def main() -> None:
    """Print the table."""
    rounds, path = main_arguments(7)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    streams = {name: torch.randn(VIDEOS, s.frames * SEGMENTS, s.width) for name, s in LLP_STREAMS.items()}
    batch = Batch(streams, labels=(torch.rand(VIDEOS, CLASSES) < 0.07).float()).to(device)
    rate = matmul_rate(device)
    rows = []
    for anchor in ("han", "cmpae"):
        runs: dict[str, Callable[[], None]] = {}
        for recipe, config in RECIPES.items():
            model = wrap(anchor, config=config).to(device).train()
            compare(model, batch)
            plain = plain_model(copy.deepcopy(model))
            for name, net, updates in (("ours", model, CoLeaF.updates), ("plain", plain, losses_of_step)):
                fused = {"fused": True} if name == "ours" else {}
                optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-4, **fused)
                runs[f"{recipe} {name}"] = step(net, updates, optimizer, batch)
        for run in runs.values():
            run()
        seconds = minima(runs, rounds)
        for recipe in RECIPES:
            ours, plain_seconds = seconds[f"{recipe} ours"], seconds[f"{recipe} plain"]
            with FlopCounterMode(display=False) as counter:
                runs[f"{recipe} ours"]()
            floor = counter.get_total_flops() / rate
            rows.append(
                [anchor, recipe, 1e3 * ours, ours / seconds["alone ours"], plain_seconds / ours]
                + [1e3 * floor, 100 * floor / ours]
                + [peak_memory(runs[f"{recipe} {name}"]) for name in ("ours", "plain")]
            )
    columns = ["Anchor", "recipe", "ms", "x alone", "faster than plain", "floor ms", "% of floor", "MB", "MB plain"]
    report("one training step, batch 128", columns, rows, path, gflops=round(rate / 1e9), rounds=rounds)


if __name__ == "__main__":
    main()
