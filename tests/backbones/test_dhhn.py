"""DHHN: recorded answers of two joined students, how they come about, and that they train together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coleaf_backbones.dhhn import DHHN
from coleaf_backbones.hcmn import HCMN
from torch import Tensor

from coleaf_framework import Batch, CoLeaFConfig, CoLeaFTrainer, TrainerConfig, check_anchor, create_anchor, wrap
from coleaf_framework.model.loading import load_anchor
from coleaf_framework.protocol import Progress
from coleaf_framework.storage import read_tensors
from coleaf_framework.training.experiment import load_run
from coleaf_framework.training.importing import import_checkpoint, import_run
from tests.helpers.parity import inputs, zoo_weights
from tests.helpers.streams import SMALL, small_batch
from tests.helpers.videos import RandomVideos

ROOT = Path(__file__).parents[2]


def small(name: str, **options: Any) -> Any:
    return create_anchor(name, **{"num_classes": 4, "streams": SMALL, "width": 8, **options})


def check_recorded(zoo: Path, net: torch.nn.Module) -> None:
    recorded = np.load(zoo / "DHHN.npz")
    with torch.no_grad():
        output = net.double().eval()(**inputs())
    answers = {
        "audio_probs": output.modality_probs[:, 0],
        "visual_probs": output.modality_probs[:, 1],
        "segment_probs": output.segment_probs,
    }
    assert set(answers) == set(recorded)
    for name, answer in answers.items():
        np.testing.assert_allclose(answer.numpy(), recorded[name], atol=1e-5, rtol=0, err_msg=name)


def test_answers_as_published_on_what_the_published_forward_reads(zoo: Path) -> None:
    entries = json.loads((zoo / "DHHN.state_dict.json").read_text())
    drawn = zoo_weights(zoo / "DHHN.state_dict.json")
    net = create_anchor("dhhn").double().eval()
    net.load_state_dict({name: x for name, x in drawn.items() if entries[name]["used_in_forward"]})
    check_recorded(zoo, net)
    with torch.no_grad():  # without weights of a choice between modalities, these weigh alike
        student = net.video_net(**inputs())
    torch.testing.assert_close(student.video_probs, student.modality_probs.mean(1))


def test_a_published_checkpoint_loads(zoo: Path, tmp_path: Path) -> None:
    drawn = zoo_weights(zoo / "DHHN.state_dict.json")
    torch.save(drawn, tmp_path / "dhhn.pt")
    net = import_checkpoint(tmp_path / "dhhn.pt", "dhhn")
    assert torch.equal(net.audio_net.fc_av_att.bias, drawn["audio_net.fc_av_att.bias"])
    assert not any("helpers" in name for name in net.state_dict())
    check_recorded(zoo, net)


def test_each_student_answers_for_its_modality() -> None:
    students, streams = [small("hcmn").eval() for _ in range(2)], small_batch(5)
    joined = DHHN.from_students(*students)
    assert not any("helpers" in name for name in joined.state_dict())
    output, (audio, visual) = joined(**streams), (student(**streams) for student in students)
    for field in ("segment_probs", "tokens"):
        got = getattr(output, field)
        assert torch.equal(got[:, :, 0], getattr(audio, field)[:, :, 0])
        assert torch.equal(got[:, :, 1], getattr(visual, field)[:, :, 1])
    assert torch.equal(output.modality_probs[:, 0], audio.modality_probs[:, 0])
    assert torch.equal(output.modality_probs[:, 1], visual.modality_probs[:, 1])
    torch.testing.assert_close(output.video_probs, (audio.video_probs + visual.video_probs) / 2)
    assert students[0].helpers is not None
    with torch.no_grad():
        students[0].fc_prob.bias.add_(1)
    assert torch.equal(joined(**streams).segment_probs, output.segment_probs)


def test_students_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="DHHN: the students differ in classes, width or streams"):
        DHHN.from_students(small("hcmn"), small("hcmn", width=16))
    with pytest.raises(ValueError, match="DHHN: a student is a HAN, where an HCMN was expected"):
        DHHN.from_students(small("han"), small("hcmn"))


def test_padding_does_not_reach_the_answer() -> None:
    net, short = small("dhhn").eval(), small_batch(3)
    padded = {name: torch.cat([x, torch.randn(3, 4 * SMALL[name].frames, x.shape[2])], 1) for name, x in short.items()}
    alone, together = net(**short), net(**padded, mask=torch.tensor([[True] * 3 + [False] * 4] * 3))
    torch.testing.assert_close(alone.video_probs, together.video_probs)
    torch.testing.assert_close(alone.modality_probs, together.modality_probs)
    torch.testing.assert_close(alone.segment_probs, together.segment_probs[:, :3])
    torch.testing.assert_close(alone.tokens, together.tokens[:, :3])


def test_each_student_learns_by_its_own_loss() -> None:
    net, batch = small("dhhn", dropout=0.0), Batch(small_batch(5), (torch.rand(3, 4) < 0.5).float())
    terms = net.loss(net(**batch.streams), batch, Progress(1))
    alone: list[dict[str, Tensor]] = []
    for student in (net.audio_net, net.video_net):
        assert isinstance(student, HCMN)
        alone.append(student.loss(student(**batch.streams), batch, Progress(1)))
    assert len(terms) == 9
    for name, term in terms.items():
        torch.testing.assert_close(term, alone[0][name] + alone[1][name])
    assert net.learning_rate_factors["video_net.helpers.visual."] == 0.2
    assert len(net.learning_rate_factors) == 4


@pytest.mark.parametrize("recipe", ["alone", "paper", "official"])
def test_it_runs_alone_and_in_coleaf(recipe: str) -> None:
    config = {
        "alone": CoLeaFConfig(enabled=False),
        "paper": CoLeaFConfig(),
        "official": CoLeaFConfig.official(),
    }[recipe]
    checked = check_anchor("dhhn", streams=SMALL, num_classes=4, anchor_options={"width": 8}, config=config)
    assert "two training steps change all of its 200 parameters" in checked


def test_two_runs_of_one_seed_give_the_two_students(tmp_path: Path) -> None:
    """The way of docs/anchors/dhhn.md: the same training, its best audio and its best visual epoch, and one run."""
    train, val = RandomVideos("train", [6, 4, 5, 3, 7, 5, 4, 6], SMALL), RandomVideos("val", [5, 3, 4, 6], SMALL)
    histories, students = [], []
    for monitor in (("segment/A", "event/A"), ("segment/V", "event/V")):
        torch.manual_seed(0)
        config = CoLeaFConfig(enabled=False)
        model = wrap("hcmn", streams=SMALL, num_classes=4, anchor_options={"width": 8}, config=config)
        how = TrainerConfig(epochs=2, batch_size=4, learning_rate=1e-3, device="cpu", monitor=monitor)
        out = tmp_path / monitor[0][-1]
        histories.append(CoLeaFTrainer(model, how, out=out, quiet=True).fit(train, val))
        students.append(load_anchor(out))
    assert [entry["losses"] for entry in histories[0]] == [entry["losses"] for entry in histories[1]]
    best = [max(history, key=lambda entry: entry["monitor"])["epoch"] for history in histories]
    assert best[0] != best[1]  # else this test shows nothing
    torch.save(DHHN.from_students(*students).state_dict(), tmp_path / "dhhn.pt")
    import_run(tmp_path / "dhhn.pt", "dhhn", tmp_path / "run", streams=SMALL, num_classes=4, width=8)
    trainer = load_run(tmp_path / "run")[1]
    assert trainer.model.record.decision.gate == "modality"
    streams = {name: torch.randn(2, 6 * spec.frames, spec.width) for name, spec in SMALL.items()}
    answer = trainer.model.infer(Batch(streams, torch.zeros(2, 4))).segment_probs
    for modality, student in enumerate(students):
        assert torch.equal(answer[:, :, modality], student(**streams).segment_probs[:, :, modality])
    scores = trainer.evaluate(val).scores
    for letter, history, epoch in zip("AV", histories, best, strict=True):
        for level in ("segment", "event"):
            column = f"{level}/{letter}"
            assert scores[column] == pytest.approx(history[epoch - 1]["val"][column]), column


WORKER = """
import os, sys
from pathlib import Path
import torch
from torch import nn
from coleaf_backbones.real_batch_norm import RealBatchNorm
from coleaf_framework import CoLeaFConfig, CoLeaFTrainer, TrainerConfig, wrap
from coleaf_framework.storage import write_tensors
from tests.helpers.streams import SMALL
from tests.helpers.videos import RandomVideos

out, rank = Path(sys.argv[1]), os.environ.get("RANK", "0")
past = {"anchor_warmup": 0, "reference_warmup": 0}
for recipe, config in (("paper", CoLeaFConfig(**past)), ("official", CoLeaFConfig.official(**past))):
    for statistics in ("fixed", "own"):
        RealBatchNorm.train = lambda self, mode=True: nn.Module.train(self, mode and statistics == "own")
        torch.manual_seed(0)
        model = wrap("dhhn", streams=SMALL, num_classes=4, config=config,
                     anchor_options={"width": 8, "dropout": 0.0}, reference_options={"dropout": 0.0})
        train = RandomVideos("train", [5, 9, 2, 7, 3, 4], SMALL)
        rate = 1e-12 if statistics == "fixed" else 1e-3
        how = TrainerConfig(epochs=1, batch_size=4, accumulate=2, learning_rate=rate, device="cpu", monitor=())
        CoLeaFTrainer(model, how, out=out / f"{recipe}-{statistics}", quiet=True).fit(train)
        tensors = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        if statistics == "own":
            tensors = dict(model.named_parameters())
        write_tensors(out / f"{recipe}-{statistics}-{rank}.tensors", tensors)
"""


@pytest.mark.slow
def test_two_ranks(tmp_path: Path) -> None:
    """The gradients of one process where batch normalisation has fixed statistics; with its own, one set of weights.

    Helpers are behind no output that the Reference reads, which DistributedDataParallel must find out by itself.
    """
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path) + f"{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for command, out in (([sys.executable], tmp_path / "alone"), (run, tmp_path / "ranks")):
        out.mkdir()
        done = subprocess.run(
            [*command, str(script), str(out)], env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr[-3000:]
    for recipe in ("paper", "official"):
        whole = read_tensors(tmp_path / f"alone/{recipe}-fixed-0.tensors")
        assert any("helpers" in name for name in whole)
        for rank in range(2):
            gradients = read_tensors(tmp_path / f"ranks/{recipe}-fixed-{rank}.tensors")
            assert gradients.keys() == whole.keys()
            for name, expected in whole.items():
                torch.testing.assert_close(gradients[name], expected, rtol=1e-4, atol=1e-7, msg=f"{recipe} {name}")
        one, two = (read_tensors(tmp_path / f"ranks/{recipe}-own-{rank}.tensors") for rank in range(2))
        assert all(torch.equal(x, two[name]) for name, x in one.items())
        assert all(torch.isfinite(x).all() for x in one.values())
