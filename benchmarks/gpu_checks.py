"""The checks of `benchmarks.gpu`. Each gets a dict to put its numbers into, and raises where it fails."""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.bench_epoch import RandomVideos
from benchmarks.bench_step import RECIPES, without_dropout
from benchmarks.bf16_noise import scores
from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, list_anchors, wrap
from coleaf_framework.data import AveragedFrames, SyntheticLLP
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import LLP_STREAMS, Batch, Progress
from coleaf_framework.training.batch_loader import BatchLoader
from coleaf_framework.training.device import autocast, seed_everything
from coleaf_framework.training.graphs import WARM_UP, CudaGraphs
from coleaf_framework.training.plan import MicroBatch
from coleaf_framework.training.progress import TrainingProgress
from coleaf_framework.training.stepping import Stepper

Numbers = dict[str, float]
EPOCH_AIMS = {"han": 1.0, "cmpae": 3.0}
MODES: dict[str, dict[str, Any]] = {"eager": {}, "compiled": {"compile": True}, "graphs": {"cuda_graphs": True}}
PAST = {"anchor_warmup": 0, "reference_warmup": 0}


class Refused(Exception):
    """This machine cannot make the check."""


@dataclass(frozen=True)
class Sizes:
    """Where, and how much: LLP's size, or hardly anything."""

    device: torch.device
    quick: bool

    @property
    def videos(self) -> int:
        return 24 if self.quick else 10_000

    @property
    def anchors(self) -> list[str]:
        return ["han", "cmpae"] if self.quick else list_anchors()

    def model(self, anchor: str, config: CoLeaFConfig, streams: Any = LLP_STREAMS) -> CoLeaF:
        """Of published widths, or of the least."""
        seed_everything(0)
        options = {"width": 8} if self.quick else {}
        return wrap(anchor, streams=streams, config=config, anchor_options=options).train()

    def config(self, mode: str, **settings: Any) -> TrainerConfig:
        """A trainer's; refuses a mode that is not for this device."""
        if mode == "graphs" and self.device.type != "cuda":
            raise Refused("CUDA graphs need a CUDA GPU")
        if mode == "compiled" and self.quick:
            raise Refused("compiling takes minutes")
        size = 8 if self.quick else 128
        own = {"batch_size": size, "device": str(self.device), "monitor": ()}
        return TrainerConfig(**own | MODES[mode] | settings)  # type: ignore[arg-type]


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Matrix products and convolutions in TF32, or not, while this lasts."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = allowed
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def random_batch(videos: int, device: torch.device) -> Batch:
    """Random features of LLP's shapes, the same on every device."""
    torch.manual_seed(1)
    streams = {name: torch.randn(videos, 10 * s.frames, s.width) for name, s in LLP_STREAMS.items()}
    return Batch(streams, (torch.rand(videos, 25) < 0.1).float()).to(device)


def distance(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm; both on any device, compared in float64."""
    a, b = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def steps_of(model: CoLeaF, batch: Batch, device: torch.device, count: int, **how: Any) -> list[Tensor]:
    """The terms of each update of `count` training steps."""
    told: list[Tensor] = []
    stepper = Stepper(model, TrainerConfig(**how.pop("config", {})), device, **how)
    for number in range(count):
        seed_everything(number)
        stepper.step(
            [batch], Progress(5, number), lambda output: told.append(torch.stack(list(output.losses.values())).detach())
        )
    return [x.cpu() for x in told]


def require_below(numbers: Numbers, limits: Numbers) -> None:
    """Raise where a number is above its limit, or is not a number."""
    wrong = [
        f"{key} {numbers[key]:.3g} is not at most {most:g}" for key, most in limits.items() if not numbers[key] <= most
    ]
    if wrong:
        raise AssertionError("; ".join(wrong))


def parity(sizes: Sizes, anchor: str, numbers: Numbers) -> None:
    """Outputs, loss, gradients and five steps on the device against those on the CPU, with dropout off."""
    base = without_dropout(sizes.model(anchor, CoLeaFConfig.official(**PAST)))
    for label, allowed in (("fp32", False), ("tf32", True)):
        with tf32(allowed):
            expected, found = (
                _computed(copy.deepcopy(base), place, 4 if sizes.quick else 16)
                for place in (torch.device("cpu"), sizes.device)
            )
        numbers |= {f"{what}, {label}": distance(found[what], expected[what]) for what in expected}
    exact = {"outputs": 1e-4, "loss": 1e-4, "gradients": 1e-3, "losses of 5 steps": 1e-2}
    require_below(numbers, {f"{k}, fp32": v for k, v in exact.items()} | {f"{k}, tf32": 3e-2 for k in exact})


def _computed(model: CoLeaF, device: torch.device, videos: int) -> dict[str, Tensor]:
    """What `parity` compares, of a model on a device."""
    model, batch = model.to(device), random_batch(videos, device)
    loss = torch.stack(list(model(batch, Progress(5, 3)).values())).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    outputs = model.infer(batch).segment_probs
    steps = torch.cat(steps_of(model, batch, device, 5))
    return {"outputs": outputs, "loss": loss, "gradients": gradients, "losses of 5 steps": steps}


def bf16_losses(sizes: Sizes, anchor: str, numbers: Numbers) -> None:
    """The loss under autocast against that of float32, with dropout off."""
    model = without_dropout(sizes.model(anchor, CoLeaFConfig.official(**PAST))).to(sizes.device)
    batch, found = random_batch(4 if sizes.quick else 128, sizes.device), {}
    for precision in ("float32", "bf16"):
        with torch.no_grad(), autocast(sizes.device, precision):
            found[precision] = torch.stack(list(model(batch, Progress(5, 3)).values())).sum()
    numbers["loss"] = distance(found["bf16"], found["float32"])
    require_below(numbers, {"loss": 3e-2})


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


def waiting(sizes: Sizes, anchor: str, mode: str, numbers: Numbers) -> None:
    """Steps on resident videos under PyTorch's check of waits; a profiler counts launches and copies to the host."""
    if sizes.device.type != "cuda":
        raise Refused("PyTorch looks for waits on CUDA alone")
    data = RandomVideos(256)
    model = sizes.model(anchor, CoLeaFConfig.official(**PAST)).to(sizes.device)
    captured = {"graphs": CudaGraphs(sizes.device)} if mode == "graphs" else {}
    config = sizes.config(mode)
    stepper, videos = Stepper(model, config, sizes.device, **captured), MicroBatch(tuple(range(config.batch_size)))
    loader, warm, counted = BatchLoader(data, sizes.device, cache="device"), 2 * WARM_UP + 3, 4
    numbers["steps"], batches = float(counted), loader([videos] * (warm + counted))
    for number in range(warm):
        stepper.step([next(batches)], Progress(5, number), lambda _: None)
    torch.cuda.synchronize()
    with torch.profiler.profile(acc_events=True) as profile:
        torch.cuda.set_sync_debug_mode("error")
        try:
            for number in range(warm, warm + counted):
                stepper.step([next(batches)], Progress(5, number), lambda _: None)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
    names = [event.name for event in profile.events() or ()]
    numbers["launches a step"] = (
        sum(n.startswith(("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")) for n in names) / counted
    )
    numbers["copies to the host"] = float(sum("Memcpy DtoH" in name for name in names))
    require_below(numbers, {"copies to the host": 0})


def graphs_equal_eager(sizes: Sizes, anchor: str, numbers: Numbers) -> None:
    """Losses of captured steps, dropout on, against those of the same steps as they are."""
    sizes.config("graphs")
    base, batch = sizes.model(anchor, CoLeaFConfig.official(**PAST)), random_batch(32, sizes.device)
    told = [
        steps_of(copy.deepcopy(base).to(sizes.device), batch, sizes.device, 20, config=sizes_config, graphs=backend)
        for sizes_config, backend in (({}, None), ({"cuda_graphs": True}, CudaGraphs(sizes.device)))
    ]
    numbers["largest"] = max(distance(b, a) for a, b in zip(*told, strict=True))
    numbers["bit for bit"] = float(all(torch.equal(a, b) for a, b in zip(*told, strict=True)))
    require_below(numbers, {"largest": 1e-3})


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


def all_checks(sizes: Sizes) -> dict[str, tuple[str, Callable[[Numbers], None]]]:
    """Name -> its aim in words, and what runs it; those that tell most come first."""
    checks: dict[str, tuple[str, Callable[[Numbers], None]]] = {}

    def add(name: str, aim: str, run: Callable[..., None], *arguments: Any) -> None:
        checks[name] = (aim, lambda numbers: run(sizes, *arguments, numbers))

    captured = ("eager", "graphs")
    for anchor in EPOCH_AIMS:
        for mode in captured:
            add(f"waiting/{anchor}/{mode}", "no wait, no copy to the host in a step", waiting, anchor, mode)
        add(f"graphs/{anchor}", "losses within 1e-3 of the eager step's", graphs_equal_eager, anchor)
    for anchor in sizes.anchors:
        add(f"parity/{anchor}", "fp32: 1e-4, gradients 1e-3, 5 steps 1e-2; tf32: 3e-2", parity, anchor)
        add(f"bf16/{anchor}", "loss within 3e-2 of float32's", bf16_losses, anchor)
    for anchor, aim in EPOCH_AIMS.items():
        for recipe in ("official", "paper"):
            for mode in MODES:
                add(f"epoch/{anchor}/{recipe}/{mode}", f"median of at most {aim:g} s", epoch_time, anchor, recipe, mode)
    for anchor in EPOCH_AIMS:
        for mode in captured:
            add(f"memory/{anchor}/{mode}", "what is held grows by at most 1 MB in two epochs", memory, anchor, mode)
            add(f"resume/{anchor}/{mode}", "weights within 1e-4 of the whole run's", resuming, anchor, mode)
    add("bf16/scores", "mean difference within two deviations of seeds", bf16_scores)
    return checks
