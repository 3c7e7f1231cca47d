"""`wrap(loss=...)`: a loss of what the network itself returns."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, Batch, CoLeaF, CoLeaFConfig, load_anchor, wrap
from coleaf_framework.protocol import PAST_EVERY_WARMUP, Progress
from tests.helpers.networks import NUM_CLASSES, STREAMS, TinyNet, batch_of
from tests.helpers.signal_networks import BY_PLACE, TwoHeads, put_in

ALONE = CoLeaFConfig(enabled=False)


def mean_and_square(raw: Any, batch: Batch) -> dict[str, Tensor]:
    """Two terms, each a mean over videos, of (segment probabilities, video probabilities, tokens)."""
    return {"frames": raw[0].mean(), "video": (raw[1] - batch.labels).square().mean()}


def adapter(net: nn.Module, streams: Any) -> AnchorOutput:
    return AnchorOutput(*net(**streams))


@pytest.mark.parametrize("how", ["declared", "adapter", "as it is"])
def test_its_terms_replace_the_networks_own(how: str) -> None:
    given: dict[str, Any] = {"config": ALONE}
    if how == "as it is":
        model = wrap(TinyNet(), loss=lambda raw, batch: raw.video_probs.square().mean(), **given)
        batch = batch_of()
        assert model(batch).keys() == {"anchor/loss"}
        assert model(batch)["anchor/loss"] == model.anchor(**batch.streams).video_probs.square().mean()
        return
    if how == "adapter":
        given |= {"adapter": adapter, "outputs": None, "tokens": None}
    net = TwoHeads()
    net.loss = lambda output, batch, progress: {"own": output.video_probs.mean()}  # type: ignore[assignment]
    model, batch = put_in(net, loss=mean_and_square, **given), batch_of()
    losses, expected = model(batch), mean_and_square(net(**batch.streams), batch)
    assert losses.keys() == {"anchor/frames", "anchor/video"}
    assert all(torch.equal(losses[f"anchor/{name}"], x) for name, x in expected.items())


def test_a_step_is_that_of_the_loss_by_hand() -> None:
    model, batch = put_in(TwoHeads(), loss=mean_and_square, config=ALONE), batch_of()
    plain = TwoHeads()
    plain.load_state_dict(model.anchor.state_dict())
    for parameters, total in (
        (model.anchor.parameters(), torch.stack(list(model(batch).values())).sum()),
        (plain.parameters(), torch.stack(list(mean_and_square(plain(**batch.streams), batch).values())).sum()),
    ):
        optimizer = torch.optim.SGD(list(parameters), lr=0.1)
        total.backward()
        optimizer.step()
    for x, y in zip(model.anchor.parameters(), plain.parameters(), strict=True):
        assert torch.equal(x, y)


def test_it_may_ask_for_the_progress_of_training() -> None:
    def later(raw: Any, batch: Batch, progress: Progress) -> Tensor:
        return min(progress.epoch, 9) * (raw[0].mean() + raw[1].mean())

    model, batch = put_in(TwoHeads(), loss=later, config=ALONE).eval(), batch_of()
    once, nine = (model(batch, p)["anchor/loss"].item() for p in (Progress(1), PAST_EVERY_WARMUP))
    assert nine == pytest.approx(9 * once)


def test_a_default_of_a_third_argument_is_left_alone() -> None:
    model = put_in(TwoHeads(), loss=lambda raw, batch, weight=2.0: weight * (raw[0].mean() + raw[1].mean()))
    batch = batch_of()
    raw = model.anchor(**batch.streams)
    assert model(batch)["anchor/loss"].item() == pytest.approx(2 * (raw[0].mean() + raw[1].mean()).item())


def test_official_adds_its_terms_to_it() -> None:
    model = put_in(TwoHeads(), loss=lambda raw, batch: {"mine": raw[0].mean()}, config=CoLeaFConfig.official())
    assert {"anchor/mine", "anchor/audio", "anchor/visual", "anchor/video"} < model(batch_of()).keys()


@pytest.mark.parametrize("config", [ALONE, CoLeaFConfig(update="reference_first", contrast="nce")])
def test_micro_batches_add_up_to_the_step(config: CoLeaFConfig) -> None:
    model, batch = put_in(TwoHeads(), loss=mean_and_square, config=config), batch_of(videos=4)

    def terms(part: Batch) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        shared = model.shared_pass(part, Progress(9))
        for which in model.updates(Progress(9)):
            found |= model.update(part, Progress(9), which, shared).losses
        return found

    parts = [
        Batch({n: x[half] for n, x in batch.streams.items()}, batch.labels[half], fraction=0.5)
        for half in (slice(2), slice(2, 4))
    ]
    whole, (first, second) = terms(batch), map(terms, parts)
    for name in ("anchor/frames", "anchor/video"):
        assert whole[name].item() == pytest.approx((first[name] + second[name]).item(), rel=1e-5)


def test_distributed_data_parallel_gives_the_same_gradients(tmp_path: Path) -> None:
    model, batch = put_in(TwoHeads(), loss=mean_and_square, config=ALONE), batch_of()
    torch.stack(list(model(batch).values())).sum().backward()
    expected = [x.grad.clone() for x in model.parameters() if x.grad is not None]
    model.zero_grad()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        torch.stack(list(nn.parallel.DistributedDataParallel(model)(batch).values())).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    for x, y in zip([x.grad for x in model.parameters() if x.grad is not None], expected, strict=True):
        assert torch.allclose(x, y)


def test_no_hook_stays_on_the_network() -> None:
    model = put_in(TwoHeads(), loss=mean_and_square)
    model(batch_of())
    assert not model.anchor._forward_hooks


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda raw: raw[0].mean(), r"loss takes \(raw\), where a function \(raw, batch\) or"),
        (lambda raw, batch: {}, r"wrap\(loss=...\) returns an empty mapping"),
        (lambda raw, batch: {"contrast": raw[0].mean()}, "'contrast' is the name of a term of CoLeaF"),
        (lambda raw, batch: raw[7].mean(), r"loss\(raw, batch\) fails on a synthetic batch: IndexError"),
        (lambda raw, batch: raw[0], "'loss' is not a finite scalar tensor with gradient"),
        (3, "loss is 3, where a function"),
    ],
)
def test_a_bad_one_is_named(loss: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        put_in(TwoHeads(), loss=loss)


def test_parameters_of_its_own_are_refused() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, raw: Any, batch: Batch) -> Tensor:
            return self.weight * raw[0].mean()

    with pytest.raises(ValueError, match="loss has parameters of its own, which nothing would train"):
        put_in(TwoHeads(), loss=Weighted())


def test_a_run_without_one_is_given_none(tmp_path: Path) -> None:
    put_in(TwoHeads(), config=ALONE).save(tmp_path)
    with pytest.raises(ValueError, match=r"its Anchor was wrapped without a loss: leave out loss="):
        CoLeaF.load(tmp_path, anchor=TwoHeads(), loss=mean_and_square)


def test_it_contradicts_the_loss_video() -> None:
    with pytest.raises(ValueError, match=r"anchor_loss 'video' is BCE .* so loss=... would do nothing"):
        put_in(TwoHeads(), loss=mean_and_square, config=CoLeaFConfig(anchor_loss="video"))


def test_an_adapter_that_runs_the_network_twice_has_no_one_return_value() -> None:
    def twice(net: nn.Module, streams: Any) -> AnchorOutput:
        net(**streams)
        return AnchorOutput(*net(**streams))

    whole: dict[str, Any] = {"streams": STREAMS, "num_classes": NUM_CLASSES, "adapter": twice}
    with pytest.raises(ValueError, match="its adapter runs the network 2 times, so there is no one return value"):
        wrap(TwoHeads(), loss=mean_and_square, **whole)
    wrap(TwoHeads(), **whole)


@pytest.fixture
def module_of_losses(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module `losses_of_mine` with a function `f`, that can be imported."""
    module = ModuleType("losses_of_mine")
    exec("def f(raw, batch):\n    return raw[0].mean() + raw[1].mean()", module.__dict__)
    monkeypatch.setitem(sys.modules, "losses_of_mine", module)
    return module


def test_a_function_of_a_module_is_recorded_and_loaded_where_it_is_trusted(
    module_of_losses: ModuleType, tmp_path: Path
) -> None:
    model, batch = put_in(TwoHeads(), loss=module_of_losses.f, config=ALONE), batch_of()
    assert model.record is not None
    assert model.record.model.loss == "losses_of_mine:f"
    model.save(tmp_path)
    loaded = CoLeaF.load(tmp_path, anchor=TwoHeads(), trust=True)
    assert torch.equal(loaded(batch)["anchor/loss"], model(batch)["anchor/loss"])
    unknown = CoLeaF.load(tmp_path, anchor=TwoHeads())
    assert torch.equal(unknown.infer(batch).video_probs, model.infer(batch).video_probs)
    with pytest.raises(ValueError, match=r"was trained by the loss losses_of_mine:f: pass loss=.*, or trust=True"):
        unknown(batch)


def test_a_function_of_no_module_is_asked_for(tmp_path: Path) -> None:
    def local(raw: Any, batch: Batch) -> Tensor:
        return raw[0].mean() + raw[1].mean()

    model, batch = put_in(TwoHeads(), loss=local, config=ALONE), batch_of()
    model.save(tmp_path)
    with pytest.raises(ValueError, match=r"was trained by a loss given to wrap: pass loss=<that function>$"):
        CoLeaF.load(tmp_path, anchor=TwoHeads(), trust=True)(batch)
    loaded = CoLeaF.load(tmp_path, anchor=TwoHeads(), loss=local)
    assert torch.equal(loaded(batch)["anchor/loss"], model(batch)["anchor/loss"])
    assert isinstance(load_anchor(tmp_path, anchor=TwoHeads()), TwoHeads)


def test_a_recorded_loss_that_is_gone_is_named(module_of_losses: ModuleType, tmp_path: Path) -> None:
    put_in(TwoHeads(), loss=module_of_losses.f, config=ALONE).save(tmp_path)
    del module_of_losses.f
    with pytest.raises(ValueError, match=r"config.yaml: loss losses_of_mine:f: losses_of_mine has no function 'f'"):
        CoLeaF.load(tmp_path, anchor=TwoHeads(), trust=True)


def test_the_outputs_that_no_declaration_reads_reach_it() -> None:
    class Extra(TwoHeads):
        def __init__(self) -> None:
            super().__init__()
            self.aux = nn.Linear(8, 1)

        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            *_, tokens = out = super().forward(audio, visual)
            return (*out, self.aux(tokens))

    def published(raw: Any, batch: Batch) -> dict[str, Tensor]:
        return {**mean_and_square(raw, batch), "extra": raw[3].square().mean()}

    model = put_in(Extra(), loss=published, outputs=BY_PLACE)
    assert model.frozen == ()
    assert model.training_signal().share("aux", "extra") == 1
