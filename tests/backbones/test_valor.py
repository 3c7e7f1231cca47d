"""VALOR: recorded answers of its three published forms, its loss beside pseudo-labels, its recipe and its features."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coleaf_backbones.mmil import guided_loss
from coleaf_backbones.valor import AudioFirstLayer
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_framework import (
    Batch,
    CoLeaFConfig,
    StreamSpec,
    check_anchor,
    create_anchor,
    import_checkpoint,
    recipe,
    wrap,
)
from coleaf_framework.collaboration.label_loss import anchor_loss
from coleaf_framework.data import open_folder
from coleaf_framework.protocol import LLP_STREAMS, Progress
from tests.helpers.command import Command
from tests.helpers.data import video_names, write_data_set
from tests.helpers.labels import write_labels
from tests.helpers.parity import inputs, zoo_labels, zoo_weights
from tests.helpers.streams import SMALL, small_batch

PLUS: dict[str, Any] = {"width": 256, "layers": 4}
PLUSPLUS_STREAMS = {
    "audio": StreamSpec(768, "audio"),
    "visual": StreamSpec(768, "visual"),
    "visual_st": StreamSpec(512, "visual"),
}
SYSTEMS: dict[str, dict[str, Any]] = {
    "VALOR": {},
    "VALOR_plus": PLUS,
    "VALOR_plusplus": {**PLUS, "streams": PLUSPLUS_STREAMS},
}
PAGE = Path(__file__).parents[2] / "docs/anchors/valor.md"


def maps_and_frames() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """VALOR++'s recorded inputs as its files hold them: 64 positions of CLAP's map, one CLIP frame a segment."""
    rng = np.random.default_rng([0, 17])
    shapes = {"CLAP/features": (4, 64, 768), "CLIP/features": (4, 10, 768), "feats/r2plus1d_18": (4, 10, 512)}
    return {folder: rng.standard_normal(shape).astype(np.float32) for folder, shape in shapes.items()}


def plusplus_inputs(root: Path) -> dict[str, Tensor]:
    """The recorded inputs, read from a data folder by the streams.yaml of VALOR's page."""
    write_data_set(root)
    for path in root.glob("AVVP_*.csv"):
        path.write_text(path.read_text().replace("_0_4", "_0_10"))
    block = PAGE.read_text().split("\n\n    streams:\n")[1].split("\n\n")[0]
    (root / "streams.yaml").write_text(f"    streams:\n{block}\n")
    for folder, arrays in maps_and_frames().items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i, video in enumerate(video_names("tr", 6)):
            np.save(root / folder / f"{video}.npy", arrays[i % 4])
    data = open_folder(root, "train")
    assert data.streams == PLUSPLUS_STREAMS
    videos = [data[i].streams for i in range(4)]
    return {name: torch.stack([video[name] for video in videos]).double() for name in PLUSPLUS_STREAMS}


def published(zoo: Path, name: str) -> nn.Module:
    entries = json.loads((zoo / f"{name}.state_dict.json").read_text())
    drawn = zoo_weights(zoo / f"{name}.state_dict.json")
    net = create_anchor("valor", **SYSTEMS[name]).double().eval()
    net.load_state_dict({key: drawn[key] for key, entry in entries.items() if entry["used_in_forward"]})
    return net


def small_net(**options: Any) -> Any:
    return create_anchor("valor", **{"num_classes": 4, "streams": SMALL, "width": 8, "hidden": 16, **options})


@pytest.mark.parametrize("name", SYSTEMS)
def test_answers_and_losses_as_published(zoo: Path, tmp_path: Path, name: str) -> None:
    net = published(zoo, name)
    streams = plusplus_inputs(tmp_path / "d") if name == "VALOR_plusplus" else inputs()
    with torch.no_grad():
        output: Any = net(**streams)
    pseudo = torch.stack([zoo_labels(stream, (40, 25)).view(4, 10, 25) for stream in (15, 16)], dim=2)
    batch = Batch(streams, zoo_labels(), pseudo_labels=pseudo)
    config = CoLeaFConfig(enabled=False, segment_label_weight=1)
    terms = {key: x.value for key, x in anchor_loss(config, net, output, batch.labels, batch, Progress(1)).items()}
    assert terms.keys() == {"video", "segment_labels"}
    logits = output.segment_probs.logit()
    segments = F.binary_cross_entropy_with_logits(logits, pseudo, reduction="none").mean((0, 1, 3))
    answers = {
        "video_probs": output.video_probs,
        "audio_probs": output.modality_probs[:, 0],
        "visual_probs": output.modality_probs[:, 1],
        "segment_probs": output.segment_probs,
        "segment_logits": logits,
        "audio_tokens": output.tokens[:, :, 0],
        "visual_tokens": output.tokens[:, :, 1],
        "loss/video": terms["video"],
        "loss/audio_segments": segments[0],
        "loss/visual_segments": segments[1],
    }
    recorded = np.load(zoo / f"{name}.npz")
    assert set(recorded) == set(answers)
    for key, answer in answers.items():
        np.testing.assert_allclose(answer.numpy(), recorded[key], atol=1e-5, rtol=0, err_msg=key)
    total = recorded["loss/audio_segments"] + recorded["loss/visual_segments"]
    assert terms["segment_labels"].item() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_published_checkpoints_are_imported(zoo: Path, tmp_path: Path, name: str) -> None:
    """Which hold two final norms beside, that nothing uses."""
    torch.save(zoo_weights(zoo / f"{name}.state_dict.json"), tmp_path / "published.pt")
    imported, expected = import_checkpoint(tmp_path / "published.pt", "valor", **SYSTEMS[name]), published(zoo, name)
    for key, x in expected.state_dict().items():
        assert torch.equal(imported.state_dict()[key], x.float()), key


def test_visual_tokens_attend_to_updated_audio() -> None:
    """A layer's two updates, by torch's own attention, and not the order of HAN or the other way round."""
    layer = AudioFirstLayer(8, 2, 16, 0.1).eval()
    self_attn, cross_attn = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
    self_attn.load_state_dict(layer.self_attn.state_dict())
    cross_attn.load_state_dict(layer.cm_attn.state_dict())

    def update(x: Tensor, other: Tensor) -> Tensor:
        x = layer.norm1(x + self_attn(x, x, x)[0] + cross_attn(x, other, other)[0])
        return layer.norm2(x + layer.linear2(layer.linear1(x).relu()))  # type: ignore[no-any-return]

    audio, visual = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    updated = update(audio, visual)
    found = layer(audio, visual)
    torch.testing.assert_close(found, (updated, update(visual, updated)))
    assert not torch.allclose(found[1], update(visual, audio))


def test_beside_pseudo_labels_its_own_loss_is_of_the_video_alone() -> None:
    net, streams = small_net(), small_batch(5)
    labels = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    output, batch = net(**streams), Batch(streams, labels)
    without = net.loss(output, batch, Progress(1))
    assert without.keys() == {"video", "audio", "visual"}
    for key, x in guided_loss(output, batch).items():
        assert torch.equal(without[key], x)
    with_ = net.loss(output, replace(batch, pseudo_labels=torch.rand(3, 5, 2, 4)), Progress(1))
    assert with_.keys() == {"video"}
    torch.testing.assert_close(with_["video"], F.binary_cross_entropy(output.video_probs, labels))


def test_it_is_measured_by_the_loss_that_it_is_trained_with(caplog: pytest.LogCaptureFixture) -> None:
    """Without pseudo-labels its loss reads labels of modalities, beside them it does not."""

    def terms(**config: Any) -> tuple[str, ...]:
        caplog.clear()
        arguments = {"streams": SMALL, "num_classes": 3, "anchor_options": {"width": 8}}
        return wrap("valor", config=CoLeaFConfig(enabled=False, **config), **arguments).training_signal().terms

    denoised = {"labels": "denoised", "noise_ratios": {"audio": [0.5] * 3, "visual": [0.5] * 3}}
    assert terms(**denoised) == ("video", "audio", "visual")
    assert not caplog.records
    assert terms(**denoised, segment_label_weight=1.0) == ("video", "segment_labels")
    assert "VALOR: its loss never reads Batch.modality_labels, so labels=denoised teaches" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 12}, "VALOR: width=12 is not a multiple of heads=8"),
        ({"layers": 0}, "VALOR: layers=0: expected a whole number of at least 1"),
        ({"hidden": None}, "VALOR: hidden=None: expected a whole number"),
        ({"dropout": 1.0}, r"VALOR: dropout=1.0: expected a rate in \[0, 1\)"),
        ({"streams": {"audio": SMALL["audio"]}}, "VALOR needs a stream of modality 'visual'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_net(**options)


@pytest.mark.parametrize("config", [CoLeaFConfig(), CoLeaFConfig.official()], ids=["paper", "official"])
def test_it_conforms_and_trains_in_coleaf(config: CoLeaFConfig) -> None:
    options = {"width": 8, "layers": 2, "hidden": 16}
    arguments: dict[str, Any] = {"streams": SMALL, "num_classes": 4, "anchor_options": options, "config": config}
    assert "is returned without leftover hooks" in check_anchor("valor", **arguments)
    model = wrap("valor", **arguments)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    streams, labels = small_batch(5), torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    totals = []
    for _ in range(8):
        losses = model(Batch(streams, labels))
        totals.append(sum(losses.values()).item())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert {name.partition("/")[0] for name in losses} >= {"anchor", "reference"}
    assert totals[-1] < totals[0]


def test_the_recipe_is_the_published_run() -> None:
    run = recipe("valor", "labels.sources=[{kind: valor, path: labels}]")
    trainer = run.trainer
    assert (run.anchor.name, run.coleaf.enabled, run.coleaf.segment_label_weight) == ("valor", False, 1)
    assert (trainer.optimizer, trainer.adam_betas, trainer.weight_decay) == ("adamw", (0.5, 0.999), 1e-3)
    assert (trainer.epochs, trainer.batch_size, trainer.clip_norm, trainer.seed) == (60, 64, 1, 1000)
    assert (trainer.learning_rate, trainer.lr_min, trainer.monitor) == (1e-4, 1e-6, ("segment/Type@AV",))
    assert (run.decision.gate, run.decision.gate_threshold, run.decision.segment_threshold) == ("video", 0.5, 0.5)


@pytest.mark.parametrize("labels", [[], ["labels.sources=[{kind: ma, path: removals.json}]"]])
def test_the_recipe_without_labels_of_segments_is_refused(labels: list[str]) -> None:
    with pytest.raises(ValueError, match="recipe valor trains with pseudo-labels of segments.*--labels valor=PATH"):
        recipe("valor", *labels)


@pytest.mark.parametrize("together", [False, True])
def test_the_recipe_trains_alone_and_in_coleaf(
    coleaf: Command, data_root: Path, tmp_path: Path, together: bool
) -> None:
    settings = ["anchor.options={width: 8, hidden: 16}", "trainer.epochs=10", "trainer.device=cpu"]
    settings += ["coleaf.enabled=true"] * together
    given = ("train", "--data", data_root, "--recipe", "valor", "--out", tmp_path / "run")
    flags = [x for setting in settings for x in ("--set", setting)]
    assert "coleaf pseudo-label" in coleaf(*given, *flags, fails=True)
    coleaf(*given, "--labels", f"npy={write_labels(tmp_path / 'own')}", *flags)
    epochs = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    terms = {name for epoch in epochs for name in epoch["losses"]}
    assert {"anchor/video", "anchor/segment_labels"} <= terms
    assert not terms & {"anchor/audio", "anchor/visual"}
    assert any(name.startswith("reference/") for name in terms) == together
    assert [epoch["lr"] for epoch in epochs] == pytest.approx([1e-5 * e for e in range(1, 11)])


def test_llps_features_fit_any_length() -> None:
    """The published code takes 80 frames alone."""
    net = create_anchor("valor", width=8, hidden=16).eval()
    streams = {name: torch.randn(2, 12 * spec.frames, spec.width) for name, spec in LLP_STREAMS.items()}
    assert net(**streams).segment_probs.shape == (2, 12, 2, 25)
