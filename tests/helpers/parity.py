"""Weights and inputs of the recorded answers, drawn as their README says."""

from __future__ import annotations

import zlib

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
