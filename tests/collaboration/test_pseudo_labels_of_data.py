"""The data's pseudo-labels as terms of a training step, with and without the Reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from coleaf_framework import AnchorOutput, Batch, CoLeaFConfig, CoLeaFTrainer, TrainerConfig, losses, wrap
from coleaf_framework.collaboration import PSEUDO_LABEL_TERMS, LabelLoss, pseudo_label_terms
from coleaf_framework.data import AveragedFrames, AVVPFolder, collate
from coleaf_framework.data.labels import LabelsConfig, WithPseudoLabels
from coleaf_framework.protocol import Progress
from coleaf_framework.record.settings import load_config
from tests.helpers.labels import write_labels
from tests.helpers.networks import NUM_CLASSES, TinyNet, batch_of

ALONE = CoLeaFConfig(enabled=False)


def labelled(**fields: Any) -> Batch:
    batch: Batch = batch_of(**fields)
    return replace(batch, pseudo_labels=torch.rand(4, 5, 2, NUM_CLASSES))


@pytest.mark.parametrize("enabled", [True, False])
def test_both_terms_stand_beside_the_anchors_loss(enabled: bool) -> None:
    config = CoLeaFConfig(enabled=enabled, segment_label_weight=0.5, modality_label_weight=2.0)
    model, batch = wrap(TinyNet, config=config), labelled()
    terms = model(batch, Progress(1))
    output = model.infer(batch)
    assert batch.pseudo_labels is not None
    segments = losses.segment_label_cross_entropy(output.segment_probs, batch.pseudo_labels)
    modalities = losses.modality_label_cross_entropy(output.modality_probs, batch.pseudo_labels)
    torch.testing.assert_close(terms["anchor/segment_labels"], 0.5 * segments)
    torch.testing.assert_close(terms["anchor/modality_labels"], 2 * modalities)
    assert "anchor/video" in terms


def test_an_anchor_alone_with_bce_on_the_video_is_trained_as_valor() -> None:
    config = CoLeaFConfig(enabled=False, anchor_loss="video", segment_label_weight=1.0)
    streams = TinyNet.streams
    model = wrap("han", streams=streams | {"visual_st": streams["audio"].__class__(4, "visual")}, num_classes=3,
                 anchor_options={"width": 8}, config=config)  # fmt: skip
    batch = labelled()
    batch = replace(batch, streams={**batch.streams, "visual_st": torch.randn(4, 5, 4)})
    assert set(model(batch, Progress(1))) == {"anchor/video", "anchor/segment_labels"}


def test_labels_that_say_nothing_teach_nothing() -> None:
    model = wrap(TinyNet, config=CoLeaFConfig(enabled=False, segment_label_weight=1.0))
    batch = labelled()
    silent = replace(batch, pseudo_label_mask=torch.zeros(4, 5, 2, NUM_CLASSES, dtype=torch.bool))
    assert model(silent, Progress(1))["anchor/segment_labels"].item() == 0


def test_a_weight_without_labels_in_the_batch_is_an_error() -> None:
    model = wrap(TinyNet, config=CoLeaFConfig(enabled=False, modality_label_weight=1.0))
    with pytest.raises(ValueError, match="coleaf.modality_label_weight is 1, but the batch has no pseudo_labels"):
        model(batch_of(), Progress(1))


def test_rare_classes_are_weighted_by_their_share() -> None:
    config = CoLeaFConfig(segment_label_weight=1.0, segment_label_balance=4.0)
    batch, probs = labelled(), torch.rand(4, 5, 2, NUM_CLASSES)
    output = AnchorOutput(probs, probs.mean((1, 2)), torch.zeros(4, 5, 2, 1), probs.mean(1))
    shares = torch.tensor([[0.5, 0.25, 0.01]] * 2)
    found = pseudo_label_terms(config, output, batch, LabelLoss(positive_shares=shares))["segment_labels"]
    assert batch.pseudo_labels is not None
    weight = torch.tensor([[1.0, 3.0, 4.0]] * 2)
    expected = losses.segment_label_cross_entropy(probs, batch.pseudo_labels, positive_weight=weight)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="segment_label_balance needs LabelLoss.positive_shares"):
        pseudo_label_terms(config, output, batch)


@pytest.mark.parametrize("name", PSEUDO_LABEL_TERMS)
def test_a_custom_loss_may_not_take_their_names(name: str) -> None:
    class Own(TinyNet):
        def loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
            return {name: output.video_probs.mean()}

    with pytest.raises(ValueError, match=f"Own.loss: '{name}' is the name of a term of CoLeaF"):
        wrap(Own())


class TwoHeads(TinyNet):
    """Its video probabilities come from a head of their own, so that labels of the video train no segments."""

    def __init__(self) -> None:
        super().__init__()
        self.of_video = torch.nn.Linear(8, NUM_CLASSES)

    def spoil(self, output: dict[str, Tensor]) -> Any:
        return AnchorOutput(**output | {"video_probs": self.of_video(output["tokens"].mean((1, 2))).sigmoid()})


def test_the_training_signal_knows_what_they_train() -> None:
    config = CoLeaFConfig(enabled=False, anchor_loss="video", segment_label_weight=1.0)
    signal = wrap(TwoHeads, config=config).training_signal()
    assert signal.terms == ("video", "segment_labels")
    assert (signal.share("classify", "video"), signal.share("classify", "segment_labels")) == (0, 1)
    assert signal.share("of_video", "segment_labels") == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"segment_label_smoothing": 0.1}, "segment_label_smoothing does nothing while segment_label_weight is 0"),
        ({"segment_label_form": "hard"}, "segment_label_form does nothing"),
        ({"segment_label_balance": 5.0, "modality_label_weight": 1.0}, "segment_label_balance does nothing"),
        ({"segment_label_modalities": (3, 1)}, "segment_label_modalities does nothing"),
        ({"segment_label_weight": 1, "segment_label_modalities": (0, 0)}, "two weights of at least 0, not both 0"),
        ({"segment_label_weight": 1, "segment_label_modalities": (-1, 1)}, "two weights of at least 0, not both 0"),
        ({"segment_label_balance": 0.5}, "greater than or equal to 1"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoLeaFConfig(**values)


def test_labels_that_are_given_are_read_with_weight_one_unless_something_else_is_said() -> None:
    sources = "labels.sources=[{kind: npy, path: somewhere}]"
    assert load_config(settings=[sources]).coleaf.segment_label_weight == 1
    other = load_config(settings=[sources, "coleaf.modality_label_weight=2"]).coleaf
    assert (other.segment_label_weight, other.modality_label_weight) == (0, 2)
    assert load_config(settings=["labels.sources=[{kind: ma, path: x}]"]).coleaf.segment_label_weight == 0
    with pytest.raises(ValueError, match="labels.sources are given, but .* so no loss reads them"):
        load_config(settings=[sources, "coleaf.segment_label_weight=0"])


def trained(data: Any, **config: Any) -> None:
    torch.manual_seed(0)
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options={"width": 8}, config=CoLeaFConfig(**config))
    CoLeaFTrainer(model, TrainerConfig(epochs=1, device="cpu", monitor=()), quiet=True).fit(data)


def test_training_refuses_labels_that_nothing_reads_and_weights_without_labels(data_root: Path, tmp_path: Path) -> None:
    train = AVVPFolder(data_root, "train")
    root = write_labels(tmp_path / "own")
    data = WithPseudoLabels(train, LabelsConfig(sources=({"kind": "npy", "path": str(root)},)))
    with pytest.raises(ValueError, match="has pseudo-labels of segments, but .* are 0, so no loss reads them"):
        trained(data)
    with pytest.raises(ValueError, match="segment_label_weight is 1, but tiny train has no pseudo-labels of segments"):
        trained(train, segment_label_weight=1.0)
    trained(data, segment_label_weight=1.0, segment_label_balance=5.0)


def test_pseudo_labels_are_found_below_averaged_frames(data_root: Path, tmp_path: Path) -> None:
    root = write_labels(tmp_path / "own")
    labels = LabelsConfig(sources=({"kind": "npy", "path": str(root)},))
    data = AveragedFrames(WithPseudoLabels(AVVPFolder(data_root, "train"), labels))
    with pytest.raises(ValueError, match="has pseudo-labels of segments, but .* are 0, so no loss reads them"):
        trained(data)
    trained(data, segment_label_weight=1.0, segment_label_balance=5.0)


def test_labels_per_modality_are_refused_where_the_video_alone_is_taught(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "removals.json").write_text('{"audio": [[0], [], []], "visual": [[], [], []]}')
    labels = LabelsConfig(sources=({"kind": "ma", "path": str(tmp_path / "removals.json")},))
    data = WithPseudoLabels(AVVPFolder(data_root, "train"), labels)
    batch = collate([data[i] for i in range(6)], data.streams)
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options={"width": 8}, config=ALONE).eval()
    output, heard = model.infer(batch), batch.labels.clone()
    heard[0, 0] = 0
    assert output.modality_probs is not None
    torch.testing.assert_close(
        model(batch)["anchor/audio"], losses.binary_cross_entropy(output.modality_probs[:, 0], heard)
    )
    trained(data, enabled=False)
    with pytest.raises(ValueError, match="HAN is trained by its video probabilities alone"):
        trained(data, enabled=False, anchor_loss="video")
