"""Networks in the published style go in unedited, give the right fields, and come out as they were."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from coleaf_framework import DERIVE, AnchorOutput, CoLeaF, CoLeaFConfig, Out, Tap, load_anchor, wrap
from coleaf_framework.adapters import plain_values
from coleaf_framework.protocol import Progress
from tests.helpers import published_style as nets
from tests.helpers.networks import NUM_CLASSES, STREAMS, batch_of
from tests.helpers.published_style import DECLARED, put_in

SEGMENTS = 10


def expected(net: nn.Module, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
    """Segment probabilities and tokens of every published-style network but the special ones, computed by hand."""
    a, v = net.fc_a(audio), net.fc_v(visual.unflatten(1, (-1, 2)).mean(2))
    tokens = torch.stack([a + net.encoder.mix(v), v + net.encoder.mix(a)], dim=2)
    return net.fc_prob(tokens).sigmoid(), tokens


@pytest.mark.parametrize("kind", DECLARED)
def test_goes_in_and_trains(kind: Any) -> None:
    model = put_in(kind)
    terms = model(batch_of(segments=SEGMENTS), Progress(5))
    assert {"anchor/contrast", "anchor/cooccurrence", "reference/self_modality"} <= set(terms)
    torch.stack(list(terms.values())).sum().backward()
    assert model.anchor.encoder.mix.weight.grad.any()


@pytest.mark.parametrize(
    "kind",
    [nets.PositionalTuple, nets.ApartLogits, nets.TenSegments, nets.HalfDead, nets.CudaInside, nets.Checkpointed],
)
def test_the_fields_are_the_right_ones(kind: Any) -> None:
    model, batch = put_in(kind), batch_of(segments=SEGMENTS)
    output = model.infer(batch)
    segment_probs, tokens = expected(model.anchor, **batch.streams)
    torch.testing.assert_close(output.segment_probs, segment_probs)
    torch.testing.assert_close(output.tokens, tokens)


def test_evidence_becomes_probability() -> None:
    model, batch = put_in(nets.Evidential), batch_of()
    output, (pair, present, absent, *_) = model.infer(batch), model.anchor(**batch.streams)
    torch.testing.assert_close(output.segment_probs, pair[..., 0] / (pair[..., 0] + pair[..., 1]))
    assert output.modality_probs is not None
    torch.testing.assert_close(output.modality_probs, present / (present + absent))
    derived = 1 - (1 - output.modality_probs[:, 0]) * (1 - output.modality_probs[:, 1])
    torch.testing.assert_close(output.video_probs, derived)


def test_runs_are_combined() -> None:
    model, batch = put_in(nets.MixedOutside), batch_of()
    net, audio, visual = model.anchor, *batch.streams.values()
    a, v = net.fc_a(audio), net.fc_v(visual.unflatten(1, (-1, 2)).mean(2))
    plain, crossed = net.encoder(a, v, False), net.encoder(a, v, True)
    tokens = torch.stack([0.2 * x + 0.8 * y for x, y in zip(plain, crossed, strict=True)], dim=2)
    torch.testing.assert_close(model.infer(batch).tokens, tokens)


def test_class_wise_tokens_are_averaged_over_classes() -> None:
    model, batch = put_in(nets.ClassWise), batch_of()
    *_, a, v = model.anchor(**batch.streams)
    torch.testing.assert_close(model.infer(batch).tokens, torch.stack([a.mean(2), v.mean(2)], dim=2))


@pytest.mark.parametrize("kind", DECLARED)
def test_the_network_stays_the_users(kind: Any) -> None:
    net = kind()
    keys, trained = list(net.state_dict()), [p.requires_grad for p in net.parameters()]
    model = wrap(net, streams=STREAMS, num_classes=NUM_CLASSES, **DECLARED[kind])
    model.infer(batch_of(segments=SEGMENTS))
    stripped = model.strip()
    assert stripped is net
    assert list(stripped.state_dict()) == keys
    assert [p.requires_grad for p in stripped.parameters()] == trained
    for module in stripped.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_outputs_and_cost_are_the_networks_own() -> None:
    net, batch = nets.PositionalTuple(), batch_of()
    with FlopCounterMode(display=False) as before:
        returned = net(**batch.streams)
    model = wrap(net, streams=STREAMS, num_classes=NUM_CLASSES, **DECLARED[nets.PositionalTuple])
    with FlopCounterMode(display=False) as wrapped:
        model.infer(batch)
    assert wrapped.get_total_flops() == before.get_total_flops() > 0
    again = model.strip()(**batch.streams)
    assert all(torch.equal(x, y) for x, y in zip(returned, again, strict=True))


def test_a_declaration_comes_back_with_the_weights(tmp_path: Path) -> None:
    for kind in set(DECLARED):
        model, batch = put_in(kind), batch_of(segments=SEGMENTS)
        model.save(tmp_path)
        loaded = CoLeaF.load(tmp_path, anchor=kind())
        torch.testing.assert_close(loaded.infer(batch).tokens, model.eval().infer(batch).tokens)


def test_a_declaration_with_a_large_tensor_must_be_passed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_values, "_MOST_NUMBERS", 2)
    model = put_in(nets.LabelEmbeddings)
    model.save(tmp_path)
    with pytest.raises(ValueError, match="was wrapped with an adapter: pass adapter="):
        CoLeaF.load(tmp_path, anchor=nets.LabelEmbeddings())
    loaded = CoLeaF.load(tmp_path, anchor=nets.LabelEmbeddings(), adapter=model.adapter)
    assert isinstance(loaded.infer(batch_of()), AnchorOutput)


def test_a_loaded_anchor_with_standardisation_reads_the_declaration(tmp_path: Path) -> None:
    statistics = {name: torch.stack([torch.ones(s.width), 2 * torch.ones(s.width)]) for name, s in STREAMS.items()}
    model, batch = put_in(nets.PositionalTuple, statistics=statistics), batch_of()
    model.save(tmp_path)
    output = load_anchor(tmp_path, anchor=nets.PositionalTuple())(**batch.streams)
    torch.testing.assert_close(output.segment_probs, model.eval().infer(batch).segment_probs)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # noqa: S301
def test_copies_hear_themselves_alone(duplicate: Any) -> None:
    model, batch = put_in(nets.PositionalTuple), batch_of()
    other = duplicate(model)
    with torch.no_grad():
        other.anchor.encoder.mix.weight.add_(1)
    before = model.infer(batch).tokens
    assert not torch.allclose(other.infer(batch).tokens, before)
    assert torch.equal(model.infer(batch).tokens, before)


def test_two_models_around_one_network_hear_themselves_alone() -> None:
    net, batch = nets.PositionalTuple(), batch_of()
    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.PositionalTuple]}
    first, second = wrap(net, **whole), wrap(net, **whole)
    assert torch.equal(first.infer(batch).tokens, second.infer(batch).tokens)


def test_a_compiled_model_gives_the_same_terms() -> None:
    batch = batch_of()
    model = put_in(nets.PositionalTuple).eval()
    compiled = torch.compile(model, backend="eager")
    for name, term in compiled(batch, Progress(2)).items():
        torch.testing.assert_close(term, model(batch, Progress(2))[name])


def test_a_declared_network_is_not_compiled_with_its_model() -> None:
    compiled = []

    class Telling(nets.PositionalTuple):
        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            compiled.append(torch.compiler.is_compiling())
            return super().forward(audio, visual)

    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.PositionalTuple]}
    model = wrap(Telling(), **whole)
    compiled.clear()
    torch.compile(model, backend="eager")(batch_of(), Progress(2))
    assert compiled
    assert not any(compiled)


def test_a_declared_network_is_wrapped_and_run_without_the_compiler() -> None:
    """Its import takes longer than PyTorch's own."""
    script = """
import sys, torch
from tests.helpers.networks import batch_of
from tests.helpers.published_style import PositionalTuple, put_in
put_in(PositionalTuple).infer(batch_of())
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_it_works_inside_distributed_data_parallel(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        model = put_in(nets.HalfDead)
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(3):  # a parameter without gradient stops the second step
            terms = parallel(batch_of(), Progress(5))
            torch.stack(list(terms.values())).sum().backward()
    finally:
        torch.distributed.destroy_process_group()


def test_checkpointed_tokens_have_the_same_gradients() -> None:
    batch, gradients = batch_of(), []
    for kind in (nets.PositionalTuple, nets.Checkpointed):
        torch.manual_seed(0)
        net = kind()
        model = wrap(net, streams=STREAMS, num_classes=NUM_CLASSES, **DECLARED[kind])
        model.adapter(net, batch.streams).tokens.square().sum().backward()
        gradients.append(net.encoder.mix.weight.grad)
    torch.testing.assert_close(*gradients)


def test_reentrant_checkpointing_is_refused() -> None:
    class Reentrant(nets.Checkpointed):
        use_reentrant = True

    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.Checkpointed]}
    with pytest.raises(ValueError, match="gradients cannot be computed .* set use_reentrant=False"):
        wrap(Reentrant(), **whole)
    inside = Tap("encoder.mix", call={"audio": 0, "visual": 1})
    with pytest.raises(ValueError, match="carry no gradient: .* activation checkpointing with use_reentrant=True"):
        wrap(Reentrant(), **{**whole, "tokens": inside})


def test_a_network_without_a_copy_is_put_back() -> None:
    import threading

    class Locked(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.lock, self.seen = threading.Lock(), 0
            self.register_buffer("centre", torch.zeros(()))

        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            self.centre, self.seen = 0.9 * self.centre + audio.detach().mean(), self.seen + 1
            return super().forward(audio, visual)

    net = Locked()
    wrap(net, streams=STREAMS, num_classes=NUM_CLASSES, **DECLARED[nets.PositionalTuple])
    assert (net.centre, net.seen) == (0, 0)


def test_two_threads_hear_themselves_alone() -> None:
    import threading

    net, results = nets.PositionalTuple().eval(), {}
    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.PositionalTuple]}
    models = [wrap(net, **whole) for _ in range(2)]
    batches = [batch_of() for _ in models]
    expected = [model.infer(batch).tokens for model, batch in zip(models, batches, strict=True)]

    def work(i: int) -> None:
        for _ in range(50):
            results[i] = models[i].infer(batches[i]).tokens
            assert torch.equal(results[i], expected[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[i], expected[i]) for i in range(2))


def test_last_is_the_last_run() -> None:
    model, batch = put_in(nets.MixedOutside, tokens=Tap("encoder", call="last")), batch_of()
    net, (audio, visual) = model.anchor, batch.streams.values()
    crossed = net.encoder(net.fc_a(audio), net.fc_v(visual.unflatten(1, (-1, 2)).mean(2)), True)
    torch.testing.assert_close(model.infer(batch).tokens, torch.stack(crossed, dim=2))


def test_order_turns_pairs_and_stacks_around() -> None:
    batch = batch_of()
    for at, path in (("output", "encoder"), ("input", "fc_prob")):
        torch.manual_seed(0)
        model = put_in(nets.PositionalTuple, tokens=Tap(path, at=at))
        right = model.infer(batch).tokens
        torch.manual_seed(0)
        turned = put_in(nets.PositionalTuple, tokens=Tap(path, at=at, order=("visual", "audio")))
        assert torch.equal(turned.infer(batch).tokens, right.flip(2))


def test_two_taps_are_audio_and_visual() -> None:
    model, batch = put_in(nets.PositionalTuple, tokens=(Tap("fc_a"), Tap("fc_v"))), batch_of()
    tokens, (audio, visual) = model.infer(batch).tokens, batch.streams.values()
    torch.testing.assert_close(tokens[:, :, 0], model.anchor.fc_a(audio))
    torch.testing.assert_close(tokens[:, :, 1], model.anchor.fc_v(visual.unflatten(1, (-1, 2)).mean(2)))


def test_an_input_that_goes_by_name_is_heard() -> None:
    class ByName(nets.PositionalTuple):
        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            x1, x2 = self.encode(audio, visual)
            frame = self.fc_prob(input=torch.stack([x2, x1], dim=2)).sigmoid()
            v_prob, a_prob = frame.mean(1).unbind(1)
            return audio.mean(), frame.mean((1, 2)), a_prob, v_prob, frame, x1.norm()

    tap = Tap("fc_prob", at="input", order=("visual", "audio"))
    whole = {"streams": STREAMS, "num_classes": NUM_CLASSES, **DECLARED[nets.PositionalTuple]}
    model, batch = wrap(ByName(), **{**whole, "tokens": tap}), batch_of()
    torch.testing.assert_close(model.infer(batch).tokens, expected(model.anchor, **batch.streams)[1])


@pytest.mark.parametrize("kind", ["evidence", "dirichlet"])
def test_evidence_in_four_parts(kind: str) -> None:
    class FourParts(nets.Evidential):
        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            pair, *_, x = super().forward(audio, visual)
            pair = pair - 1 if kind == "evidence" else pair
            a, v = pair.unbind(2)
            return a[..., 0], v[..., 0], a[..., 1], v[..., 1], x

    segments = Out(0, visual=1, absence=(2, 3), kind=kind)
    outputs = {"segment_probs": segments, "video_probs": DERIVE, "modality_probs": DERIVE}
    model = wrap(FourParts(), outputs=outputs, tokens=4, streams=STREAMS, num_classes=NUM_CLASSES)
    batch = batch_of()
    alpha, *_ = nets.Evidential.forward(model.anchor, **batch.streams)
    torch.testing.assert_close(model.infer(batch).segment_probs, alpha[..., 0] / alpha.sum(-1))


def test_a_buffer_that_forward_replaces_stays_as_it_was() -> None:
    class Averages(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ema", torch.zeros(()))

        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            self.ema = 0.9 * self.ema + 0.1 * audio.detach().mean()
            self.kept = audio  # and a tensor of the graph, which cannot be copied
            return super().forward(audio, visual)

    net = Averages()
    wrap(net, streams=STREAMS, num_classes=NUM_CLASSES, **DECLARED[nets.PositionalTuple])
    assert net.ema == 0
    assert not hasattr(net, "kept")


def test_folded_segments_are_found() -> None:
    with pytest.raises(ValueError, match=r"segment_probs has shape \(4, 10, 2, 3\) .* folds T=20 into the batch"):
        put_in(nets.TenSegments, segments=None)


def test_cuda_calls_are_explained() -> None:
    with pytest.raises(ValueError, match="follow_device=True"):
        put_in(nets.CudaInside, follow_device=False)


def test_without_coleaf_a_declared_network_is_trained_alone() -> None:
    model = put_in(nets.MixedOutside, config=CoLeaFConfig(enabled=False))
    assert set(model(batch_of())) == {"anchor/video"}
