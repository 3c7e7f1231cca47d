"""1,200 videos predicted, decided and scored end to end; against one video at a time and plain loops.

python -m benchmarks.bench_eval [--json FILE]

Random features of LLP's shapes held in memory, events drawn from LLP's statistics; the slow way is measured on 60
videos and told per video, as is everything here. Threshold selection: benchmarks/bench_thresholds.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.measuring import main_arguments, print_table, synchronize
from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import SyntheticLLP, Video
from coleaf_framework.metrics import all_scores, decide
from coleaf_framework.protocol import LLP_STREAMS, Batch
from tests.helpers.slow_scores import slow_scores

VIDEOS, SLOW = 1200, 60


class Test(SyntheticLLP):
    """Synthetic LLP's test events with random features, which cost nothing to make."""

    def __init__(self) -> None:
        super().__init__("test", VIDEOS)
        self._truth = [super(Test, self).__getitem__(i) for i in range(SLOW)]
        self._streams = {n: torch.randn(s.frames * 10, s.width) for n, s in LLP_STREAMS.items()}

    def __getitem__(self, index: int) -> Video:
        events = self._truth[index % SLOW]
        return Video(self.ids[index], self._streams, events.labels, events.segment_labels)


def seconds(run: Callable[[], object], repeat: int = 3) -> float:
    """The least of a few runs."""
    best = float("inf")
    for _ in range(repeat):
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table."""
    _, path = main_arguments(1)
    data, rows = Test(), []
    for anchor in ("han", "cmpae"):
        model = wrap(anchor, config=CoLeaFConfig(enabled=False))
        trainer = CoLeaFTrainer(model, TrainerConfig(), cache="memory", quiet=True)
        loader = trainer._loader(data)
        outputs = list(trainer._run(loader, range(VIDEOS)))
        truth = torch.cat([batch.segment_labels for batch, _ in outputs]).cpu()  # type: ignore[misc]

        def forward(trainer: CoLeaFTrainer = trainer, loader: object = loader) -> None:
            for _ in trainer._run(loader, range(VIDEOS)):  # type: ignore[arg-type]
                pass

        decided = torch.cat([decide(output, trainer.decision).cpu() for _, output in outputs])
        whole = seconds(lambda: trainer._score(loader))  # noqa: B023
        scoring = seconds(lambda: all_scores(decided, truth))  # noqa: B023

        def one_by_one(trainer: CoLeaFTrainer = trainer, truth: torch.Tensor = truth) -> None:
            found = []
            for i in range(SLOW):
                video = data[i]
                batch = Batch({n: x[None] for n, x in video.streams.items()}, video.labels[None]).to(trainer.device)
                with torch.no_grad():
                    found.append(decide(trainer.model.infer(batch), trainer.decision).cpu())
            slow_scores(torch.cat(found).numpy(), truth[:SLOW].numpy())

        slow = seconds(one_by_one, 1) / SLOW
        forward_seconds = seconds(forward)
        per_video = [1e3 * x / VIDEOS for x in (whole, forward_seconds, scoring)]
        rows.append([anchor, *per_video, 1e3 * slow, slow / (whole / VIDEOS)])
    columns = ["Anchor", "ms a video", "forward alone", "scoring alone", "one by one, plain loops", "x faster"]
    print_table(
        f"evaluating {VIDEOS} videos",
        columns,
        [[np.round(x, 4) if not isinstance(x, str) else x for x in r] for r in rows],
        path,
    )


if __name__ == "__main__":
    main()
