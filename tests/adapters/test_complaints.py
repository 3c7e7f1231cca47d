"""Every complaint about a declaration: what is wrong, where, and what would be right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import DERIVE, Constant, Out, Tap, wrap
from coleaf_framework.adapters import Calling
from coleaf_framework.adapters.outputs import _warn_once
from tests.helpers import published_style as nets
from tests.helpers.networks import NUM_CLASSES, STREAMS, TinyNet, batch_of
from tests.helpers.published_style import DECLARED, FRAMES

GOOD = DECLARED[nets.PositionalTuple]


def put_in(network: nn.Module | None = None, **declared: Any) -> Any:
    network = network if network is not None else nets.PositionalTuple()
    return wrap(network, streams=STREAMS, num_classes=NUM_CLASSES, **{**GOOD, **declared})


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        (Tap("encodr"), r"PositionalTuple has no submodule 'encodr'. Did you mean 'encoder'\?"),
        (Tap("fc_a"), r"'b t m d'|does not have the layout"),
        (Tap("encoder.mix"), r"ran 2 times in one forward, where call='only' declares one: say which \(0 to 1"),
        (Tap("encoder", call=1), "ran 1 times in one forward; there is no run 1"),
        (Tap("encoder.mix", call={"audio": 0, "visual": 2}), "ran 2 times in one forward; there is no run 2"),
        (Tap("encoder", layout="b t c d"), r"has no axes \['c'\]: say reduce='mean'"),
        (Tap("encoder", layout="b c d"), r"lacks the axes \['t'\]"),
        (Tap("encoder", part=(0, 5)), "Tap.'encoder'.: there is no 5. There is: 0, 1"),
        (Tap("encoder", at="input", part="2"), "there is no '2'. There is: 0, 1"),
    ],
)
def test_of_a_tap(tap: Tap, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        put_in(tokens=tap)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tap("x", at="inside"), "at='inside' is neither"),
        (lambda: Tap("x", call="first"), "call='first' is neither"),
        (lambda: Tap("x", call={"audio": 0}), "call has the keys"),
        (lambda: Tap("x", call=(0, 1)), "combine must have one weight for each"),
        (lambda: Tap("x", combine=(1.0,)), "combine must have one weight for each"),
        (lambda: Tap("x", reduce="median"), "reduce 'median' is not one of"),
        (lambda: Tap("x", order=("audio", "video")), "does not name the modalities"),
        (lambda: Out(0, kind="logit"), "kind 'logit' is not one of"),
        (lambda: Out(0, absence=1), "absence is for the kinds evidence and dirichlet"),
        (lambda: Out(0, visual=1, order=("visual", "audio")), "order is for modalities on one axis"),
        (lambda: Out(0, layout=" "), "layout ' ' is no axes such as 'b t m c'"),
        (lambda: Out(0, layout=3), "layout 3 is no axes such as 'b t m c'"),  # type: ignore[arg-type]
        (lambda: Tap("x", call={"audio": 0, "visual": 1}, order=("visual", "audio")), "order must not be given"),
    ],
)
def test_of_a_value(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"outputs": {"segment_probs": 0, "video_probs": 1}},
            r"outputs lacks \['modality_probs'\]: say where they are, or",
        ),
        ({"outputs": FRAMES | {"segment_prob": 0}}, "no field 'segment_prob'. Did you mean 'segment_probs'"),
        ({"outputs": FRAMES | {"tokens": 0}}, "Tokens have an argument of their own"),
        ({"outputs": FRAMES | {"segment_probs": DERIVE}}, "cannot be derived"),
        ({"tokens": DERIVE}, "tokens must be declared, and cannot be derived"),
        ({"outputs": FRAMES | {"segment_probs": 9}}, "segment_probs: there is no 9. There is: 0, 1, 2"),
        ({"outputs": FRAMES | {"segment_probs": "probs"}}, "segment_probs: there is no 'probs'"),
        ({"outputs": FRAMES | {"segment_probs": 5}}, r"of shape \(\) does not have the layout 'b t m c'"),
        ({"inputs": ("audio", "vision")}, "'vision' is no stream. Did you mean 'visual'"),
        ({"inputs": ("audio", 3)}, r"3 is neither the name of a stream nor a Constant"),
        ({"inputs": ("audio", "visual", Constant(1))}, "takes .* positional arguments but 4 were given"),
        ({"adapter": lambda net, streams: None}, "exclude each other"),
        ({"tokens": (Tap("fc_a"), Tap("fc_v"), Tap("fc_prob"))}, "one Tap, or two"),
        ({"outputs": FRAMES | {"segment_probs": 1.5}}, "1.5 is not an output"),
        ({"outputs": GOOD["outputs"] | {"video_probs": (2, 3)}}, r"outputs\['video_probs'\] has no modalities"),
        (
            {"outputs": GOOD["outputs"] | {"modality_probs": Out(2, visual=3, absence=1, kind="evidence")}},
            "for each of",
        ),
        ({"outputs": [0, 1]}, "outputs is .*, where a mapping"),
        ({"inputs": 5}, "inputs is 5, where names of streams"),
        ({"tokens": Out(4, kind="logits")}, "tokens: kind='logits' is for probabilities"),
        ({"segments": 2.5}, "segments must be a whole number of at least 1, got 2.5"),
        ({"config": {"enabled": False}}, "where a CoLeaFConfig was expected"),
        ({"adapter": 5, "outputs": None, "tokens": None}, "adapter is 5, where a function"),
    ],
)
def test_of_a_declaration(declared: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        put_in(**declared)


def test_a_tap_that_nothing_reaches_says_so() -> None:
    class PastCall(nets.PositionalTuple):
        def encode(self, audio: Tensor, visual: Tensor) -> Any:
            return self.encoder.forward(self.fc_a(audio), self.fc_v(visual.unflatten(1, (-1, 2)).mean(2)))

    with pytest.raises(ValueError, match=r"ran 0 times .* called past its __call__"):
        put_in(PastCall())


def test_logits_that_look_like_probabilities_are_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    _warn_once.cache_clear()  # another test may have seen it
    put_in(outputs=GOOD["outputs"] | {"segment_probs": Out(4, kind="logits")})
    assert "outputs['segment_probs']: kind='logits', but its values are in [0, 1]" in caplog.text


def test_a_change_in_place_of_what_no_tap_reads_is_no_fault() -> None:
    class Cache(nets.PositionalTuple):
        def encode(self, audio: Tensor, visual: Tensor) -> Any:
            first = self.encoder(self.fc_a(audio), self.fc_a(audio))
            first[0].add_(1)
            return super().encode(audio, visual)

    put_in(Cache(), tokens=Tap("encoder", call="last"))


def test_a_tensor_changed_after_it_was_heard_is_refused() -> None:
    class InPlace(nets.PositionalTuple):
        def encode(self, audio: Tensor, visual: Tensor) -> Any:
            a, v = super().encode(audio, visual)
            return a.relu_(), v.relu_()

    with pytest.raises(ValueError, match=r"Tap\('encoder'\): the network changes the captured tensor in place"):
        put_in(InPlace())


def test_axes_in_the_wrong_order_mix_videos() -> None:
    class Folds(nets.PositionalTuple):
        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            *others, frame, norm = super().forward(audio, visual)
            return (*others, frame.permute(2, 0, 1, 3).flatten(0, 1), norm)  # (m b) t c

    right = Out(4, layout="(m b) t c", order=("visual", "audio"))
    put_in(Folds(), outputs=GOOD["outputs"] | {"segment_probs": right})
    wrong = Out(4, layout="(b m) t c", order=("visual", "audio"))
    with pytest.raises(ValueError, match="segment_probs of one video depends on the other videos of its batch"):
        put_in(Folds(), outputs=GOOD["outputs"] | {"segment_probs": wrong})


def test_a_network_that_squeezes_one_video_away_is_named() -> None:
    class Squeezes(nets.PositionalTuple):
        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            return tuple(x.squeeze(0) if x.ndim else x for x in super().forward(audio, visual))

    with pytest.raises(ValueError, match=r"fails on a synthetic batch of T=20 with audio \(1, 20, 6\)"):
        put_in(Squeezes())


def test_lazy_modules_are_to_be_run_first() -> None:
    class Lazy(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.fc_a = nn.LazyLinear(5)

    with pytest.raises(ValueError, match="Lazy has lazy modules that were never run: run it once"):
        put_in(Lazy())


def test_a_compiled_part_hides_its_taps() -> None:
    model = put_in()
    model.anchor.encoder.compile(backend="eager")
    with pytest.raises(TypeError, match=r"PositionalTuple\.encoder is compiled or scripted, which hides 'encoder'"):
        model.infer(batch_of())
    model = put_in()
    model.anchor.encoder = torch.compile(model.anchor.encoder, backend="eager")
    with pytest.raises(TypeError, match="is compiled or scripted"):
        model.infer(batch_of())


def test_compiled_networks_are_refused() -> None:
    net = TinyNet()
    net.compile(backend="eager")
    with pytest.raises(TypeError, match=r"pass it before its \.compile\(\)"):
        wrap(net)
    with pytest.raises(TypeError, match=r"pass its \._orig_mod"):
        wrap(torch.compile(TinyNet(), backend="eager"))


def test_a_mask_needs_an_input() -> None:
    model = put_in()
    with pytest.raises(ValueError, match="give one of its `inputs` a `mask` argument"):
        model.infer(batch_of(segments=5, lengths=[5, 4, 3, 2]))


def test_a_hook_that_fails_leaves_no_handle() -> None:
    class Breaks(nets.PositionalTuple):
        broken = False

        def encode(self, audio: Tensor, visual: Tensor) -> Any:
            pair = super().encode(audio, visual)
            if self.broken:
                raise RuntimeError("midway")
            return pair

    model = put_in(Breaks())
    model.anchor.broken = True
    with pytest.raises(RuntimeError, match="midway"):
        model.infer(batch_of())
    assert not model.anchor.encoder._forward_hooks


def test_fields_of_their_own_names_need_not_be_said() -> None:
    class Named(TinyNet):
        def forward(self, sound: Tensor, picture: Tensor) -> Any:
            return super().forward(sound, picture)

    model = wrap(Named(), inputs={"sound": "audio", "picture": "visual"})
    assert model.infer(batch_of()).segment_probs.shape == (4, 5, 2, NUM_CLASSES)


class Masked(TinyNet):
    """Pools over the segments that are there, and needs to be told which; keeps what it was told."""

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor) -> Any:  # type: ignore[override]
        output = super().forward(audio, visual)
        self.told = valid
        probs = output.segment_probs
        pooled = torch.stack([x[there].mean(0) for x, there in zip(probs, valid, strict=True)])
        return type(output)(probs, pooled.mean(1), output.tokens, pooled)


class Told(nn.Module):
    """Gives the mask that it is told."""

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor) -> Tensor:
        return valid


def test_a_mask_among_the_inputs_reaches_the_network() -> None:
    model = wrap(Masked(), inputs={"audio": "audio", "visual": "visual", "valid": "mask"})
    batch = batch_of(segments=5, lengths=[5, 4, 3, 2])
    assert model.infer(batch).video_probs.shape == (4, NUM_CLASSES)
    assert torch.equal(model.anchor.told, batch.mask)


@pytest.mark.parametrize(
    "inputs", [("audio", "visual", "mask"), {"visual": "visual", "audio": "audio", "valid": "mask"}]
)
def test_a_declared_mask_is_true_everywhere_where_all_videos_are_of_full_length(inputs: Any) -> None:
    model = wrap(Masked(), inputs=inputs)
    assert model.infer(batch_of(2)).video_probs.shape == (2, NUM_CLASSES)
    assert torch.equal(model.anchor.told, torch.ones(2, 5, dtype=torch.bool))
    streams = {name: x.to("meta") for name, x in batch_of(2).streams.items()}
    calling = Calling(inputs, STREAMS, follow_device=False)
    assert calling(Told(), streams).device == streams["audio"].device
