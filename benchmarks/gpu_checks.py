"""The checks of `benchmarks.gpu`. Each gets a dict to put its numbers into, and raises where it fails."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.bench_epoch import RandomVideos
from benchmarks.bench_step import without_dropout
from coleaf_framework import CoLeaFConfig, TrainerConfig, list_anchors, wrap
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import LLP_STREAMS, Batch, Progress
from coleaf_framework.training.batch_loader import BatchLoader
from coleaf_framework.training.device import autocast, seed_everything
from coleaf_framework.training.graphs import WARM_UP, CudaGraphs
from coleaf_framework.training.plan import MicroBatch
from coleaf_framework.training.stepping import Stepper

Numbers = dict[str, float]
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
