"""Whether rounding to a dtype keeps the streams of a split."""

from __future__ import annotations

import contextlib
import math

import torch

from coleaf_framework.data.dataset import AVVPDataset
from coleaf_framework.data.store import DTYPES

_MOST_LOST = 0.01  # root mean square of the rounding error, against the deviation
_SAMPLED = 100  # videos of a split on which it is measured


def require_precision(data: AVVPDataset, dtype: str) -> None:
    """Check on some videos, evenly spaced, that rounding to a dtype keeps each stream.

    Unreadable videos, and values beyond the dtype's range, are left out here: packing names them.

    Args:
        data: The split.
        dtype: "float16", or another dtype in which a store keeps features.

    Raises:
        ValueError: the root mean square of the rounding error is above 1 % of the deviation about each feature's mean.
            The message names the stream and a dtype that would do.
    """
    videos = []
    for i in range(0, len(data), max(1, -(-len(data) // _SAMPLED))):
        with contextlib.suppress(ValueError, OSError):
            videos.append(data[i])
    for stream in data.streams if videos else ():
        x = torch.cat([video.streams[stream] for video in videos]).double()
        deviation = (x - x.mean(0)).square().mean().sqrt().item()
        lost = {name: (x.to(kind).double() - x).square().mean().sqrt().item() for name, kind in DTYPES.items()}
        if lost[dtype] <= _MOST_LOST * deviation or not deviation or not math.isfinite(lost[dtype]):
            continue
        would_do = next(name for name in DTYPES if lost[name] <= _MOST_LOST * deviation)  # at the latest float32
        raise ValueError(
            f"{data.name} {data.split}, stream {stream!r}: rounding to {dtype} loses "
            f"{100 * lost[dtype] / deviation:.3g} % of its deviation, {deviation:.3g}, of which 1 % is allowed: "
            f"use {would_do}"
        )
