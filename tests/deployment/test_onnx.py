"""A run as an ONNX file: onnxruntime's answers are PyTorch's, and what differs or cannot be exported is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, CoLeaF, CoLeaFConfig, wrap
from coleaf_framework.adapters import Out
from coleaf_framework.deployment import export_onnx
from coleaf_framework.deployment.onnx import TOLERANCE
from coleaf_framework.metrics import DecisionConfig, decide
from coleaf_framework.metrics.decision import ModalityThresholds
from coleaf_framework.protocol import Batch, StreamSpec
from tests.helpers.command import Command
from tests.helpers.streams import SMALL

onnxruntime, *_ = (
    pytest.importorskip(name, reason="needs the extra `onnx`") for name in ("onnxruntime", "onnx", "onnxscript")
)
if not hasattr(torch.onnx, "ops"):
    pytest.skip("this PyTorch is too old", allow_module_level=True)


ALONE = CoLeaFConfig(enabled=False)
# Of each kind of layer one; `python -m benchmarks.bench_deploy` exports and holds all twelve, which takes minutes.
OPTIONS: dict[str, dict[str, Any]] = {
    "ave": {},
    "cmpae": {"noise_ratios": {"audio": 0, "visual": 0}},
    "cvcms": {"class_width": 4},
    "han": {"heads": 2, "layers": 2},
    "hcmn": {"helper_heads": 2},
    "mgn": {"heads": 2, "layers": 1, "joint_layers": 1, "segments": 4},
}
QUICK = ("han", "ave")  # attention, LSTMs


def save(folder: Path, network: Any, **arguments: Any) -> CoLeaF:
    """A run folder of a network with fresh weights, and the model in evaluation mode."""
    torch.manual_seed(0)
    given = {"streams": SMALL, "num_classes": 3, "config": ALONE, **arguments}
    model = wrap(network, **given).eval()
    model.save(folder)
    return model


def answers(file: Path, streams: dict[str, Tensor]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {name: x.numpy() for name, x in streams.items()}), strict=True))


def metadata(file: Path) -> dict[str, Any]:
    content = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_modelmeta()
    return {key: json.loads(value) for key, value in content.custom_metadata_map.items()}


def require_same(file: Path, model: CoLeaF, videos: int, segments: int, scale: float = 1.0) -> None:
    streams = {n: scale * torch.randn(videos, s.frames * segments, s.width) for n, s in model.streams.items()}
    found = answers(file, streams)
    with torch.no_grad():
        expected = model.infer(Batch(streams, torch.zeros(videos, 3)))
    assert list(found) == ["segment_probs", "modality_probs", "video_probs"]
    for name, x in found.items():
        np.testing.assert_allclose(x, getattr(expected, name), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in OPTIONS])
def test_a_shipped_anchor_is_exported_for_any_number_of_videos_and_segments(name: str, tmp_path: Path) -> None:
    model = save(tmp_path / "run", name, anchor_options={"width": 8, **OPTIONS[name]})
    exported = export_onnx(tmp_path / "run", tmp_path / "net.onnx")
    assert exported.difference <= TOLERANCE
    assert exported.segments == (4 if name == "mgn" else None)
    for videos, segments in ((1, 4), (6, 4)) if name == "mgn" else ((1, 1), (2, 13), (7, 3)):
        require_same(exported.file, model, videos, segments)
    session = onnxruntime.InferenceSession(exported.file, providers=["CPUExecutionProvider"])
    axes = ["batch", 4, 12] if name == "mgn" else ["batch", "segments", "3*segments"]
    assert [x.shape for x in session.get_inputs()] == [[axes[0], axes[1], 6], [axes[0], axes[2], 8], [*axes[:2], 4]]
    assert str(Path(__file__).parents[2]).encode() not in exported.file.read_bytes()  # no path of this machine


class TinyNet(nn.Module):
    """Linear in both streams, with frames averaged; returns probabilities by name."""

    streams = {"audio": StreamSpec(6, "audio"), "visual": StreamSpec(8, "visual", frames=2)}
    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.audio, self.visual, self.classify = nn.Linear(6, 4), nn.Linear(8, 4), nn.Linear(4, 3)

    def tokens(self, audio: Tensor, visual: Tensor) -> Tensor:
        return torch.stack([self.audio(audio), self.visual(visual.unflatten(1, (-1, 2)).mean(2))], dim=2)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        tokens = self.tokens(audio, visual)
        probs = self.classify(tokens).sigmoid()
        return AnchorOutput(probs, probs.mean((1, 2)), tokens)


class Declared(TinyNet):
    """Returns logits, classes before segments, as a tuple."""

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        tokens = self.tokens(audio, visual)
        return tokens, self.classify(tokens).permute(0, 3, 1, 2)


class Recurrent(TinyNet):
    """Two LSTMs of two directions, one on top of the other, that read (T,B,D); without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 3, num_layers=2, bidirectional=True, bias=False)

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        heard, (hidden, cell) = self.lstm(audio.transpose(0, 1))
        return super().forward(heard.transpose(0, 1) + (hidden[3] * cell[0]).mean(1)[:, None, None], visual)


class CountsVideos(TinyNet):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return super().forward(audio + 0 * len(audio), visual)


class DiffersTraced(TinyNet):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        output = super().forward(audio, visual)
        shift = 0.25 if torch.compiler.is_exporting() else 0.0
        return AnchorOutput(output.segment_probs, (output.video_probs + shift) / 2, output.tokens)


class BranchesWhereLong(TinyNet):
    """In another way than for any T that the check tries."""

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return super().forward(-audio if audio.shape[1] > 50 else audio, visual)


class LooksAtValues(TinyNet):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return super().forward(-audio if audio.sum() > 1e9 else audio, visual)


class Unknown(TinyNet):
    """Uses an operator that ONNX lacks."""

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return super().forward(audio + 0 * torch.special.bessel_j0(audio), visual)


def save_own(folder: Path, network: type[TinyNet], **arguments: Any) -> CoLeaF:
    model = save(folder, network, streams=network.streams, **arguments)
    assert model.record is not None
    return model


def test_standardisation_is_part_of_the_file(tmp_path: Path) -> None:
    values = {name: torch.tensor([[50.0], [20.0]]).expand(2, s.width) for name, s in TinyNet.streams.items()}
    model = save_own(tmp_path / "run", TinyNet, statistics=values)
    export_onnx(tmp_path / "run", tmp_path / "net.onnx", trust=True)
    require_same(tmp_path / "net.onnx", model, 2, 5, scale=100.0)


def test_a_declared_network_is_exported_through_its_declaration(tmp_path: Path) -> None:
    outputs = {"segment_probs": Out(1, kind="logits", layout="b c t m"), "modality_probs": "derive"}
    model = save_own(tmp_path / "run", Declared, outputs={**outputs, "video_probs": "derive"}, tokens=0)
    export_onnx(tmp_path / "run", tmp_path / "net.onnx", trust=True)
    require_same(tmp_path / "net.onnx", model, 4, 6)


def test_an_lstm_reads_any_number_of_segments(tmp_path: Path) -> None:
    model = save_own(tmp_path / "run", Recurrent)
    export_onnx(tmp_path / "run", tmp_path / "net.onnx", trust=True)
    require_same(tmp_path / "net.onnx", model, 2, 31)


def test_a_network_of_a_fixed_t_says_so(tmp_path: Path) -> None:
    save_own(tmp_path / "run", TinyNet, segments=5)
    assert export_onnx(tmp_path / "run", tmp_path / "net.onnx", trust=True).segments == 5
    assert metadata(tmp_path / "net.onnx")["segments"] == 5


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (CountsVideos, r"CountsVideos cannot be exported: .* it takes the number of videos for a constant \(3 in"),
        (BranchesWhereLong, r"BranchesWhereLong cannot be exported: .* more than 50 videos or rows"),
        (DiffersTraced, r"DiffersTraced was not exported: video_probs at B = 1, T = 1 differs by 0\.12 between"),
        (LooksAtValues, r"LooksAtValues cannot be exported: PyTorch cannot trace its forward: .*data-dependent"),
        (Unknown, r"Unknown cannot be exported: its graph has no form in ONNX: .*bessel_j0"),
    ],
)
def test_a_wrong_file_is_never_written(
    network: type[TinyNet], sentence: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_own(tmp_path / "run", network)
    capfd.readouterr()
    with pytest.raises(ValueError, match=sentence) as raised:
        export_onnx(tmp_path / "run", tmp_path / "net.onnx", trust=True)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "net.onnx").exists()
    assert capfd.readouterr() == ("", "")  # PyTorch's chatter stays inside


def test_the_file_decides_as_the_run_does_by_what_it_says_of_itself(tmp_path: Path) -> None:
    gates = ModalityThresholds(audio=0.45, visual=(0.5, 0.55, 0.4))
    decision = DecisionConfig(gate="modality", gate_threshold=gates, segment_threshold=0.48, classes=("a", "b", "c"))
    model = save_own(tmp_path / "run", TinyNet)
    model.record.changed(decision=decision).with_classes("abc").write(tmp_path / "run")
    exported = export_onnx(tmp_path / "run", tmp_path / "net.onnx", trust=True)
    about = metadata(exported.file)
    assert about["classes"] == ["a", "b", "c"]
    assert about["streams"]["visual"] == {"width": 8, "modality": "visual", "frames": 2, "averaged": 1}
    assert (about["parser"], about["features"], about["segment_seconds"]) == ("TinyNet", None, None)
    assert exported.notes == ("the training data cannot be opened, so the file does not say how long a segment is",)
    assert about["decision"]["gate_threshold"] == [[0.45] * 3, [0.5, 0.55, 0.4]]
    streams = {"audio": torch.randn(40, 10, 6), "visual": torch.randn(40, 20, 8)}
    found = answers(exported.file, streams)
    gate = found["modality_probs"] >= np.float32(about["decision"]["gate_threshold"])
    events = (found["segment_probs"] >= np.float32(about["decision"]["segment_threshold"])) & gate[:, None]
    output = AnchorOutput(
        torch.from_numpy(found["segment_probs"]), torch.from_numpy(found["video_probs"]), torch.zeros(0),
        torch.from_numpy(found["modality_probs"]),
    )  # fmt: skip
    assert np.array_equal(events, decide(output, decision).numpy())
    assert 0 < events.mean() < 1


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"export to ONNX needs onnxscript: pip install 'coleaf-framework\[onnx\]'"):
        export_onnx(tmp_path / "run", tmp_path / "net.onnx")


def test_the_command_writes_a_trained_run_and_says_how_near_it_is(
    coleaf: Command, data_root: Path, tmp_path: Path
) -> None:
    settings = (
        "trainer.epochs=1",
        "trainer.device=cpu",
        "anchor.options.width=8",
        "data.standardize=true",
        "coleaf.enabled=false",
    )
    coleaf("train", "--data", data_root, "--out", "runs/han", *(x for s in settings for x in ("--set", s)))
    printed = coleaf("export", "runs/han", "--onnx", "out/han.onnx")
    assert printed.startswith("out/han.onnx: any number of videos, any T, no mask; its probabilities differ from")
    assert len(printed.splitlines()) == 1
    about = metadata(tmp_path / "out/han.onnx")
    assert (about["segment_seconds"], about["parser"]) == (1.0, "HAN")
    assert "is a folder" in coleaf("export", "runs/han", "--onnx", "out", fails=True)
    assert "config.yaml: no such file" in coleaf("export", "nowhere", "--onnx", "x.onnx", fails=True)
