"""describe: what it says of networks in the published style, and that the call it proposes is the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import coleaf_framework
from coleaf_framework import CoLeaF, Constant, StreamSpec, describe
from coleaf_framework.cli.parsing import find_network, parse_options, parse_streams
from tests.helpers import published_style as nets
from tests.helpers.networks import NUM_CLASSES, STREAMS, TinyNet, batch_of
from tests.helpers.published_style import DECLARED

HOW: dict[Any, dict[str, Any]] = {
    nets.LabelEmbeddings: {"inputs": DECLARED[nets.LabelEmbeddings]["inputs"]},
    nets.CudaInside: {"follow_device": True},
}


# Where more than one choice is right: evidence pools to probabilities in more than one way, and class-wise tokens are
# made of tokens that are not.
DERIVES_ELSEWHERE = {nets.Evidential}
OTHER_TOKENS = {nets.ClassWise}


def telling_apart(kind: Any) -> nn.Module:
    """A network in published style whose tokens depend mostly on their own modality, as trained ones' do."""
    net = kind()
    with torch.no_grad():
        net.encoder.mix.weight.mul_(0.2)
    return net  # type: ignore[no-any-return]


def run(call: str, net: nn.Module) -> CoLeaF:
    names = {name: getattr(coleaf_framework, name) for name in coleaf_framework.__all__}
    return eval(call, {**names, "net": net})  # type: ignore[no-any-return]  # noqa: S307


@pytest.mark.parametrize(
    "kind", [kind for kind in DECLARED if kind is not nets.LabelEmbeddings], ids=lambda kind: kind.__name__
)
def test_the_proposed_call_gives_the_declared_fields(kind: Any) -> None:
    net = telling_apart(kind)
    found = describe(net, streams=STREAMS, num_classes=NUM_CLASSES, **HOW.get(kind, {}))
    assert found.call is not None, found.problem
    batch = batch_of(segments=10)
    output = run(found.call, net).eval().infer(batch)
    declared = coleaf_framework.wrap(net, streams=STREAMS, num_classes=NUM_CLASSES, **DECLARED[kind])
    right = declared.eval().infer(batch)
    torch.testing.assert_close(output.segment_probs, right.segment_probs)
    if kind not in DERIVES_ELSEWHERE:
        torch.testing.assert_close(output.modality_probs, right.modality_probs)
        torch.testing.assert_close(output.video_probs, right.video_probs)
    if kind not in OTHER_TOKENS:
        torch.testing.assert_close(output.tokens, right.tokens)


def test_the_page_says_what_the_network_is() -> None:
    page = str(describe(nets.HalfDead(), streams=STREAMS, num_classes=NUM_CLASSES))
    for line in (
        r"takes      audio (B,T,6), visual (B,2T,8)",
        "(3, 10, 2, 3)        b t m c",
        "no gradient",
        "made of the outputs of fc_prob; visual first",
        "segments   any number",
        "audio_encoder (2), cmt_encoder (4)",
        "wrap(\n        net,",
    ):
        assert line in page


def test_an_order_that_no_habit_suggests_is_seen() -> None:
    class Reversed(nets.LookAlike):
        """Visual, audio, then the video; visual frames first; its classifier runs on visual tokens first."""

        def forward(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, ...]:
            a, v = self.encode(audio, visual)
            v_frames, a_frames = self.fc_prob(v).sigmoid(), self.fc_prob(a).sigmoid()
            v_prob, a_prob = v_frames.mean(1), a_frames.mean(1)
            return v_prob, (a_prob + v_prob) / 2, a_prob, v_frames, a_frames

    found = describe(telling_apart(Reversed), streams=STREAMS, num_classes=NUM_CLASSES)
    assert found.call is not None
    for said in ('"segment_probs": (4, 3)', '"video_probs": 1', '"modality_probs": (2, 0)', '"audio": 1, "visual": 0'):
        assert said in found.call


def test_rivals_are_named_and_attention_is_none() -> None:
    class Weighs(nets.LookAlike):
        def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, ...]:
            x = torch.stack(self.encode(audio, visual), dim=2)
            frames = self.fc_prob(x).sigmoid()
            weights = self.fc_prob(x).softmax(1)
            return weights, frames, frames.square(), frames.mean((1, 2)), frames.mean((1, 2)).square()

    found = describe(telling_apart(Weighs), streams=STREAMS, num_classes=NUM_CLASSES)
    assert found.call is None
    assert found.proposed["segment_probs"] == 1
    assert found.proposed["modality_probs"] == "derive"
    assert "video_probs    open: 3 or 4: rise with the segment logits of both modalities" in str(found)


@pytest.mark.parametrize("classes", [2, nets.D])
def test_classes_may_be_as_many_as_modalities_or_as_tokens_are_wide(classes: int) -> None:
    class Other(nets.PositionalTuple):
        def __init__(self) -> None:
            super().__init__()
            self.fc_prob = nn.Linear(nets.D, classes)

    found = describe(telling_apart(Other), streams=STREAMS, num_classes=classes)
    assert found.call is not None, found.problem
    run(found.call, Other())


def test_keyword_only_arguments_and_a_mask_are_given() -> None:
    class ByName(nets.PositionalTuple):
        def forward(self, *, f_v: Tensor, f_a: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
            return super().forward(f_a, f_v)

    class Told(ByName):
        def forward(self, *, f_v: Tensor, f_a: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
            return super().forward(f_v=f_v, f_a=f_a, mask=None)

    found = describe(telling_apart(Told), streams=STREAMS, num_classes=NUM_CLASSES)
    assert 'inputs={"f_v": "visual", "f_a": "audio"}' in str(found.call)
    found = describe(telling_apart(ByName), streams=STREAMS, num_classes=NUM_CLASSES)
    assert "called as  {" in str(found)
    assert '"mask": "mask"' in str(found)


def test_hard_coded_segments_are_found() -> None:
    class Breaks(nets.TenSegments):
        def forward(self, audio: Tensor, visual: Tensor) -> Any:
            if audio.shape[1] != 10:
                raise RuntimeError("ten only")
            return super().forward(audio, visual)

    for kind, says in (
        (nets.TenSegments, "T=20 is folded into the batch"),
        (Breaks, "not on T=20: RuntimeError: ten only"),
    ):
        found = describe(kind(), streams=STREAMS, num_classes=NUM_CLASSES)
        assert says in str(found)
        assert found.call is not None
        assert "segments=10" in found.call


def test_an_order_of_its_own_and_a_flag_are_found() -> None:
    found = describe(nets.MixedOutside(), streams=STREAMS, num_classes=NUM_CLASSES)
    assert 'inputs={"f_v": "visual", "f_a": "audio", "with_ca": Constant(True)}' in str(found.call)


def test_what_it_cannot_run_is_said() -> None:
    with pytest.raises(
        ValueError, match=r"(?s)does not run on audio \(B,T,6\), visual .*`\.cuda\(\)`, pass follow_device=True"
    ):
        describe(nets.CudaInside(), streams=STREAMS, num_classes=NUM_CLASSES)
    with pytest.raises(ValueError, match="(?s)LabelEmbeddings does not run on .* inputs=... with what else it takes"):
        describe(nets.LabelEmbeddings(), streams=STREAMS, num_classes=NUM_CLASSES)


def test_attributes_that_mean_something_else_are_passed_over_with_a_note() -> None:
    class Other(nets.PositionalTuple):
        streams, num_classes = 3, -1

    page = str(describe(telling_apart(Other), streams=STREAMS, num_classes=NUM_CLASSES))
    assert "note       its attribute streams is 3, which declares nothing: it is passed over" in page
    assert "note       its attribute num_classes is -1" in page


def test_what_it_cannot_wrap_is_said() -> None:
    class NoSegments(nets.LookAlike):
        def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
            a, _ = self.encode(audio, visual)
            return self.fc_prob(a).sigmoid().mean(1)

    found = describe(NoSegments(), streams=STREAMS, num_classes=NUM_CLASSES)
    assert found.call is None
    assert "none of its outputs looks like segment probabilities" in str(found)


def test_classes_are_seen() -> None:
    found = describe(nets.PositionalTuple(), streams=STREAMS)
    assert found.call is not None
    assert "num_classes=3" in found.call


def test_it_leaves_the_network_as_it_was() -> None:
    net = nets.PositionalTuple()
    before, state = {name: x.clone() for name, x in net.state_dict().items()}, torch.get_rng_state()
    describe(net, streams=STREAMS, num_classes=NUM_CLASSES)
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks for m in net.modules())


def test_a_network_that_declares_itself_needs_no_arguments() -> None:
    found = describe(TinyNet)
    assert found.call is not None
    assert "streams=" not in found.call
    assert "num_classes=" not in found.call
    run(found.call, TinyNet())


def test_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys.py").write_text("from torch import nn\nclass Net(nn.Linear):\n    pass\nx = 1\n")
    monkeypatch.chdir(tmp_path)
    assert issubclass(find_network("somebodys:Net"), nn.Linear)  # type: ignore[arg-type]
    assert find_network("han") == "han"
    with pytest.raises(ValueError, match=r"no torch.nn.Module 'Nett'. Did you mean 'Net'\?"):
        find_network("somebodys:Nett")
    with pytest.raises(ValueError, match="'nobodys' does not import: ModuleNotFoundError"):
        find_network("nobodys:Net")
    expected = {"audio": StreamSpec(6, "audio"), "visual_st": StreamSpec(8, "visual", frames=2)}
    assert parse_streams(["audio=6", "visual_st=8x2"]) == expected
    for bad in ("audio", "audio=x", "rgb=5", "visual=5x"):
        with pytest.raises(ValueError, match="expected NAME=WIDTH"):
            parse_streams([bad])
    assert parse_options(["width=256", "names=[a, b]"]) == {"width": 256, "names": ["a", "b"]}
    with pytest.raises(ValueError, match="expected key=value"):
        parse_options(["width"])
    assert Constant(1) == Constant(1)
