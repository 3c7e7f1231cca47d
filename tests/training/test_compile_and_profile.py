"""Compiled networks train alike; a profile tells where a step's time went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from coleaf_framework import Batch, CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder
from coleaf_framework.protocol import Progress
from coleaf_framework.training.profiling import Profiler
from coleaf_framework.training.progress import TrainingProgress
from tests.helpers.networks import TinyNet
from tests.helpers.streams import SMALL as STREAMS
from tests.helpers.streams import small_batch
from tests.helpers.training import FAST, SMALL, fit

QUIET: dict[str, Any] = {"dropout": 0.0}


@pytest.mark.slow
def test_compiled_networks_train_alike(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that needs no compiler."""
    original, compiled = nn.Module.compile, []

    def compile_eagerly(network: nn.Module, **options: Any) -> None:
        compiled.append(type(network).__name__)
        original(network, backend="aot_eager", **options)

    monkeypatch.setattr(nn.Module, "compile", compile_eagerly)
    train, losses = AVVPFolder(data_root, "train"), {}
    for compile_ in (False, True):
        torch.manual_seed(0)
        model = wrap(
            "han", streams=train.streams, num_classes=3, anchor_options=SMALL | QUIET, reference_options=QUIET,
            config=CoLeaFConfig(anchor_warmup=0, reference_warmup=0),
        )  # fmt: skip
        names = list(model.state_dict())
        config = TrainerConfig(epochs=2, compile=compile_, **FAST)  # type: ignore[arg-type]
        losses[compile_] = CoLeaFTrainer(model, config, quiet=True).fit(train)[-1]["losses"]
        assert list(model.state_dict()) == names
    assert compiled == ["HAN", "ClassTokenReference"]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


def test_a_network_with_an_adapter_is_not_compiled(data_root: Path) -> None:
    model = wrap(TinyNet(), adapter=lambda net, streams: net(**streams), config=CoLeaFConfig(enabled=False))
    with pytest.raises(ValueError, match=r"trainer\.compile compiles a network that is called directly"):
        CoLeaFTrainer(model, TrainerConfig(compile=True, **FAST)).fit(AVVPFolder(data_root, "train"))  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_profile_names_every_phase_and_writes_a_trace(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = AVVPFolder(data_root, "train")
    model = wrap("han", streams=train.streams, num_classes=3, anchor_options=SMALL)
    config = TrainerConfig(**(FAST | {"epochs": 5, "batch_size": 2}))  # type: ignore[arg-type]
    CoLeaFTrainer(model, config, out=tmp_path / "run", quiet=True, profile=True).fit(train)
    told = capsys.readouterr().out
    for name in ("data", "Anchor forward", "Reference forward", "losses", "backward", "optimizer"):
        assert name in told
    assert json.loads((tmp_path / "run/trace.json").read_text())["traceEvents"]


def test_a_run_too_short_for_a_profile_says_so(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = AVVPFolder(data_root, "train")
    model = wrap("han", streams=train.streams, num_classes=3, anchor_options=SMALL)
    config = TrainerConfig(**(FAST | {"epochs": 1}))  # type: ignore[arg-type]
    CoLeaFTrainer(model, config, out=tmp_path / "run", quiet=True, profile=True).fit(train)
    assert "--profile: the run had fewer than" in capsys.readouterr().err


@pytest.mark.slow
def test_memory_stays_flat(data_root: Path) -> None:
    """Tensors alive after the fifth and after the twentieth epoch; benchmarks/torture.py watches the process."""
    import gc

    epochs, alive = iter(range(1, 21)), []

    def counted(*_: Any) -> None:
        if next(epochs) in (5, 20):  # looking at all objects takes a second
            gc.collect()
            alive.append(sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects()))

    from coleaf_framework.training.progress import TrainingProgress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingProgress, "epoch_done", counted)
        fit(data_root, None, epochs=20)
    after_5, after_20 = alive
    assert after_20 <= after_5


def test_a_linked_trace_is_replaced_and_its_path_shown_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "target").write_text("somebody's")
    trace = tmp_path / "b[v2]/trace.json"
    profiler = Profiler(trace)
    trace.parent.mkdir()
    trace.symlink_to(tmp_path / "target")
    for _ in range(13):
        profiler.step()
    profiler.stop()
    assert (tmp_path / "target").read_text() == "somebody's"
    assert "traceEvents" in json.loads(trace.read_text())
    assert "b[v2]/trace.json" in capsys.readouterr().out


def test_loss_terms_with_markup_in_their_names_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with TrainingProgress(1, 1, quiet=False) as progress:
        progress.step(1, 1, {"anchor/own[v2]": 0.5}, 1)
    assert "own[v2] 0.500" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("anchor", ["han", "cmpae"])
def test_a_step_compiles_into_one_graph(anchor: str) -> None:
    """Networks, losses and labels of the official recipe, without a break, and with the terms of the step as it is.

    With a backend that needs no compiler; dropout is off, since a compiled step draws other random numbers.
    """
    off = {"absence_dropout": 0.0, "visual_dropout": 0.0, "noise_ratios": {"audio": 0.5, "visual": 0.5}}
    config = CoLeaFConfig.official(anchor_warmup=0, reference_warmup=0)
    model = wrap(
        anchor, streams=STREAMS, num_classes=4, config=config, reference_options=QUIET,
        anchor_options=SMALL | QUIET | (off if anchor == "cmpae" else {}),
    ).train()  # fmt: skip
    batch = Batch(small_batch(10), (torch.rand(3, 4) < 0.5).float())

    def losses() -> dict[str, torch.Tensor]:
        progress = Progress(2, 3)
        return model.update(batch, progress, "reference").losses | model.update(batch, progress, "anchor").losses

    torch.compiler.reset()
    compiled = torch.compile(losses, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(), losses(), rtol=1e-5, atol=1e-6)
