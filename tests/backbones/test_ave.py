"""AVE: its attention and LSTMs answer as in the published localiser, and what the network does with its streams."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from coleaf_backbones.ave import AVE, AudioGuidedAttention
from coleaf_backbones.recurrent import BiLSTM
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_framework import StreamSpec, create_anchor
from coleaf_framework.training import import_checkpoint
from tests.helpers.command import Command
from tests.helpers.lstms import as_torchs
from tests.helpers.parity import zoo_labels, zoo_weights
from tests.helpers.streams import SMALL, small_batch
from tests.helpers.videos import UNAV_LIKE


class Localiser(nn.Module):
    """The published network: this project's attention and LSTMs, and a head for one label a segment."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = AudioGuidedAttention(audio=128, visual=512, hidden=512, parts=49)
        self.lstm_audio, self.lstm_video = BiLSTM(128, 128), BiLSTM(512, 128)
        self.L1, self.L2 = nn.Linear(512, 64), nn.Linear(64, 29)

    def forward(self, audio: Tensor, maps: Tensor) -> dict[str, Tensor]:
        attended = self.attention(audio, maps)
        tokens = torch.cat([self.lstm_audio(audio)[0], self.lstm_video(attended)[0]], dim=-1).relu()
        logits = self.L2(self.L1(tokens).relu())
        scores = logits.amax(1).softmax(-1)
        return {"video_scores": scores, "segment_logits": logits, "attended_visual": attended, "tokens": tokens}


def ours(published: str) -> str:
    """The name here of a published parameter."""
    first, _, rest = published.partition(".")
    if first.startswith("affine_"):
        return f"attention.{published}"
    if first.startswith("lstm_"):
        return f"{first}.{'back' if rest.endswith('_reverse') else 'ahead'}.{rest.removesuffix('_reverse')}"
    return published


def test_its_parts_answer_as_in_the_published_localiser(zoo: Path) -> None:
    net = Localiser().double()
    net.load_state_dict({ours(name): x for name, x in zoo_weights(zoo / "AVE.state_dict.json").items()})
    rng = np.random.default_rng([0, 19])
    audio, maps = rng.standard_normal((4, 10, 128)), np.abs(rng.standard_normal((4, 10, 49, 512)))
    with torch.no_grad():
        answers = net(*(torch.from_numpy(x.astype(np.float32)).double() for x in (audio, maps)))
    labels = zoo_labels(shape=(4, 29))
    answers["loss/video"] = F.binary_cross_entropy_with_logits(answers["video_scores"], labels)
    recorded = np.load(zoo / "AVE.npz")
    assert set(recorded) == set(answers)
    for name, answer in answers.items():
        np.testing.assert_allclose(answer.numpy(), recorded[name], atol=1e-5, rtol=0, err_msg=name)


def slow_attention(attention: AudioGuidedAttention, audio: Tensor, frames: Tensor) -> Tensor:
    """One segment: audio (D,) and frames (k,D) -> (D,)."""
    heard = attention.affine_g.weight @ attention.affine_audio(audio).relu()
    scores = []
    for p, frame in enumerate(frames):
        seen = attention.affine_v.weight @ attention.affine_video(frame).relu()
        scores.append(torch.dot(attention.affine_h.weight[0], (seen + heard[p]).tanh()))
    weights = torch.stack(scores).softmax(0)
    return torch.stack([w * frame for w, frame in zip(weights, frames, strict=True)]).sum(0)


def test_tokens_as_described() -> None:
    """LLP's streams: attention over the frames of `visual`, guided by projected audio, then fusion and LSTMs."""
    net, batch = create_anchor("ave", num_classes=4, streams=SMALL, width=8).double(), small_batch(5)
    batch = {name: x.double() for name, x in batch.items()}
    audio, frames = net.fc_a(batch["audio"]), net.fc_v(batch["visual"]).unflatten(1, (5, 3))
    attended = torch.stack(
        [torch.stack([slow_attention(net.attentions["visual"], audio[b, t], frames[b, t]) for t in range(5)])
         for b in range(3)]
    )  # fmt: skip
    visual = net.fc_fusion(torch.cat([attended, net.fc_st(batch["visual_st"])], dim=-1))
    expected = [as_torchs(lstm)(x)[0] for lstm, x in ((net.lstm_audio, audio), (net.lstm_video, visual))]
    torch.testing.assert_close(net(**batch).tokens, torch.stack(expected, dim=2))


def test_each_stream_of_several_frames_has_attention_of_its_own() -> None:
    streams = {**UNAV_LIKE, "clip": StreamSpec(5, "visual", frames=4), "speech": StreamSpec(3, "audio", frames=2)}
    net = create_anchor("ave", num_classes=4, streams=streams, width=8)
    assert {name: x.affine_h.in_features for name, x in net.attentions.items()} == {"clip": 4, "rgb": 2}
    one_each = {"audio": StreamSpec(6, "audio"), "video": StreamSpec(5, "visual")}
    assert not len(create_anchor("ave", num_classes=4, streams=one_each, width=8).attentions)


def test_audio_chooses_among_frames() -> None:
    """Other audio, other visual tokens; where frames are equal there is nothing to choose."""
    net = create_anchor("ave", num_classes=4, streams=SMALL, width=8).eval()
    batch, other = small_batch(5), small_batch(5)
    equal = batch["visual"][:, ::3].repeat_interleave(3, 1)

    def visual_tokens(audio: Tensor, visual: Tensor) -> Tensor:
        return net(audio=audio, visual=visual, visual_st=batch["visual_st"]).tokens[:, :, 1]

    one, two = (visual_tokens(x["audio"], batch["visual"]) for x in (batch, other))
    assert (one - two).abs().amax() > 1e-4
    one, two = (visual_tokens(x["audio"], equal) for x in (batch, other))
    torch.testing.assert_close(one, two)


def test_attention_is_drawn_by_xaviers_rule() -> None:
    attention = AudioGuidedAttention(128, 512, 512, 49)
    for layer in attention.children():
        outputs, inputs = layer.weight.shape
        bound = (6 / (inputs + outputs)) ** 0.5  # PyTorch's default is 1 / sqrt(inputs)
        assert 0.9 * bound < layer.weight.abs().max() <= bound


def test_averaged_visual_frames_are_refused() -> None:
    clip = {"clip": StreamSpec(4, "visual", averaged=8)}
    with pytest.raises(ValueError, match="AVE must see single frames, .* 'clip' holds means of 8: read or pack"):
        AVE(streams={**UNAV_LIKE, **clip})
    AVE(streams={**UNAV_LIKE, "vggish": StreamSpec(6, "audio", averaged=2)}, width=8)  # these are averaged anyway


def test_the_published_localisers_file_is_refused(zoo: Path, tmp_path: Path, coleaf: Command) -> None:
    file = tmp_path / "AVEL_weak.pt"
    torch.save(zoo_weights(zoo / "AVE.state_dict.json"), file)
    refused = "weights of AVE's published localiser, .* cannot parse videos"
    with pytest.raises(ValueError, match=refused):
        import_checkpoint(file, "ave")
    assert re.search(refused, " ".join(coleaf("import", file, "--as", "ave", "--out", "run", fails=True).split()))
    assert not Path("run").exists()
