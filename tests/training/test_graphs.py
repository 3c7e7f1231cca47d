"""Captured steps, by a stand-in for the device's graphs that runs a step again on the tensors it was captured with."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, Batch, CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import Progress
from coleaf_framework.record.config import DataConfig, RunConfig
from coleaf_framework.training import experiment, graphs, trainer
from coleaf_framework.training.graphs import WARM_UP, CapturedSteps
from coleaf_framework.training.stepping import Stepper
from tests.helpers.streams import SMALL, small_batch
from tests.helpers.training import CONFIGS, fit, resume_state, same_weights

CLASSES = 3
QUIET: dict[str, Any] = {"width": 8, "dropout": 0.0}
CMPAE = QUIET | {"absence_dropout": 0.0, "visual_dropout": 0.0, "noise_ratios": {"audio": 0.5, "visual": 0.5}}


class Repeating:
    """Captures by keeping the function; a replay calls it, with what Python had at the capture."""

    def __init__(self, *_: object) -> None:
        self.warm, self.captures, self.replays = 0, 0, 0

    def warm_up(self, run: Callable[[], None]) -> None:
        self.warm += 1
        run()

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            run()

        return replay


def model_of(anchor: str, config: CoLeaFConfig) -> CoLeaF:
    torch.manual_seed(0)
    options = CMPAE if anchor == "cmpae" else QUIET
    model = wrap(
        anchor, streams=SMALL, num_classes=CLASSES, config=config, anchor_options=options,
        reference_options={"dropout": 0.0},
    )  # fmt: skip
    return model.train()


def batch_of(videos: int, segments: int = 4) -> Batch:
    labels = (torch.rand(videos, CLASSES) < 0.5).float()
    return Batch(small_batch(segments, videos), labels, ids=tuple(map(str, range(videos))))


def trained(model: CoLeaF, steps: list[list[Batch]], backend: Repeating | None) -> list[dict[str, float]]:
    """Two epochs of these steps; every forward's terms."""
    config = TrainerConfig(anchor_ema=0.9, clip_norm=1.0, lr_step=1)
    stepper = Stepper(model, config, torch.device("cpu"), graphs=backend)
    told: list[dict[str, float]] = []
    for number, batches in enumerate(steps * 2):
        progress = Progress(1 + number // len(steps), number)
        stepper.step(
            batches, progress, lambda output: told.append({n: float(x.detach()) for n, x in output.losses.items()})
        )
        if (number + 1) % len(steps) == 0:
            stepper.end_epoch(progress.epoch)
    return told


@pytest.mark.parametrize(
    ("anchor", "recipe", "kinds"),
    [("han", "paper", 1), ("cmpae", "official", 2)],  # CMPAE's loss differs by step % 2
)
def test_replayed_steps_are_those_of_the_plain_loop(anchor: str, recipe: str, kinds: int) -> None:
    """Other videos in each step, and a last one with fewer; the second epoch turns terms on and lowers the rate."""
    config = CoLeaFConfig.official(anchor_warmup=1, reference_warmup=1) if recipe == "official" else CoLeaFConfig()
    steps = [[batch_of(4)] for _ in range(3 * WARM_UP + 3)] + [[batch_of(3)]]
    backend, plain, captured = Repeating(), model_of(anchor, config), model_of(anchor, config)
    assert trained(captured, steps, backend) == trained(plain, steps, None)
    assert same_weights(captured.state_dict(), plain.state_dict())
    assert backend.captures == 2 * kinds
    assert backend.warm >= 2 * (kinds * WARM_UP + 1)
    assert backend.warm + backend.replays == 2 * len(steps)


def test_a_step_of_parts_is_captured_whole() -> None:
    parts = [[replace(batch_of(2), fraction=0.5), replace(batch_of(2), fraction=0.5)] for _ in range(6)]
    plain, captured = (model_of("han", CONFIGS["official"]) for _ in range(2))
    assert trained(captured, parts, Repeating()) == trained(plain, parts, None)
    assert same_weights(captured.state_dict(), plain.state_dict())


def test_lengths_and_masks_have_graphs_of_their_own() -> None:
    long, short = [[[batch_of(3, t)] for _ in range(5)] for t in (6, 4)]
    masked = [[replace(batch_of(3, 6), mask=torch.arange(6) < torch.tensor([[6], [2], [n]]))] for n in range(1, 6)]
    steps = [step for three in zip(long, short, masked, strict=True) for step in three]
    backend = Repeating()
    plain, captured = (model_of("han", CONFIGS["paper"]) for _ in range(2))
    assert trained(captured, steps, backend) == trained(plain, steps, None)
    assert backend.captures == 2 * 3


class Careless(nn.Module):
    """An Anchor whose step does on the host what a replay would not repeat."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls, self.layer = how, 0, nn.Linear(6, 2 * CLASSES)
        self.scale = float("nan")  # differs from itself, and does not change
        self.memory: Tensor
        self.register_buffer("memory", torch.zeros(()))

    def forward(self, audio: Tensor, visual: Tensor, visual_st: Tensor, mask: Tensor | None = None) -> AnchorOutput:
        self.calls += self.how == "counts"
        if self.how == "remembers":
            self.memory = 0.9 * self.memory + audio.mean()
        probs = self.layer(audio).sigmoid().unflatten(-1, (2, CLASSES))
        return AnchorOutput(probs, probs.mean((1, 2)), audio[:, :, None].expand(-1, -1, 2, -1))

    def loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        ways: dict[str, Callable[[], object]] = {
            "random": random.random,
            "compares": lambda: progress.step > 3,
            "is true": lambda: not progress.step,
            "equals": lambda: progress.step == 0,
            "multiplies": lambda: 0.1 * progress.step,  # type: ignore[operator]
            "names": lambda: [len(name) for name in batch.ids],
        }
        ways.get(self.how, lambda: None)()
        return {"own": output.video_probs.mean()}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("random", "draws random numbers on the host"),
        ("counts", "changes the attribute Careless.calls"),
        ("remembers", "puts another tensor in place of Careless.memory"),
        ("compares", "reads progress.step otherwise than as `step % n`"),
        ("is true", "reads progress.step otherwise than as `step % n`"),
        ("equals", "reads progress.step otherwise than as `step % n`"),
        ("names", "reads the names of videos"),
    ],
)
def test_what_a_replay_would_not_repeat_is_refused_in_the_first_step(how: str, told: str) -> None:
    model = CoLeaF(Careless(how), None, streams=SMALL, num_classes=CLASSES, config=CoLeaFConfig(enabled=False))
    stepper = Stepper(model, TrainerConfig(), torch.device("cpu"), graphs=Repeating())
    with pytest.raises(ValueError, match=f"trainer.cuda_graphs: the training step {told}.*set trainer.cuda_graphs=f"):
        stepper.step([batch_of(2)], Progress(1, 0), lambda _: None)


class Counting(torch.optim.SGD):
    """An optimiser with a number of its own for each step."""

    def step(self, closure: Any = None) -> None:
        self.param_groups[0]["taken"] = self.param_groups[0].get("taken", 0) + 1
        super().step()


def careless(how: str, **options: Any) -> Stepper:
    model = CoLeaF(Careless(how), None, streams=SMALL, num_classes=CLASSES, config=CoLeaFConfig(enabled=False))
    return Stepper(model, TrainerConfig(cuda_graphs=True), torch.device("cpu"), graphs=Repeating(), **options)


def test_an_optimiser_that_counts_steps_is_refused() -> None:
    stepper = careless("", optimizer=lambda p: Counting(p, lr=0.1))
    stepper.step([batch_of(2)], Progress(1, 0), lambda _: None)
    with pytest.raises(ValueError, match=r"changes the attribute Counting.param_groups\[0\]\['taken'\]"):
        stepper.step([batch_of(2)], Progress(1, 1), lambda _: None)


def test_a_state_saved_without_graphs_leaves_the_optimiser_capturable() -> None:
    """PyTorch would take the flag from the state, and refuse the capture of a run that was saved without graphs."""
    plain = Stepper(careless("").model, TrainerConfig(), torch.device("cpu"))
    stepper = careless("")
    stepper.load(plain.state(), 0)
    assert stepper.optimizer.param_groups[0]["capturable"] is True


def test_steps_before_the_capture_warn_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "This instance was constructed with capturable=True or some of all the param_groups came with it"
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: warnings.warn(words, stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        careless("").step([batch_of(2)], Progress(1, 0), lambda _: None)


def test_a_failed_capture_gives_the_stream_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.cuda.graph` leaves its own stream in place where ending the capture raises."""
    now = ["the loop's"]

    @contextmanager
    def graph(*_: object, stream: str, **__: object) -> Iterator[None]:
        now[0] = stream
        yield
        raise RuntimeError("capture was invalidated")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: "the graph's")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: now[0])
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: now.__setitem__(0, stream))
    with pytest.raises(RuntimeError, match="invalidated"):
        graphs.CudaGraphs(torch.device("cuda")).capture(lambda: None)
    assert now == ["the loop's"]


def test_arithmetic_with_the_step_is_refused() -> None:
    model = CoLeaF(Careless("multiplies"), None, streams=SMALL, num_classes=CLASSES, config=CoLeaFConfig(enabled=False))
    stepper = Stepper(model, TrainerConfig(), torch.device("cpu"), graphs=Repeating())
    with pytest.raises(ValueError, match="reads progress.step"):
        stepper.step([batch_of(2)], Progress(1, 0), lambda _: None)


class Failing(Repeating):
    """Fails as PyTorch does: an operator in the capture, and then the capture's end."""

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        finally:
            raise RuntimeError("capture was invalidated")


def test_a_capture_that_fails_ends_the_run_with_the_first_reason() -> None:
    model = model_of("han", CONFIGS["paper"])
    with pytest.raises(
        RuntimeError, match=r"a training step cannot be captured \(operation not permitted[^\n]*\): set trainer\.cuda_g"
    ):
        trained(model, [[batch_of(2)]] * 5, Failing())


def test_a_kind_found_in_a_replayed_branch_only_makes_kinds_finer() -> None:
    """Steps 0 to 5 read `step % 2`, later ones `step % 3` too, as a loss that a new shape of batch takes elsewhere."""
    read: list[int] = []

    def make(batches: Any, progress: Progress, note: Any) -> None:
        read.append(progress.step % 2 + (progress.step % 3 if len(batches[0].labels) == 2 else 0))

    backend = Repeating()
    steps = CapturedSteps(make, nn.Identity(), torch.optim.SGD([nn.Parameter(torch.zeros(1))]), backend)
    for number in range(12):
        steps.step([batch_of(4)], Progress(1, number), lambda _: None)
    assert read == [number % 2 for number in range(12)]
    read.clear()
    for number in range(12, 48):
        steps.step([batch_of(2)], Progress(1, number), lambda _: None)
    assert read == [number % 2 + number % 3 for number in range(12, 48)]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "CudaGraphs", Repeating)
    monkeypatch.setattr(trainer, "require_graphs", lambda *_: None)


def test_a_resumed_run_ends_as_an_uninterrupted_one(stand_in: None, data_root: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 1}
    fit(data_root, tmp_path / "whole", epochs=2, cuda_graphs=True, **settings)
    fit(data_root, tmp_path / "run", epochs=1, cuda_graphs=False, **settings)  # which may change, as the device may
    fit(data_root, tmp_path / "run", epochs=2, cuda_graphs=True, on_existing="resume", **settings)
    whole, resumed = (resume_state(tmp_path / name)["model"] for name in ("whole", "run"))
    assert same_weights(whole, resumed)


def test_without_a_gpu_it_is_refused_before_anything(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trainer\.cuda_graphs needs a CUDA GPU, and trainer\.device is cpu"):
        fit(data_root, tmp_path / "run", cuda_graphs=True)
    assert not (tmp_path / "run").exists()
    config = RunConfig(trainer=TrainerConfig(cuda_graphs=True, device="cpu"), data=DataConfig(root="nowhere"))
    with pytest.raises(ValueError, match=r"trainer\.cuda_graphs needs a CUDA GPU"):
        experiment.train(config, tmp_path / "run")
    with pytest.raises(ValueError, match="is for one process, not for 2 ranks"):
        graphs.require_graphs(torch.device("cuda"), 2)


def test_an_optimiser_that_cannot_be_captured_is_refused(stand_in: None, data_root: Path) -> None:
    train = AVVPFolder(data_root, "train")
    model = wrap("han", streams=train.streams, num_classes=3, anchor_options={"width": 8})
    config = TrainerConfig(epochs=1, device="cpu", cuda_graphs=True, monitor=())
    with pytest.raises(ValueError, match="optimizer returned NAdam without capturable=True"):
        CoLeaFTrainer(model, config, quiet=True, optimizer=lambda p: torch.optim.NAdam(p)).fit(train)
    CoLeaFTrainer(model, config, quiet=True, optimizer=lambda p: torch.optim.SGD(p)).fit(train)  # has no such option


def test_compiled_and_captured_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="compile and cuda_graphs were not tried together"):
        TrainerConfig(compile=True, cuda_graphs=True)
