"""Selected indices, repeated constants, and adapters beside taps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import DERIVE, AnchorOutput, CoLeaF, Constant, Declaration, Out, Tap, load_anchor, wrap
from tests.helpers.networks import NUM_CLASSES, STREAMS, TinyNet, batch_of

B, T, WIDTH = 3, 5, 8


def read(out: Out, *returned: Tensor, field: str = "segment_probs") -> Tensor:
    return out.read(returned, field, B, T)


def test_an_index_drops_an_axis_and_a_range_shortens_it() -> None:
    x = torch.rand(B, T, 4, 2, 7)  # b t k m c
    got = read(Out(0, layout="b t k m c", select={"k": -1, "c": "0:5"}), x)
    torch.testing.assert_close(got, x[:, :, -1, :, :5])
    got = read(Out(0, layout="b t k m c", reduce="mean", select={"k": "1:3"}), x)
    torch.testing.assert_close(got, x[:, :, 1:3].mean(2))
    torch.testing.assert_close(read(Out(0, select={"c": ":-1"}), x[:, :, 0]), x[:, :, 0, :, :-1])
    torch.testing.assert_close(read(Out(0, select={"t": "1:"}), torch.rand(B, T + 1, 2, 7)).shape, (B, T, 2, 7))


def test_a_pair_takes_each_modality_from_its_own_tensor() -> None:
    one, other = torch.rand(B, T, 2, 7), torch.rand(B, T, 2, 7)
    got = read(Out(0, visual=1, layout="b t m c", select={"m": (0, 1)}), one, other)
    torch.testing.assert_close(got, torch.stack([one[:, :, 0], other[:, :, 1]], 2))
    got = read(Out(0, visual=1, layout="b m c", select={"m": (1, 0)}), one[:, 0], other[:, 0], field="modality_probs")
    torch.testing.assert_close(got, torch.stack([one[:, 0, 1], other[:, 0, 0]], 1))


def test_evidence_may_be_selected_from_too() -> None:
    x = torch.rand(B, T, 3, 2, 7)
    got = read(Out(0, absence=1, layout="b t k m c", kind="evidence", select={"k": 1}), x, 2 * x)
    torch.testing.assert_close(got, ((x + 1) / (3 * x + 2))[:, :, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Out(0, layout="b t m c", select={"k": 0}), "axis 'k', which the layout 'b t m c' does not have"),
        (lambda: Out(0, layout="(b m) t c", select={"m": 0}), "does not have by itself"),
        (lambda: Out(0, layout="b t m c", select={"m": (0, 1)}), r"several indices, \(audio, visual\), are for"),
        (lambda: Out(0, select={"m": "first"}), "'first', where an index or a range such as '0:25'"),
        (lambda: Out(0, select={"m": True}), "select\\['m'\\] is True, where an index"),
        (lambda: Out(0, select={"c": "3:3"}), "'3:3', a range without entries"),
        (lambda: Out(0, select=["m"]), "where a mapping such as"),  # type: ignore[arg-type]
        (lambda: Tap("x", layout="b t d", select={"m": 0}), r"Tap\('x'\): select names the axis 'm'"),
        (lambda: Tap("x", part=0, select={"m": (0, 1)}), "for one tensor each"),
        (lambda: Constant(1, repeat="t"), "repeat='t' is neither 'b'"),  # type: ignore[arg-type]
        (lambda: Constant([[1], [1, 2]], repeat="b"), "cannot be repeated, since it is no number"),
    ],
)
def test_a_wrong_selection_or_constant_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("index", [7, -8, "0:8", "-9:2", "7:"])
def test_an_index_out_of_range_is_named(index: Any) -> None:
    with pytest.raises(ValueError, match=rf"segment_probs'\]: select\['c'\] is '?{index}'?, but that axis has 7"):
        read(Out(0, select={"c": index}), torch.rand(B, T, 2, 7))


def test_a_tensor_of_other_axes_is_named() -> None:
    with pytest.raises(ValueError, match=r"of shape \(3, 5, 7\) does not have the layout 'b t m c'"):
        read(Out(0, select={"c": 0}), torch.rand(B, T, 7))


@pytest.mark.parametrize(
    ("tap", "expected"),
    [
        (Tap("0", layout="b t k m d", select={"k": 1}), lambda x: x[:, :, 1]),
        (Tap("0", layout="b t m d k", select={"k": "0:2"}, reduce="max"), lambda x: x[..., :2].amax(-1)),
    ],
)
def test_a_tap_selects(tap: Tap, expected: Any) -> None:
    net, x = nn.Sequential(nn.Identity()), torch.rand(B, T, 2, 2, 3, requires_grad=True)
    with tap.capture(net) as captured:
        net(x)
    torch.testing.assert_close(tap.tokens(captured, B, T), expected(x))


def test_a_tap_selects_by_modality_where_each_has_a_run() -> None:
    net, x = nn.Sequential(nn.Identity()), torch.rand(B, T, 2, 4, requires_grad=True)
    tap = Tap("0", call={"audio": 0, "visual": 1}, layout="b t m d", select={"m": (0, 1)})
    with tap.capture(net) as captured:
        net(x)
        net(2 * x)
    torch.testing.assert_close(tap.tokens(captured, B, T), torch.stack([x[:, :, 0], 2 * x[:, :, 1]], 2))
    apart = Tap("0", call="last", select={"m": (0, 1)})
    with pytest.raises(ValueError, match="both modalities are in one tensor"):
        apart.tokens(captured, B, T)


class Scaled(TinyNet):
    """Takes a factor per video, a weight per segment, and returns one more class than there are."""

    num_classes = NUM_CLASSES + 1

    def __init__(self) -> None:
        super().__init__(width=WIDTH)
        self.background = nn.Linear(WIDTH, 1)

    def forward(self, audio: Tensor, visual: Tensor, factor: Tensor, weights: Tensor) -> Any:
        b, t = audio.shape[:2]
        assert factor.shape == (b,)
        assert weights.shape == (b, t, 2)
        output = super().forward(audio * factor[:, None, None], visual)
        background = self.background(output.tokens).sigmoid()
        return torch.cat([output.segment_probs, background], -1), output.tokens * weights.mean()


SCALED: dict[str, Any] = {
    "inputs": {
        "audio": "audio",
        "visual": "visual",
        "factor": Constant(1.0, repeat="b"),
        "weights": Constant([1.0, 2.0], repeat="b t"),
    },
    "outputs": {"segment_probs": Out(0, select={"c": "0:3"}), "modality_probs": DERIVE, "video_probs": DERIVE},
    "tokens": 1,
}


def test_constants_are_repeated_and_more_outputs_than_classes_are_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    model = wrap(Scaled(), num_classes=NUM_CLASSES, **SCALED)
    assert "attribute num_classes=4, but 3 was given, which is what counts" in caplog.text
    assert model.infer(batch_of(2)).segment_probs.shape == (2, 5, 2, 3)
    model.save(tmp_path)
    again = CoLeaF.load(tmp_path, anchor=Scaled())
    assert isinstance(again.adapter, Declaration)
    assert isinstance(model.adapter, Declaration)
    assert again.adapter.to_dict() == model.adapter.to_dict()
    with pytest.raises(ValueError, match="declares num_classes=4, but wrap was given 3"):
        wrap(Scaled(), num_classes=NUM_CLASSES)


def test_a_repeated_constant_may_be_changed_in_place() -> None:
    constant, cpu = Constant(torch.ones(2), repeat="b"), torch.device("cpu")
    for videos in (1, 3):
        constant.on(cpu, videos, T)[0] += 1
        assert constant.on(cpu, videos, T).sum() == 2 * videos


def test_attributes_that_are_no_declaration_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(TinyNet):
        streams = 2  # type: ignore[assignment]

        def num_classes(self) -> int:  # type: ignore[override]
            return 3

    caplog.set_level("INFO")
    assert wrap(Odd(), streams=STREAMS, num_classes=3).streams == STREAMS
    assert "its attribute streams is 2, no declaration: it is passed over" in caplog.text


class NoTokens(TinyNet):
    def spoil(self, output: dict[str, Tensor]) -> Any:
        return output["segment_probs"]


def without_tokens(net: nn.Module, streams: dict[str, Tensor]) -> dict[str, Tensor]:
    probs = net(**streams)
    return {"segment_probs": probs, "video_probs": probs.mean((1, 2))}


def with_own_tap(net: nn.Module, streams: dict[str, Tensor]) -> AnchorOutput:
    tap = Tap("mix", at="input", order=("visual", "audio"))
    with tap.capture(net) as captured:
        probs = net(**streams)
    b, t = probs.shape[:2]
    return AnchorOutput(probs, probs.mean((1, 2)), tap.tokens(captured, b, t))


def test_an_adapter_may_leave_the_tokens_to_a_tap(tmp_path: Path) -> None:
    tap = Tap("mix", at="input", order=("visual", "audio"))
    model = wrap(NoTokens, adapter=without_tokens, tokens=tap, follow_device=True)
    within = wrap(model.anchor, adapter=with_own_tap)
    batch = batch_of()
    torch.testing.assert_close(model.infer(batch).tokens, within.infer(batch).tokens)
    model.save(tmp_path)
    with pytest.raises(ValueError, match=r"pass adapter=<that function, or model.adapter>; or --trust .* if you know "):
        CoLeaF.load(tmp_path, anchor=NoTokens())
    loaded = CoLeaF.load(tmp_path, trust=True)
    torch.testing.assert_close(loaded.infer(batch).tokens, model.eval().infer(batch).tokens)
    assert isinstance(load_anchor(tmp_path, trust=True), NoTokens)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"inputs": ("audio", "visual"), "tokens": Tap("mix")}, "an adapter and outputs or inputs exclude each other"),
        ({"tokens": 2}, "with an adapter, tokens is a Tap, or two"),
        ({"follow_device": True}, r"the adapter does not return \['tokens'\]"),
    ],
)
def test_what_an_adapter_excludes(declared: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrap(NoTokens(), adapter=without_tokens, **declared)
