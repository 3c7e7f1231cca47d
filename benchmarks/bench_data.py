"""Videos per second from per-video npy files, from packed stores cold and warm, from memory and from the device.

python -m benchmarks.bench_data [VIDEOS] [--json FILE]

Random features of LLP's shapes in a temporary folder, shuffled batches of 128, read by the main process alone.
"cold" drops the files from the system's page cache first (Linux). Each row's ratio is to the npy files of the same
temperature, that of memory and device to the warm ones.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import main_arguments, print_table, synchronize
from coleaf_framework.data import LLP, LLP_CLASSES, AveragedFrames, pack
from coleaf_framework.data.layout import LLP_LAYOUT
from coleaf_framework.protocol import LLP_STREAMS
from coleaf_framework.training.batch_loader import BatchLoader
from coleaf_framework.training.plan import plan_epoch

BATCH = 128


def write_folder(root: Path, videos: int) -> None:
    """A training split in LLP's layout."""
    rng = np.random.default_rng(0)
    ids = [f"video{i:06d}" for i in range(videos)]
    rows = "".join(f"{video}_0_10\t{LLP_CLASSES[i % 25]}\n" for i, video in enumerate(ids))
    root.mkdir()
    (root / "AVVP_train.csv").write_text("filename\tevent_labels\n" + rows)
    for stream, spec in LLP_STREAMS.items():
        folder = root / LLP_LAYOUT.streams[stream].folder
        folder.mkdir(parents=True)
        for video in ids:
            np.save(folder / f"{video}.npy", rng.standard_normal((10 * spec.frames, spec.width), dtype=np.float32))


def forget(root: Path) -> bool:
    """Drop a folder's files from the page cache; whether that can be done here."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def rate(loader: BatchLoader, epoch: int) -> float:
    """Videos a second over one epoch."""
    micro_batches = [micro_batch for step in plan_epoch(len(loader.data), BATCH, 0, epoch) for micro_batch in step]
    synchronize()
    start = time.perf_counter()
    for _ in loader(micro_batches):
        pass
    synchronize()
    return len(loader.data) / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    videos, path = main_arguments(640)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "npy"
        write_folder(root, videos)
        places = {"npy, float32": root}
        for name, dtype, average in (
            ("store, float32", "float32", False),
            ("store, float16", "float16", False),
            ("store, float16, averaged", "float16", True),
        ):
            places[name] = Path(temporary) / name.replace(", ", "-")
            start = time.perf_counter()
            pack(root, places[name], dtype=dtype, average_frames=average)
            print(f"packing {name}: {videos / (time.perf_counter() - start):.0f} videos a second", file=sys.stderr)
        base = {}
        for temperature in ("cold", "warm"):
            for name, place in places.items():
                if temperature == "cold" and not forget(place):
                    continue
                size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / videos / 2**10
                best = max(
                    rate(BatchLoader(LLP(place, "train"), device), 1) for _ in range(1 if temperature == "cold" else 3)
                )
                base.setdefault(temperature, best)
                rows.append([name, temperature, size, best, best / base[temperature]])
        for cache in ("memory", "device"):
            for name, data in (("all frames", LLP(root, "train")), ("averaged", AveragedFrames(LLP(root, "train")))):
                loader = BatchLoader(data, device, cache=cache)  # type: ignore[arg-type]
                rate(loader, 1)
                size = sum(x.nbytes for x in loader._resident.rows.values()) / videos / 2**10  # type: ignore[union-attr]
                best = max(rate(loader, epoch) for epoch in range(2, 5))
                rows.append([f"cache: {cache}, {name}", "warm", size, best, best / base["warm"]])
    columns = ["from", "page cache", "KiB a video", "videos a second", "x npy"]
    print_table(f"reading {videos} videos of LLP's shapes", columns, rows, path, batch=BATCH)


if __name__ == "__main__":
    main()
