"""Optimisers, schedules, clipping and the Anchor's moving average: what each does, and that all resume bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from coleaf_backbones.valor import VALOR
from torch import nn
from torch.optim import NAdam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from coleaf_framework import CoLeaF, CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework._config import WrongTypeError
from coleaf_framework.data import AVVPFolder
from coleaf_framework.storage import read_tensors, write_state
from coleaf_framework.training.losslog import LossLog
from coleaf_framework.training.optimization import learning_rate_groups, make_optimizer, make_schedule
from tests.helpers.training import FAST, SMALL, Interrupted, interrupt_at, resume_state, same_weights

EVERYTHING = {
    "optimizer": "sgd",
    "schedule": "cosine",
    "warmup_epochs": 1,
    "clip_norm": 0.05,
    "anchor_ema": 0.5,
    "weight_decay": 0.01,
}
VALORS = {"optimizer": "adamw", "adam_betas": (0.5, 0.999), "schedule": "cosine", "warmup_epochs": 1, "lr_min": 1e-5}


def nadam(parameters: list[nn.Parameter]) -> Optimizer:
    return NAdam(parameters, lr=1e-3)


def exponential(optimizer: Optimizer) -> LRScheduler:
    return ExponentialLR(optimizer, 0.9)


FACTORIES: dict[str, Callable[..., Any]] = {"optimizer": nadam, "schedule": exponential}


def trainer_of(
    data_root: Path,
    out: Path | None = None,
    *,
    on_existing: Any = "refuse",
    coleaf: dict[str, Any] | None = None,
    factories: dict[str, Any] | None = None,
    **settings: Any,
) -> CoLeaFTrainer:
    torch.manual_seed(0)
    streams = AVVPFolder(data_root, "train").streams
    config = CoLeaFConfig(**({"anchor_warmup": 0} | (coleaf or {})))  # type: ignore[arg-type]
    model = wrap("han", streams=streams, num_classes=3, anchor_options=SMALL, config=config)
    values = TrainerConfig(**(FAST | {"epochs": 4} | settings))
    return CoLeaFTrainer(model, values, out=out, on_existing=on_existing, quiet=True, **(factories or {}))


def fit(data_root: Path, *args: Any, **kwargs: Any) -> CoLeaFTrainer:
    trainer = trainer_of(data_root, *args, **kwargs)
    trainer.fit(AVVPFolder(data_root, "train"), AVVPFolder(data_root, "val"))
    return trainer


def rates(schedule: dict[str, Any], epochs: int, head_start: int = 0) -> list[float]:
    """The learning rate of each epoch, of a base rate of 1 if none is said."""
    config = TrainerConfig(**{"learning_rate": 1.0, **schedule, "epochs": epochs})
    optimizer = make_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], config, torch.device("cpu"))
    made, seen = make_schedule(optimizer, config, head_start), []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return seen


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"lr_step": 2, "lr_gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25]),
        ({"schedule": "constant"}, [1, 1, 1, 1, 1]),
        ({"schedule": "cosine"}, [1, 0.904508, 0.654508, 0.345492, 0.095492]),
        ({"schedule": "constant", "warmup_epochs": 3}, [0.25, 0.5, 0.75, 1, 1]),
        ({"lr_step": 1, "lr_gamma": 0.5, "warmup_epochs": 1}, [0.5, 1, 0.5, 0.25, 0.125]),
        ({"schedule": "cosine", "warmup_epochs": 1}, [0.5, 1, 0.853553, 0.5, 0.146447]),
        ({"schedule": "cosine", "lr_min": 0.2}, [1, 0.882843, 0.6, 0.317157, 0.2]),
    ],
)
def test_schedules_have_their_shapes(schedule: dict[str, Any], expected: list[float]) -> None:
    assert rates(schedule, 5) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("rate", "least"), [(1e-4, 1e-6), (3e-4, 3e-6)], ids=["VALOR", "VALOR+"])
def test_every_epoch_has_the_learning_rate_published_for_valor(rate: float, least: float) -> None:
    """By the sheet of facts: e / 10 of it while e < 10, then a cosine down to the least over the 50 that follow."""
    values = VALOR.published_training | {"learning_rate": rate, "lr_min": least}
    epochs = range(1, 61)
    cosine = [(1 + math.cos(math.pi * (e - 10) / 50)) / 2 for e in epochs]
    published = [rate * e / 10 if e < 10 else least + (rate - least) * c for e, c in zip(epochs, cosine, strict=True)]
    assert rates(dict(values), 60) == pytest.approx(published, rel=1e-9)
    assert (published[9], published[59]) == pytest.approx((rate, least))


def test_a_cosine_without_a_least_rate_is_torchs_to_the_bit() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, expected = CosineAnnealingLR(optimizer, 7), []
    for _ in range(7):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates({"schedule": "cosine"}, 7) == expected


def test_a_cosine_reaches_its_end_however_long_the_head_start(data_root: Path) -> None:
    history = fit(data_root, coleaf={"reference_head_start": 2}, schedule="cosine", learning_rate=1.0).history
    assert [entry["lr"] for entry in history] == pytest.approx([1, 1, 1, 0.5])


@pytest.mark.parametrize(
    ("settings", "kind", "decay"),
    [
        ({}, torch.optim.Adam, 0),
        ({"weight_decay": 0.1}, torch.optim.AdamW, 0.1),
        ({"optimizer": "adamw"}, torch.optim.AdamW, 0),
        ({"optimizer": "sgd", "weight_decay": 0.1}, torch.optim.SGD, 0.1),
        ({"weight_decay": 0.1, "adam_betas": (0.5, 0.99)}, torch.optim.AdamW, 0.1),
        ({"adam_betas": (0.5, 0.99)}, torch.optim.Adam, 0),
    ],
)
def test_optimisers_by_name(settings: dict[str, Any], kind: type, decay: float) -> None:
    made = make_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], TrainerConfig(**settings), torch.device("cpu"))
    assert type(made) is kind
    assert made.param_groups[0]["weight_decay"] == decay
    assert made.param_groups[0].get("momentum", 0.9) == 0.9
    if kind is not torch.optim.SGD:
        assert made.param_groups[0]["betas"] == settings.get("adam_betas", (0.9, 0.999))


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize(
    "made", [{**EVERYTHING}, {**VALORS}, {"factories": FACTORIES}], ids=["named", "valor's", "factories"]
)
def test_whatever_optimises_resumes_bit_for_bit(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: dict[str, Any], step: int
) -> None:
    """Two steps an epoch; interrupted in the first epoch, which warms up, and in the third."""
    whole = fit(data_root, tmp_path / "whole", checkpoint_steps=1, **made)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            fit(data_root, tmp_path / "cut", checkpoint_steps=1, **made)
    again = fit(data_root, tmp_path / "cut", on_existing="resume", checkpoint_steps=1, **made)
    assert same_weights(again.model.state_dict(), whole.model.state_dict())
    for key in ("model", "anchor_average"):
        states = [resume_state(tmp_path / name)[key] or {} for name in ("whole", "cut")]
        assert same_weights(*states), key
    assert [(e["lr"], e["losses"], e["val"]) for e in again.history] == [
        (e["lr"], e["losses"], e["val"]) for e in whole.history
    ]


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_state_of_before_there_were_schedules_goes_on(data_root: Path, tmp_path: Path, epochs: int) -> None:
    """Such a state has the learning rate of the epoch that was done, and keeps theta among the loss terms."""
    whole = fit(data_root, lr_step=1)
    fit(data_root, tmp_path / "old", epochs=epochs, lr_step=1)
    state = resume_state(tmp_path / "old")
    for key in ("optimizer_class", "schedule", "schedule_class", "anchor_average"):
        del state[key]
    del state["losses"]["observed"]
    for group in state["optimizer"]["param_groups"]:
        del group["initial_lr"]
        group["lr"] = state["history"][-1]["lr"]
    write_state(tmp_path / "old/resume.safetensors", state)
    again = fit(data_root, tmp_path / "old", on_existing="resume", lr_step=1)
    assert [entry["lr"] for entry in again.history] == [entry["lr"] for entry in whole.history]
    assert same_weights(again.model.state_dict(), whole.model.state_dict())


def test_observations_of_an_older_state_are_told_from_its_losses() -> None:
    log = LossLog(
        2, {"sums": {"anchor/video": 1.0, "theta/audio": 0.5}, "steps": {"anchor/video": 1, "theta/audio": 1}}
    )
    assert (log.means(), log.observed()) == ({"anchor/video": 1.0}, {"theta/audio": 0.5})


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (None, nadam, "has train.optimizer = None, now it is 'NAdam'"),
        (nadam, None, "has train.optimizer = 'NAdam', now it is None"),
        (nadam, lambda parameters: torch.optim.SGD(parameters, lr=1e-3), "= 'NAdam', now it is 'SGD'"),
        (nadam, lambda parameters: NAdam(parameters, lr=1e-3, betas=(0.8, 0.9)), "other betas than this run"),
    ],
)
def test_resuming_with_another_factory_is_refused(
    data_root: Path, tmp_path: Path, before: Any, after: Any, message: str
) -> None:
    fit(data_root, tmp_path / "run", epochs=1, factories={"optimizer": before})
    with pytest.raises(ValueError, match=message):
        fit(data_root, tmp_path / "run", on_existing="resume", factories={"optimizer": after})


@pytest.mark.parametrize("what", ["optimizer", "schedule"])
def test_a_state_of_another_class_is_refused(data_root: Path, tmp_path: Path, what: str) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    path = tmp_path / "run/resume.safetensors"
    write_state(path, {**resume_state(tmp_path / "run"), f"{what}_class": "Other"})
    with pytest.raises(ValueError, match=rf"resume\.safetensors: not a state of this run: its {what} is Other"):
        fit(data_root, tmp_path / "run", on_existing="resume")


def test_a_cosine_cannot_go_on_for_more_epochs(data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "run", epochs=2, schedule="cosine")
    with pytest.raises(ValueError, match="its schedule was made for T_max 2, this run's for 4"):
        fit(data_root, tmp_path / "run", on_existing="resume", schedule="cosine")


def test_a_state_without_the_average_is_refused(data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "run", epochs=1, anchor_ema=0.5)
    path = tmp_path / "run/resume.safetensors"
    write_state(path, {**resume_state(tmp_path / "run"), "anchor_average": None})
    with pytest.raises(ValueError, match=r"anchor_average\..* is missing"):
        fit(data_root, tmp_path / "run", on_existing="resume", anchor_ema=0.5)


@pytest.mark.parametrize(
    ("factories", "settings", "message"),
    [
        ({"optimizer": lambda parameters: None}, {}, "optimizer returned None, where a torch.optim.Optimizer"),
        ({"schedule": lambda optimizer: optimizer}, {}, "where a torch LRScheduler was expected"),
        ({"schedule": ReduceLROnPlateau}, {}, "ReduceLROnPlateau, which waits for a metric"),
        ({"schedule": exponential}, {"warmup_epochs": 1}, "warmup_epochs=1 is for named schedules"),
    ],
)
def test_factories_that_make_something_else_are_told(
    data_root: Path, factories: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        fit(data_root, factories=factories, **settings)


def test_a_factory_must_be_callable(data_root: Path) -> None:
    with pytest.raises(WrongTypeError, match="optimizer is 'adam', where a function that makes one was expected"):
        trainer_of(data_root, factories={"optimizer": "adam"})


def test_a_schedule_that_moves_momentum_too_resumes(data_root: Path, tmp_path: Path) -> None:
    factories = {"schedule": lambda optimizer: OneCycleLR(optimizer, max_lr=1e-3, total_steps=10)}
    whole = fit(data_root, factories=factories)
    fit(data_root, tmp_path / "run", epochs=2, factories=factories)
    again = fit(data_root, tmp_path / "run", on_existing="resume", factories=factories)
    assert same_weights(again.model.state_dict(), whole.model.state_dict())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 2, "warmup_epochs": 2}, "warmup_epochs=2 leaves none of epochs=2 at the full rate"),
        ({"momentum": 0.5}, "momentum is for optimizer sgd alone, not adam"),
        ({"lr_step": 3, "schedule": "cosine"}, "lr_step is for schedule step alone, not cosine"),
        ({"lr_min": 1e-6}, "lr_min is for schedule cosine alone, not step"),
        ({"lr_min": 1e-3, "schedule": "cosine"}, "lr_min=0.001 is above learning_rate=0.0005"),
        ({"adam_betas": (0.5, 0.999), "optimizer": "sgd"}, "adam_betas is for optimizer adam and adamw alone, not sgd"),
        ({"adam_betas": (0.5, 1.0)}, "Input should be less than 1"),
    ],
)
def test_values_that_would_do_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainerConfig(**values)


def norms(model: CoLeaF) -> list[float]:
    branches = (model.anchor, model.reference)
    return [
        torch.stack([p.grad.norm() for p in b.parameters() if p.grad is not None]).norm().item()
        for b in branches
        if b is not None
    ]


def test_each_branchs_gradient_is_clipped_by_itself(data_root: Path) -> None:
    """The last step's gradients are looked at: short ones stay as they are, long ones get the norm asked for."""
    free = norms(fit(data_root, epochs=1, batch_size=6).model)
    limit = sum(free) / 2
    clipped = norms(fit(data_root, epochs=1, batch_size=6, clip_norm=limit).model)
    assert min(free) < limit < max(free)
    assert clipped == pytest.approx([min(norm, limit) for norm in free], rel=1e-3)


def test_the_anchors_average_is_scored_and_saved(data_root: Path, tmp_path: Path) -> None:
    trainer = fit(data_root, tmp_path / "run", anchor_ema=0.9, monitor=(), learning_rate=0.05)
    state, saved = resume_state(tmp_path / "run"), read_tensors(tmp_path / "run/model.safetensors")
    average = {f"anchor.{name}": x for name, x in state["anchor_average"].items()}
    trained = {name: x for name, x in state["model"].items() if name.startswith("anchor.")}
    assert same_weights({name: x for name, x in saved.items() if name.startswith("anchor.")}, average)
    assert not same_weights(trained, average)
    assert same_weights(trainer.model.state_dict(), saved)
    scores = trainer.evaluate(AVVPFolder(data_root, "val")).scores
    assert trainer.history[-1]["val"] == pytest.approx(dict(scores), nan_ok=True)


def test_the_average_changes_nothing_that_is_trained(data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "with", anchor_ema=0.9)
    fit(data_root, tmp_path / "without")
    assert same_weights(*(resume_state(tmp_path / name)["model"] for name in ("with", "without")))


def test_parts_of_an_anchor_have_learning_rates_of_their_own() -> None:
    slow, rest, other = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    anchor = nn.ModuleDict({"slow": slow, "rest": rest})
    anchor.learning_rate_factors = {"slow.": 0.5}
    slow.bias.requires_grad_(False)
    groups = learning_rate_groups(anchor, other.parameters(), 0.1)
    assert [group["lr"] for group in groups] == [0.1, 0.05]
    expected: list[list[Any]] = [[*rest.parameters(), *other.parameters()], [slow.weight]]
    assert [[id(p) for p in group["params"]] for group in groups] == [[id(p) for p in own] for own in expected]


@pytest.mark.parametrize("factors", [{"gone.": 0.5}, {"0.": 0.0}])
def test_a_learning_rate_factor_of_nothing_or_of_0_is_refused(factors: dict[str, float]) -> None:
    anchor = nn.Sequential(nn.Linear(2, 2))
    anchor.learning_rate_factors = factors
    with pytest.raises(ValueError, match=r"Sequential\.learning_rate_factors"):
        learning_rate_groups(anchor, [], 0.1)
