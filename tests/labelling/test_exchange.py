"""Partners without a common label, and the removal of labels by MA's procedure with any run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from coleaf_framework import CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.data import AVVPFolder
from coleaf_framework.labelling.exchange import ExchangedTrack, draw_partners, find_removals, removal_lists
from coleaf_framework.storage import read_json
from tests.helpers.command import Command
from tests.helpers.data import last
from tests.helpers.training import SMALL, fit


@given(st.integers(2, 12), st.integers(2, 4), st.integers(0, 2**31))
def test_partners_share_no_label_and_do_not_depend_on_the_order(videos: int, classes: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    labels = one_hot(torch.randint(0, classes, (videos,), generator=draw), classes).float()
    labels[:2] = torch.eye(classes)[:2]
    ids = [f"v{i}" for i in range(videos)]
    partners = draw_partners(ids, labels, seed)
    assert all(labels[i] @ labels[j] == 0 for i, j in enumerate(partners))
    order = torch.randperm(videos, generator=draw).tolist()
    again = draw_partners([ids[i] for i in order], labels[order], seed)
    assert [order[j] for j in again] == [partners[i] for i in order]


def test_another_seed_draws_others() -> None:
    labels = torch.eye(30)
    ids = [f"v{i}" for i in range(30)]
    assert draw_partners(ids, labels, 0) == draw_partners(ids, labels, 0) != draw_partners(ids, labels, 1)


def test_a_video_without_a_partner_is_named() -> None:
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="video 'b' shares a label with every other one of 3"):
        draw_partners(["a", "b", "c"], labels)


def test_a_track_of_another_length_is_cut_or_begins_again(data_root: Path) -> None:
    last(data_root, "tr01", 6)
    data = AVVPFolder(data_root, "train")
    exchanged = ExchangedTrack(data, [1, 0, 0, 0, 0, 0], "visual")
    own, other = data[0].streams["visual"], data[1].streams["visual"]
    assert torch.equal(exchanged[0].streams["visual"], other[:8])
    assert torch.equal(exchanged[1].streams["visual"], torch.cat([own, own[:4]]))
    assert torch.equal(exchanged[1].streams["audio"], data[1].streams["audio"])
    assert len(exchanged) == 6
    assert exchanged.segments(1) == 6


def test_removals_are_those_of_three_forwards(data_root: Path) -> None:
    data = AVVPFolder(data_root, "train")
    model = wrap("han", streams=data.streams, num_classes=3, anchor_options=SMALL).eval()
    with torch.no_grad():
        for parameter in model.anchor.parameters():
            parameter.mul_(4)  # so that probabilities are on either side of the threshold
    trainer = CoLeaFTrainer(model, TrainerConfig(device="cpu", batch_size=4), quiet=True)
    found, weak = find_removals(trainer, data, seed=3)
    videos = [data[i] for i in range(6)]
    labels = torch.stack([video.labels for video in videos])
    assert torch.equal(weak, labels)
    partners = draw_partners(data.ids, labels, 3)

    def answer(i: int, audio: int, visual: int) -> Tensor:
        streams = {name: videos[audio if name == "audio" else visual].streams[name][None] for name in data.streams}
        with torch.no_grad():
            return trainer.model.anchor(**streams).modality_probs[0]

    own, other_visual, other_audio = (
        torch.stack([answer(i, *pair(i, partners[i])) for i in range(6)])
        for pair in (lambda i, j: (i, i), lambda i, j: (i, j), lambda i, j: (j, i))
    )
    for m, exchanged in enumerate((other_visual, other_audio)):
        error = [(((own[:, m] > 0.5) != (labels > 0.5))[:, c]).float().mean().item() for c in range(3)]
        for i in range(6):
            for c in range(3):
                relative = error[c] / max(error) if max(error) else 0
                gone = relative > 0 and all(exchanged[i, k, c] / relative < 0.5 for k in (0, 1))
                assert bool(found[i, m, c]) == bool(labels[i, c] > 0 and gone)
    assert 0 < found.sum() < 2 * labels.sum()


def test_the_command_writes_ids_by_class(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    fit(data_root, tmp_path / "run", epochs=1)
    printed = coleaf("remove-labels", "run", "--data", data_root, "--out", "r.json", "--seed", 1)
    assert "visual labels, of 6 each, from 6 videos of tiny" in printed
    content = read_json(tmp_path / "r.json")
    assert (content["kind"], content["method"], content["made_by"]["seed"]) == ("removals", "ma", 1)
    data = AVVPFolder(data_root, "train")
    for modality in ("audio", "visual"):
        for name, ids in content[modality].items():
            assert all(data[data.ids.index(v)].labels[data.classes.index(name)] == 1 for v in ids)
    assert json.loads((tmp_path / "r.json").read_text())["classes"] == list(data.classes)
    assert "--method jomold: expected ma" in coleaf(
        "remove-labels", "run", "--method", "jomold", "--out", "r", fails=True
    )


def test_lists_name_every_removal_once() -> None:
    removed = torch.zeros(3, 2, 2, dtype=torch.bool)
    removed[2, 0, 1] = removed[0, 0, 1] = removed[1, 1, 0] = True
    lists = removal_lists(removed, ["c", "b", "a"], ["Dog", "Car"])
    assert lists == {"audio": {"Car": ["a", "c"]}, "visual": {"Dog": ["b"]}}
