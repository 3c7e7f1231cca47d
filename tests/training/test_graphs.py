"""Captured steps, by a stand-in for the device's graphs that runs a step again on the tensors it was captured with."""

from __future__ import annotations

import random
from collections.abc import Callable
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
from coleaf_framework.training import graphs, trainer
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
    stepper = Stepper(model, TrainerConfig(anchor_ema=0.9, clip_norm=1.0), torch.device("cpu"), graphs=backend)
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
    [("han", "paper", 1), ("han", "official", 1), ("cmpae", "official", 2)],  # CMPAE's loss differs by step % 2
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

    def forward(self, audio: Tensor, visual: Tensor, visual_st: Tensor, mask: Tensor | None = None) -> AnchorOutput:
        self.calls += self.how == "counts"
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
    steps = CapturedSteps(make, nn.Identity(), backend)
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
    fit(data_root, tmp_path / "plain", epochs=2, **settings)
    fit(data_root, tmp_path / "whole", epochs=2, cuda_graphs=True, **settings)
    fit(data_root, tmp_path / "run", epochs=1, cuda_graphs=True, **settings)
    fit(data_root, tmp_path / "run", epochs=2, cuda_graphs=True, on_existing="resume", **settings)
    whole, resumed, plain = (resume_state(tmp_path / name)["model"] for name in ("whole", "run", "plain"))
    assert same_weights(whole, resumed)
    assert same_weights(whole, plain)


def test_without_a_gpu_it_is_refused_before_anything(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trainer\.cuda_graphs needs a CUDA GPU, and trainer\.device is cpu"):
        fit(data_root, tmp_path / "run", cuda_graphs=True)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="is for one process, not for 2 ranks"):
        graphs.require_graphs(torch.device("cuda"), 2)


def test_an_optimiser_that_cannot_be_captured_is_refused(stand_in: None, data_root: Path) -> None:
    train = AVVPFolder(data_root, "train")
    model = wrap("han", streams=train.streams, num_classes=3, anchor_options={"width": 8})
    config = TrainerConfig(epochs=1, device="cpu", cuda_graphs=True, monitor=())
    with pytest.raises(ValueError, match="optimizer returned NAdam without capturable=True"):
        CoLeaFTrainer(model, config, quiet=True, optimizer=lambda p: torch.optim.NAdam(p)).fit(train)


def test_compiled_and_captured_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="compile and cuda_graphs were not tried together"):
        TrainerConfig(compile=True, cuda_graphs=True)
