"""Measure costs: parameters, FLOPs and time per video, in training and in inference."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from coleaf_framework.model.coleaf import CoLeaF, require_record
from coleaf_framework.plugins import create_reference, takes_option
from coleaf_framework.protocol import MODALITIES, PAST_EVERY_WARMUP, Batch, StreamSpec
from coleaf_framework.record.config import RunConfig
from coleaf_framework.results.cost import Cost
from coleaf_framework.results.tables import plain_table
from coleaf_framework.training.device import choose_device, seed_everything
from coleaf_framework.training.optimization import make_optimizer
from coleaf_framework.wrapping import wrap_configured

_ROUNDS = 7
_TOKENS = {True: "Reference with class tokens, forward", False: "Reference without class tokens, forward"}


@dataclass(frozen=True)
class Costs:
    """Result of `measure_costs`.

    Args:
        anchor: class name of the Anchor.
        rows: name of a row -> its cost.
        videos: batch size B.
        segments: number of segments, T.
        device: name of the device.
    """

    anchor: str
    rows: Mapping[str, Cost]
    videos: int
    segments: int
    device: str

    def table(self, *, markdown: bool = False) -> str:
        """The table of costs, and the conclusion below it."""
        body = [[name, *cost.cells()] for name, cost in self.rows.items()]
        title = f"Costs a video: batches of {self.videos} videos of {self.segments} segments, on {self.device}"
        table = plain_table(["", "parameters", "GFLOPs", "ms"], body, title, markdown=markdown)
        return f"{table}\n\n{self.conclusion()}"

    def conclusion(self) -> str:
        """The relative cost of CoLeaF: one sentence each for inference, class tokens and training."""
        alone, inside = (self.rows[f"{self.anchor}{where}, inference"] for where in ("", " in CoLeaF"))
        step, step_inside = (self.rows[f"{self.anchor} {where}, training step"] for where in ("alone", "in CoLeaF"))
        same = "the FLOPs" if inside.gflops == alone.gflops else "NOT the FLOPs"
        sentences = [
            f"In inference {self.anchor} from CoLeaF takes {same} of {self.anchor}: the Reference is thrown away."
        ]
        if _TOKENS[False] in self.rows:
            more = self.rows[_TOKENS[True]].gflops / self.rows[_TOKENS[False]].gflops - 1
            sentences.append(
                f"Class tokens add {100 * more:.1f} % to the Reference's FLOPs, in training alone (the paper: 41.7 %, "
                "of a Reference that it does not describe to the last layer)."
            )
        flops, time_ = step_inside.gflops / step.gflops, step_inside.milliseconds / step.milliseconds
        sentences.append(
            f"A training step in CoLeaF takes {flops:.2f} times the FLOPs of one alone, {time_:.2f} times its time."
        )
        return "\n".join(sentences)


def measure_costs(
    config: RunConfig, streams: Mapping[str, StreamSpec], num_classes: int, *, videos: int = 32, segments: int = 10
) -> Costs:
    """Measure the costs of an Anchor, alone and in CoLeaF, on random videos.

    Args:
        config: the Anchor, the Reference, their options and the loss terms.
        streams: input streams.
        num_classes: number of classes, C.
        videos: batch size B.
        segments: number of segments, T.

    Raises:
        ValueError, TypeError: as `wrap` does.
    """
    device = choose_device(config.trainer.device)
    seed_everything(0)
    alone, inside = (
        wrap_configured(
            config.model_copy(
                update={"coleaf": config.coleaf.model_copy(update={"enabled": enabled, "segment_label_balance": 1.0})}
            ),
            streams,
            num_classes,
        ).to(device)
        for enabled in (False, True)
    )
    made: dict[str, Any] = {"streams": inside.streams, "num_classes": num_classes}
    batch = Batch(
        {name: torch.randn(videos, spec.frames * segments, spec.width) for name, spec in inside.streams.items()},
        (torch.rand(videos, num_classes) < 0.2).float(),
        pseudo_labels=torch.rand(videos, segments, len(MODALITIES), num_classes),
    ).to(device)
    width = require_record(inside).model.width
    references = {"Reference, forward": config.reference.options}
    if takes_option("reference", config.reference.name, "class_tokens"):
        references = {row: {**config.reference.options, "class_tokens": with_} for with_, row in _TOKENS.items()}
    branches = {
        row: create_reference(config.reference.name, width=width, **made, **options).to(device)
        for row, options in references.items()
    }
    name = type(alone.anchor).__name__
    runs: dict[str, tuple[nn.Module, Callable[[], object]]] = {
        f"{name}, inference": (alone.anchor, _inference(alone, batch)),
        f"{name} in CoLeaF, inference": (inside.anchor, _inference(inside, batch)),
        **{row: (branch, _forward(branch, batch)) for row, branch in branches.items()},
        f"{name} alone, training step": (alone, _step(alone, batch, config)),
        f"{name} in CoLeaF, training step": (inside, _step(inside, batch, config)),
    }
    seconds = _medians({row: run for row, (_, run) in runs.items()}, device)
    rows = {
        row: Cost(
            _deployed_size(network) if network in (alone.anchor, inside.anchor) else _size(network),
            _flops(run) / videos / 1e9,
            1000 * seconds[row] / videos,
        )
        for row, (network, run) in runs.items()
    }
    return Costs(name, rows, videos, segments, name_of(device))


def measure_inference(
    models: Mapping[str, CoLeaF], device: torch.device, *, videos: int, segments: int
) -> dict[str, Cost]:
    """Measure what inference costs, on random videos.

    Args:
        models: name -> a model, whose Anchor is measured; they are moved to `device`.
        device: to measure on.
        videos: batch size B.
        segments: number of segments, T.

    Returns:
        Name -> cost. All take turns, so that load from other processes affects all equally.

    Raises:
        RuntimeError: a network fails on such videos, or the memory is not enough.
    """
    runs = {}
    for name, model in models.items():
        streams = {key: torch.randn(videos, x.frames * segments, x.width) for key, x in model.streams.items()}
        batch = Batch(streams, torch.zeros(videos, model.num_classes)).to(device)
        runs[name] = _inference(model.to(device), batch)
    seconds = _medians(runs, device)
    return {
        name: Cost(
            _deployed_size(models[name].anchor),
            _flops(run) / videos / 1e9,
            1000 * seconds[name] / videos,
        )
        for name, run in runs.items()
    }


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _deployed_size(anchor: nn.Module) -> int:
    """Number of an Anchor's parameters without those that it declares `training_only`."""
    left_out = tuple(getattr(anchor, "training_only", ()))
    return sum(p.numel() for name, p in anchor.named_parameters() if not name.startswith(left_out))


def name_of(device: torch.device) -> str:
    """The name of a device in a table of costs."""
    threads = torch.get_num_threads()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} CPU thread{'s' * (threads > 1)}"


def _inference(model: CoLeaF, batch: Batch) -> Callable[[], object]:
    def run() -> object:
        model.eval()
        with torch.no_grad():
            return model.infer(batch)

    return run


def _forward(reference: nn.Module, batch: Batch) -> Callable[[], object]:
    def run() -> object:
        reference.eval()
        with torch.no_grad():
            return reference(**batch.streams)

    return run


def _step(model: CoLeaF, batch: Batch, config: RunConfig) -> Callable[[], object]:
    optimizer = make_optimizer([{"params": list(model.parameters())}], config.trainer, next(model.parameters()).device)

    def run() -> None:
        model.train()
        shared = model.shared_pass(batch, PAST_EVERY_WARMUP)
        for which in model.updates(PAST_EVERY_WARMUP):
            optimizer.zero_grad(set_to_none=True)
            model.update(batch, PAST_EVERY_WARMUP, which, shared).total().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        model.after_step()

    return run


def _flops(run: Callable[[], object]) -> float:
    # The counter knows matrix products, but not the kernels into which attention and LSTMs are fused.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TF32 acceleration", UserWarning)  # said of oneDNN wherever it is switched
        with (
            torch.backends.mkldnn.flags(enabled=False),
            torch.backends.cudnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            run()
    return float(counter.get_total_flops())


def _medians(runs: Mapping[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    """Median seconds of each; the runs take turns, so that load from other processes affects all equally."""

    def timed(run: Callable[[], object]) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for run in runs.values():  # warm-up
        run()
    rounds = [{name: timed(run) for name, run in runs.items()} for _ in range(_ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in runs}
