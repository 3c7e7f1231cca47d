"""Weights and inputs of the recorded answers, drawn as their README says."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def weight(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    w = 0.05 * rng.standard_normal(shape)
    if "norm" in name and name.endswith("weight"):
        w = 1.0 + w
    return torch.from_numpy(w.astype(np.float32))


def inputs(batch: int = 4, segments: int = 10) -> dict[str, Tensor]:
    """The recorded float32 inputs, as float64: what then differs from the answers is their own rounding.

    In float32 sums of 2,048 terms differ by up to 1e-5 from one processor to the next.
    """
    rng = np.random.default_rng([0, 7])
    audio = rng.standard_normal((batch, segments, 128))
    visual = np.abs(rng.standard_normal((batch, 8 * segments, 2048)))
    visual_st = rng.standard_normal((batch, segments, 512))
    return {
        name: torch.from_numpy(x.astype(np.float32)).double()
        for name, x in {"audio": audio, "visual": visual, "visual_st": visual_st}.items()
    }


def zoo_weights(shapes: Path) -> dict[str, Tensor]:
    """Every entry of a `NAME.state_dict.json` of the zoo, drawn by its rule, as a published checkpoint holds them.

    Names that are tied to an earlier one hold the same tensor there; the later name's draw is what remains, as when
    they are loaded in order. Scalars, which count batches, are 0.
    """
    entries = json.loads(shapes.read_text())
    drawn = {name: zoo_weight(name, tuple(entry["shape"])) for name, entry in entries.items()}
    for name, entry in entries.items():
        if "tied_to" in entry:
            drawn[entry["tied_to"]] = drawn[name]
    return drawn


def zoo_weight(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """`weight`, by the zoo's rule: variances are above 1, scalars 0."""
    if not shape:
        return torch.zeros((), dtype=torch.int64)
    drawn = weight(name, shape, seed)
    return 1.0 + drawn.abs() if name.endswith("running_var") else drawn


def zoo_labels(stream: int = 13, shape: tuple[int, ...] = (4, 25)) -> Tensor:
    """Labels of the zoo's recorded losses, as float64."""
    return torch.from_numpy((np.random.default_rng([0, stream]).random(shape) < 0.15).astype(np.float64))
