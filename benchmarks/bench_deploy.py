"""Time to parse a video on one CPU thread: PyTorch against onnxruntime, for every Anchor that ships.

python -m benchmarks.bench_deploy [ROUNDS] [--json FILE]

Published widths, fresh weights, random features of LLP's shapes (C = 25, T = 10); features are not extracted and events
not decided here. PyTorch runs the Anchor alone in inference mode. Each round calls either three times, in turn; times
are the least of ROUNDS, by the video. "ratio": how many times as long PyTorch takes. "MB": size of the ONNX file.
Prints a table in Markdown, for docs/deploy.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from benchmarks.measuring import main_arguments, minima
from coleaf_framework import create_anchor, list_anchors, wrap
from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.deployment.onnx import check
from coleaf_framework.deployment.tracing import OUTPUTS, to_onnx
from coleaf_framework.protocol import LLP_STREAMS

CLASSES, SEGMENTS, BATCHES, CALLS = 25, 10, (1, 16), 3


def three_times(call: Callable[[], object]) -> Callable[[], None]:
    """Shorter calls than a few milliseconds are timed together."""

    def run() -> None:
        for _ in range(CALLS):
            call()

    return run


def torch_call(network: nn.Module, streams: dict[str, Tensor]) -> Callable[[], object]:
    """The network's answer."""

    def call() -> object:
        with torch.inference_mode():
            return network(**streams)

    return call


def onnx_call(session: Any, streams: dict[str, Tensor]) -> Callable[[], object]:
    """The file's answer."""
    given = {name: x.numpy() for name, x in streams.items()}
    return lambda: session.run(list(OUTPUTS), given)


def measure(name: str, rounds: int) -> dict[str, object]:
    """One row of the table."""
    torch.manual_seed(0)
    anchor = create_anchor(name, streams=LLP_STREAMS, num_classes=CLASSES)
    model = wrap(anchor, streams=LLP_STREAMS, num_classes=CLASSES, config=CoLeaFConfig(enabled=False)).eval()
    content = to_onnx(model).SerializeToString()
    check(model, content, onnxruntime)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    row: dict[str, object] = {"Anchor": name, "MB": f"{len(content) / 1e6:.0f}"}
    for videos in BATCHES:
        streams = {n: torch.randn(videos, s.frames * SEGMENTS, s.width) for n, s in LLP_STREAMS.items()}
        calls = {"torch": torch_call(model.anchor, streams), "onnxruntime": onnx_call(session, streams)}
        best = minima({key: three_times(call) for key, call in calls.items()}, rounds)
        each = {key: 1000 * seconds / CALLS / videos for key, seconds in best.items()}
        batch = f"B = {videos}"
        row |= {f"{key} ms, {batch}": f"{ms:.2f}" for key, ms in each.items()}
        row[f"ratio, {batch}"] = f"{each['torch'] / each['onnxruntime']:.1f}"
    return row


def main() -> None:
    """Print the table."""
    rounds, path = main_arguments(150)
    torch.set_num_threads(1)
    rows = []
    for name in list_anchors():
        rows.append(measure(name, rounds))
        if len(rows) == 1:
            print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|", flush=True)
        print("| " + " | ".join(map(str, rows[-1].values())) + " |", flush=True)
    print(f"\ntorch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {rounds} rounds")
    if path is not None:
        path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
