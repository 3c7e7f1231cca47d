"""Those checks of `benchmarks.gpu` that train: scores in bf16, epoch time, memory and resuming."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.bench_epoch import RandomVideos
from benchmarks.bench_step import RECIPES
from benchmarks.bf16_noise import scores
from benchmarks.gpu_checks import Numbers, Refused, Sizes, distance, require_below
from coleaf_framework import CoLeaFTrainer, TrainerConfig
from coleaf_framework.data import AveragedFrames, SyntheticLLP
from coleaf_framework.training.device import seed_everything
from coleaf_framework.training.progress import TrainingProgress

EPOCH_AIMS = {"han": 1.0, "cmpae": 3.0}
"""Seconds that an epoch may take."""


def bf16_scores(sizes: Sizes, numbers: Numbers) -> None:
    """Final scores in bf16 within the noise of seeds of float32, on synthetic data."""
    if sizes.quick:
        raise Refused("eight trainings are not quick")
    train, test = AveragedFrames(SyntheticLLP("train", 600)), AveragedFrames(SyntheticLLP("test", 300))
    known, column = train.statistics(), "support/segment/Type@AVo"
    found = {
        p: [scores(p, seed, train, test, known, device=str(sizes.device))[column] for seed in range(4)]
        for p in ("float32", "bf16")
    }
    numbers["float32"], numbers["bf16"] = (statistics.mean(x) for x in found.values())
    numbers["deviation"] = statistics.stdev(found["float32"])
    numbers["difference"] = abs(numbers["bf16"] - numbers["float32"])
    require_below(numbers, {"difference": 2 * numbers["deviation"]})


def trained(
    sizes: Sizes, anchor: str, recipe: str, config: TrainerConfig, **how: Any
) -> tuple[CoLeaFTrainer, list[float]]:
    """A run on random videos of LLP's shapes; and what `how["each_epoch"]` returned after each epoch."""
    seed_everything(0)  # the same videos in each run
    data: Any = RandomVideos(how.get("videos", sizes.videos))
    data = AveragedFrames(data) if anchor == "han" else data
    model = sizes.model(anchor, RECIPES[recipe], data.streams)
    measured: list[float] = []
    trainer = CoLeaFTrainer(
        model, config, cache=how.get("cache", "device"), quiet=True, out=how.get("out"),
        on_existing=how.get("on_existing", "refuse"),
    )  # fmt: skip
    look = how.get("each_epoch", lambda: 0.0)
    with patch.object(TrainingProgress, "epoch_done", lambda *_: measured.append(look())):
        trainer.fit(data)
    return trainer, measured


def epoch_time(sizes: Sizes, anchor: str, recipe: str, mode: str, numbers: Numbers) -> None:
    """Seconds of the epochs in which every term is on, in bf16, all videos on the device."""
    epochs, first = (3, 1) if sizes.quick else (9, 4)
    config = sizes.config(mode, epochs=epochs, precision="float32" if sizes.device.type == "cpu" else "bf16")
    if sizes.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer, _ = trained(sizes, anchor, recipe, config)
    seconds = sorted(entry["seconds"] for entry in trainer.history[first:])
    numbers |= {"median s": statistics.median(seconds), "least s": seconds[0], "most s": seconds[-1]}
    if sizes.device.type == "cuda":
        numbers["peak MB"] = torch.cuda.max_memory_allocated() / 2**20
    if not sizes.quick:
        require_below(numbers, {"median s": EPOCH_AIMS[anchor]})


def memory(sizes: Sizes, anchor: str, mode: str, numbers: Numbers) -> None:
    """Peak memory with the data set on the device and without; and that what is held does not grow over epochs."""
    if sizes.device.type != "cuda":
        raise Refused("the memory of a CUDA GPU is what is looked at")
    for cache in ("device", "none"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        config = sizes.config(mode, epochs=6)
        _, held = trained(
            sizes, anchor, "official", config, cache=cache, videos=1280, each_epoch=torch.cuda.memory_allocated
        )
        numbers[f"peak MB, cache {cache}"] = torch.cuda.max_memory_allocated() / 2**20
        numbers[f"growth MB, cache {cache}"] = (held[-1] - held[-3]) / 2**20
    require_below(numbers, {"growth MB, cache device": 1, "growth MB, cache none": 1})


def resuming(sizes: Sizes, anchor: str, mode: str, numbers: Numbers) -> None:
    """Weights of a run that was interrupted after two of three epochs, against those of one that was not."""
    how: dict[str, Any] = {"videos": 24 if sizes.quick else 1280}
    with tempfile.TemporaryDirectory() as folder:

        def weights(name: str, epochs: int, on_existing: str) -> Tensor:
            config = sizes.config(mode, epochs=epochs)
            run, _ = trained(sizes, anchor, "official", config, out=Path(folder) / name, on_existing=on_existing, **how)
            return torch.cat([x.flatten().float().cpu() for x in run.model.state_dict().values()])

        whole = weights("whole", 3, "refuse")
        weights("resumed", 2, "refuse")
        resumed = weights("resumed", 3, "resume")
    numbers |= {"distance": distance(resumed, whole), "bit for bit": float(torch.equal(resumed, whole))}
    require_below(numbers, {"distance": 1e-4})
