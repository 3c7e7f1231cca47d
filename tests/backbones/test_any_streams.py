"""The Anchors and the class-token Reference take any streams with audio and visual among them, of any length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coleaf_framework import StreamSpec, create_anchor, create_reference
from tests.helpers.stream_sets import features, stream_sets
from tests.helpers.streams import SMALL
from tests.helpers.videos import UNAV_LIKE

NETWORKS = ("ave", "avsdn", "cmpae", "cvcms", "han", "hcmn", "jomold", "ma", "mm_pyramid", "valor", "class_token")
NO_NOISE = {"audio": 0.0, "visual": 0.0}


def make(name: str, streams: Mapping[str, StreamSpec], num_classes: int = 4, **options: Any) -> nn.Module:
    given_ = {"streams": streams, "num_classes": num_classes, "width": 8, **options}
    if name == "class_token":
        return create_reference(name, **given_)
    given_ |= {"noise_ratios": NO_NOISE} if name in ("cmpae", "jomold") else {}
    given_ |= {"helpers": False} if name == "hcmn" else {}  # which take part in training alone
    return create_anchor(name, **given_)


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=25)
@given(
    streams=stream_sets(),
    lengths=st.lists(st.integers(1, 37), min_size=1, max_size=4),
    padding=st.integers(0, 5),
    num_classes=st.integers(1, 9),
    scale=st.sampled_from([1.0, 100.0]),
)
def test_padding_with_random_values_changes_no_answer(
    name: str, streams: dict[str, StreamSpec], lengths: list[int], padding: int, num_classes: int, scale: float
) -> None:
    """A batch of unequal lengths answers as each video does by itself, and padding gets no gradient."""
    longest = max(lengths) + padding
    net = make(name, streams, num_classes).double().eval()
    batch = {key: x.double() for key, x in features(streams, len(lengths), longest).items()}
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    for key, spec in streams.items():
        padded = ~mask.repeat_interleave(spec.frames, 1)
        batch[key][padded] *= scale
        batch[key].requires_grad_()
    together = net(**batch, mask=mask)
    read = torch.zeros(())
    for i, length in enumerate(lengths):
        alone = net(**{key: batch[key][i : i + 1, : length * streams[key].frames] for key in streams})
        for field in ("segment_probs", "tokens"):
            torch.testing.assert_close(getattr(together, field)[i, :length], getattr(alone, field)[0], msg=field)
        read = read + together.segment_probs[i, :length].sum() + together.tokens[i, :length].sum()
        for field in ("video_probs", "modality_probs", "class_probs"):
            if (x := getattr(together, field, None)) is not None:
                torch.testing.assert_close(x[i], getattr(alone, field)[0], msg=field)
                read = read + x[i].sum()
    for key, gradient in zip(batch, torch.autograd.grad(read, list(batch.values())), strict=True):
        assert not gradient[~mask.repeat_interleave(streams[key].frames, 1)].any()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_order_in_which_streams_are_named_changes_nothing(name: str) -> None:
    """Weights fit whatever order a data set names its streams in, and mean the same there."""
    net, other = make(name, UNAV_LIKE).eval(), make(name, dict(reversed(UNAV_LIKE.items()))).eval()
    assert list(net.state_dict()) == list(other.state_dict())
    other.load_state_dict(net.state_dict())
    batch = features(UNAV_LIKE, 2, 5)
    assert torch.equal(net(**batch).segment_probs, other(**dict(reversed(batch.items()))).segment_probs)


@pytest.mark.parametrize("name", ["han", "cmpae"])
def test_parameters_are_named_as_published_with_llps_streams_alone(name: str) -> None:
    def top(streams: Mapping[str, StreamSpec]) -> set[str]:
        names = (n.replace(".0.", ".") for n, _ in make(name, streams).named_parameters())
        return {n.removesuffix(".weight") for n in names if n.startswith(("fc_a.", "fc_v.", "fc_st.", "fc_fus", "proj",
            "fus")) and n.endswith("weight")}  # fmt: skip

    assert top(SMALL) == {"fc_a", "fc_v", "fc_st", "fc_fusion"}
    assert top(dict(reversed(SMALL.items()))) == top(SMALL)
    several = {"projections.vggish", "projections.flow", "projections.rgb"}
    assert top(UNAV_LIKE) == several | {"fusions.visual"}
    assert top({"a": StreamSpec(3, "audio"), "v": StreamSpec(3, "visual")}) == {"projections.a", "projections.v"}
    assert top({**SMALL, "clip": StreamSpec(3, "visual")}) == {
        "projections.audio", "projections.visual", "projections.visual_st", "projections.clip", "fusions.visual"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["han", "cmpae"])
def test_streams_of_other_names_are_computed_as_llps(name: str) -> None:
    """The same widths and weights under other names give the same answer."""
    renamed = {"sound": "audio", "frames": "visual", "motion": "visual_st"}
    published = make(name, SMALL).eval()
    other = make(name, {new: SMALL[old] for new, old in renamed.items()}).eval()
    names = {"fc_a": "projections.sound", "fc_v": "projections.frames", "fc_st": "projections.motion"}
    names["fc_fusion"] = "fusions.visual"
    weights = {}
    for key, x in published.state_dict().items():
        first, _, rest = key.partition(".")
        weights[f"{names.get(first, first)}.{rest}"] = x
    other.load_state_dict(weights)
    batch = features(SMALL, 2, 5)
    ours = other(**{new: batch[old] for new, old in renamed.items()})
    torch.testing.assert_close(ours.segment_probs, published(**batch).segment_probs)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_modality_without_a_stream_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"needs a stream of modality 'visual', got vggish \(audio\)"):
        make(name, {"vggish": StreamSpec(6, "audio")})
    with pytest.raises(ValueError, match=r"needs a stream of modality 'audio', got rgb \(visual\), flow \(visual\)"):
        make(name, {"rgb": StreamSpec(6, "visual"), "flow": StreamSpec(6, "visual")})


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("stream", ["mask", "r.g.b", "", "type", "items"])
def test_a_stream_name_that_cannot_be_an_argument_or_a_parameter_is_refused(name: str, stream: str) -> None:
    with pytest.raises(ValueError, match=f"a stream cannot be called '{stream}'"):
        make(name, {"vggish": StreamSpec(6, "audio"), stream: StreamSpec(6, "visual")})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_missing_and_an_unknown_stream_are_named(name: str) -> None:
    net, batch = make(name, UNAV_LIKE), features(UNAV_LIKE, 2, 5)
    del batch["flow"]
    with pytest.raises(ValueError, match=r"takes the streams \['flow', 'rgb', 'vggish'\]; the call lacks \['flow'\]$"):
        net(**batch)
    with pytest.raises(ValueError, match=r"lacks \['flow'\] and has \['clip'\], which it was not made for"):
        net(**batch, clip=batch["rgb"])


def test_cmpae_refuses_averaged_frames_of_any_stream() -> None:
    streams = {**UNAV_LIKE, "clip": StreamSpec(4, "visual", averaged=8)}
    with pytest.raises(ValueError, match="stream 'clip' holds means of 8"):
        make("cmpae", streams)
    make("han", streams)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    net = make(name, UNAV_LIKE)
    output = net(**features(UNAV_LIKE, 3, 5))
    fields = ("segment_probs", "video_probs", "modality_probs", "class_probs", "tokens")
    sum(
        (i + 1) * x.square().sum() for i, f in enumerate(fields) if (x := getattr(output, f, None)) is not None
    ).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
