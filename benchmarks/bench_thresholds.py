"""Selected thresholds: all candidates as one tensor expression, against deciding and scoring anew for each.

python benchmarks/bench_thresholds.py

Random probabilities of LLP's validation size (649 videos, 25 classes), the published search, one thread.
"""

from __future__ import annotations

import time

import torch

from coleaf_framework import AnchorOutput
from coleaf_framework.metrics import DecisionConfig, ModalityThresholds, all_scores, choose_gates, decide
from coleaf_framework.metrics.thresholds import PUBLISHED_GRID

VIDEOS, SEGMENTS, CLASSES = 649, 10, 25


def main() -> None:
    """Print seconds of both, and their ratio."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    output = AnchorOutput(
        segment_probs=torch.rand(VIDEOS, SEGMENTS, 2, CLASSES),
        video_probs=torch.rand(VIDEOS, CLASSES),
        tokens=torch.empty(0),
        modality_probs=torch.rand(VIDEOS, 2, CLASSES),
    )
    truth = torch.rand(VIDEOS, SEGMENTS, 2, CLASSES) < 0.1
    config = DecisionConfig(gate="modality", gate_threshold=0.45, segment_threshold=0.25)

    start = time.perf_counter()
    chosen = choose_gates(output, truth, config)
    fast = time.perf_counter() - start

    start = time.perf_counter()
    gates = torch.full((2, CLASSES), 0.45)
    best = all_scores(decide(output, config), truth)["event/V"]
    for c in range(CLASSES):
        for value in PUBLISHED_GRID:
            changed = gates.clone()
            changed[1, c] = value
            thresholds = ModalityThresholds(audio=tuple(changed[0].tolist()), visual=tuple(changed[1].tolist()))
            decided = decide(output, config.model_copy(update={"gate_threshold": thresholds}))
            score = all_scores(decided, truth)["event/V"]
            if score > best + 1e-9:
                best, gates = score, changed
    slow = time.perf_counter() - start

    assert torch.equal(gates, chosen.gates)
    print(f"one tensor expression a class   {fast:7.2f} s")
    print(f"deciding and scoring anew       {slow:7.2f} s")
    print(f"ratio                           {slow / fast:7.0f}")


if __name__ == "__main__":
    main()
