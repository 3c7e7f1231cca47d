"""UnAV-100: the trivial parsers' scores, training on videos of 29 to 185 segments, proposals and mAP.

python -m benchmarks.bench_unav --annotations FILE [--videos N] [--batch B] [--epochs E] [--anchors han cmpae]
    [--json FILE]

FILE is unav100_annotations.json. The parsers are scored by our definition of Table 8, with lengths from the durations,
and held to the recorded scores. Training is on the first N videos of the training split, with random features of the
published widths in a temporary folder, so that only times and memory say something: those of the last epoch, with all
videos kept in memory. CPU s are those of this process, over all its threads; MB are above what the process (on a GPU,
the device) held before, features included; padding is the share of segments that are none, with and without
trainer.bucket_by_length. The second of two epochs has every loss term of the paper's recipe but self-modality
distillation, which costs no pass of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import peak_memory, print_table
from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import UnAV100
from coleaf_framework.data.unav import UNAV_GRID, unav_segments, unav_truth
from coleaf_framework.data.unav_annotations import KNOWN_SHA256, UNAV_FILE, UnAVAnnotations, read_unav
from coleaf_framework.metrics import empty_parser
from coleaf_framework.metrics.joint import joint_scores
from coleaf_framework.metrics.localization import TimedEvents, localization_scores
from coleaf_framework.metrics.proposals import propose
from coleaf_framework.training.plan import plan_epoch

RECORDED = {"val": (73.45824931221512, 54.20760625399801), "test": (73.40051828386093, 53.915166897400404)}
WIDTHS = {"vggish": 128, "rgb": 1024, "flow": 1024}


def trivial_parsers(annotations: UnAVAnnotations) -> list[list[Any]]:
    """Rows of the table: split, parser, AV F at segment and event level."""
    rows = []
    classes = len(annotations.classes)
    for split, recorded in RECORDED.items():
        truths, spreads = [], []
        for video in annotations.videos[split].values():
            truth, _ = unav_truth(video, unav_segments(video.duration), classes)
            truths.append(truth)
            spreads.append(truth.any(0, keepdim=True).expand_as(truth))
        truth, spread = (torch.nn.utils.rnn.pad_sequence(x, batch_first=True) for x in (truths, spreads))
        for name, parser in (("spread true label", spread), ("empty", empty_parser(truth))):
            scores = joint_scores(parser, truth)
            rows.append([split, name, *(f"{x:.4f}" for x in scores.values())])
            expected = recorded if name != "empty" else (0.0, 0.0)
            if annotations.sha256 == KNOWN_SHA256 and not np.allclose(
                list(scores.values()), expected, rtol=0, atol=1e-6
            ):
                raise SystemExit(f"{split}: the parser {name!r} scores {scores}, but {expected} was recorded")
    return rows


def write_features(root: Path, annotations: Path, videos: int) -> UnAV100:
    """The first training videos with random features, and what `UnAV100` reads beside them."""
    content = json.loads(annotations.read_text())
    train = [v for v, entry in content["database"].items() if entry["subset"].lower() == "train"][:videos]
    content["database"] = {v: content["database"][v] for v in train}
    (root / UNAV_FILE).write_text(json.dumps(content))
    (root / "classes.txt").write_text("\n".join(read_unav(annotations).classes))
    (root / "SYNTHETIC.txt").write_text("random features of a benchmark\n")
    rng = np.random.default_rng(0)
    for v in train:
        rows = unav_segments(content["database"][v]["duration"])
        for kind, width in WIDTHS.items():
            np.save(root / f"{v}_{kind}.npy", rng.standard_normal((rows, width), dtype=np.float32).astype(np.float16))
    return UnAV100(root, "train")


def padding(data: UnAV100, config: TrainerConfig) -> float:
    """Share of segments that are padding, in the last epoch's steps."""
    lengths = [data.segments(i) for i in range(len(data))]
    known = lengths if config.bucket_by_length else None
    steps = plan_epoch(len(data), config.batch_size, config.seed, config.epochs, lengths=known)
    batches = [[lengths[v] for v in micro.videos] for step in steps for micro in step]
    return 1 - sum(lengths) / sum(len(batch) * max(batch) for batch in batches)


def train(data: UnAV100, anchor: str, alone: bool, arguments: argparse.Namespace, bucketed: bool) -> list[Any]:
    """A row of the table: one training."""
    config = TrainerConfig(epochs=arguments.epochs, batch_size=arguments.batch, bucket_by_length=bucketed)
    model = wrap(anchor, streams=data.streams, num_classes=len(data.classes), config=CoLeaFConfig(enabled=not alone))
    stamps: dict[int, float] = {}  # epochs done -> CPU seconds

    def unchanged(epochs_done: int) -> float:
        stamps.setdefault(epochs_done, time.process_time())
        return 1.0

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.LambdaLR(optimizer, unchanged)

    trainer = CoLeaFTrainer(model, config, cache="memory", quiet=True, schedule=schedule)
    history: list[Any] = []
    memory = peak_memory(lambda: history.extend(trainer.fit(data)))
    seconds = history[-1]["seconds"]
    share = f"{100 * padding(data, config):.0f} %"
    cpu = stamps[arguments.epochs] - stamps[arguments.epochs - 1]
    name = f"{anchor} {'alone' if alone else 'in CoLeaF'}"
    return [name, bucketed, share, seconds, cpu, len(data) / seconds, memory]


def localization(annotations: UnAVAnnotations) -> list[list[Any]]:
    """Rows of the table: seconds for the proposals and the mAP of the test split, from random probabilities."""
    videos, rng = annotations.videos["test"], np.random.default_rng(0)
    start, found = time.perf_counter(), []
    for name, video in videos.items():
        probs = np.zeros((unav_segments(video.duration), len(annotations.classes)), dtype=np.float32)
        some = rng.choice(probs.shape[1], 5, replace=False)
        probs[:, some] = rng.random((len(probs) // 8 + 1, 5)).repeat(8, 0)[: len(probs)]
        found.append(propose(name, torch.from_numpy(probs), UNAV_GRID, video.duration))
    proposed = time.perf_counter() - start
    columns = [
        np.concatenate([getattr(x, name) for x in found]) for name in ("video", "label", "start", "end", "score")
    ]
    rows = [(v, *event) for v, x in videos.items() for event in zip(x.labels, x.starts, x.ends, strict=True)]
    start = time.perf_counter()
    localization_scores(TimedEvents(*columns), TimedEvents(*zip(*rows, strict=True)))
    return [[len(videos), len(columns[0]), proposed, time.perf_counter() - start]]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--anchors", nargs="+", default=["han"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    annotations = read_unav(arguments.annotations)
    columns = ["split", "parser", "AV (Seg)", "AV (Evn)"]
    print_table(
        "AV F by our definition of Table 8, lengths from durations", columns, trivial_parsers(annotations), None
    )
    columns = ["test videos", "proposals", "s to propose", "s to score mAP"]
    print_table("proposals from random probabilities of five classes a video", columns, localization(annotations), None)
    with tempfile.TemporaryDirectory() as root:
        data = write_features(Path(root), arguments.annotations, arguments.videos)
        rows = [
            train(data, anchor, alone, arguments, bucketed)
            for anchor in arguments.anchors
            for alone in (True, False)
            for bucketed in (False, True)
        ]
    title = f"training on {len(data)} videos, batch {arguments.batch}, random features (synthetic)"
    columns = ["network", "bucketed", "padding", "s an epoch", "CPU s", "videos/s", "MB"]
    print_table(title, columns, rows, arguments.json, epochs=arguments.epochs)


if __name__ == "__main__":
    main()
