"""What the backbones' CPU dropout saves of a training step, beside `torch.nn.Dropout`.

python -m benchmarks.bench_dropout [ROUNDS] [--json FILE]

CoLeaF by the paper, random features of LLP's shapes, batch 128, epoch 5. Times are the least of ROUNDS, taken in turn.
"""

from __future__ import annotations

import copy

import torch
from coleaf_backbones.attention import Dropout
from torch import nn

from benchmarks.bench_step import RECIPES, make_step, random_batch
from benchmarks.measuring import main_arguments, minima, print_table
from coleaf_framework import wrap
from coleaf_framework.model.coleaf import CoLeaF


def with_torch_dropout(model: CoLeaF) -> CoLeaF:
    """A copy of the model with `torch.nn.Dropout`."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return model


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    rounds, path = main_arguments(7)
    batch, rows = random_batch("cpu"), []
    for anchor in ("han", "cmpae"):
        model = wrap(anchor, config=RECIPES["paper"]).train()
        runs = {"ours": make_step(model, "ours", batch), "torch": make_step(with_torch_dropout(model), "ours", batch)}
        for run in runs.values():
            run()
        seconds = minima(runs, rounds)
        rows.append([anchor, 1e3 * seconds["ours"], 1e3 * seconds["torch"], seconds["torch"] / seconds["ours"]])
    print_table("one training step by the paper, on the CPU", ["Anchor", "ms", "ms nn.Dropout", "x"], rows, path)


if __name__ == "__main__":
    main()
