"""Scoring 1,200 videos of LLP's size: ours against the plain loops that the tests hold it to.

    python benchmarks/bench_scores.py

Prints milliseconds on one core and their ratio.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from coleaf_framework.data.synthetic import draw_events, draw_labels
from coleaf_framework.metrics import parsing_scores
from tests.helpers.slow_scores import slow_scores

VIDEOS, SLOW_VIDEOS = 1200, 60


def main() -> None:
    """Time both on events drawn from LLP's statistics, predictions with a tenth of the segments flipped."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    truth = np.stack([draw_events(rng, draw_labels(rng)) for _ in range(VIDEOS)])
    present = truth.any((1, 2), keepdims=True)
    predictions = truth ^ (present & (rng.random(truth.shape) < 0.1))
    fast_input = [torch.from_numpy(x) for x in (predictions, truth)]
    parsing_scores(*fast_input)

    times = []
    for _ in range(5):
        start = time.perf_counter()
        parsing_scores(*fast_input)
        times.append(time.perf_counter() - start)
    fast = float(np.median(times)) / VIDEOS
    start = time.perf_counter()
    slow_scores(predictions[:SLOW_VIDEOS], truth[:SLOW_VIDEOS])
    slow = (time.perf_counter() - start) / SLOW_VIDEOS
    print(f"tensor expression  {1e3 * fast:8.4f} ms a video  ({1e3 * fast * VIDEOS:.0f} ms for {VIDEOS})")
    print(f"plain loops        {1e3 * slow:8.4f} ms a video")
    print(f"ratio              {slow / fast:8.0f}")


if __name__ == "__main__":
    main()
