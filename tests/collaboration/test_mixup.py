"""Mixup: what is mixed with what, that it follows from the seed, and what it does not go with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework import Batch, CoLeaFConfig, CoLeaFTrainer, TrainerConfig, recipe, wrap
from coleaf_framework.collaboration import mix_videos
from tests.helpers.networks import TinyNet, batch_of
from tests.helpers.training import Interrupted, interrupt_at, resume_state, same_weights
from tests.helpers.videos import UNAV_LIKE, RandomVideos


def marked(lengths: list[int], frames: int = 2) -> Batch:
    """A batch in which every field of a video is the video's one-hot number, so that a mixture shows what it is of."""
    n, longest = len(lengths), max(lengths)
    one = torch.eye(n)
    said = torch.rand(n, longest, 2, n) < 0.5
    return Batch(
        streams={"audio": one[:, None].expand(n, longest * frames, n)},
        labels=one,
        segment_labels=torch.ones(n, longest, 2, n, dtype=torch.bool),
        mask=torch.arange(longest) < torch.tensor(lengths)[:, None],
        modality_labels=one[:, None].expand(n, 2, n),
        pseudo_labels=one[:, None, None].expand(n, longest, 2, n),
        pseudo_label_mask=said,
        ids=tuple(map(str, range(n))),
        fraction=0.5,
    )


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=8), alpha=st.floats(0.05, 20), seed=st.integers(0, 99))
def test_every_field_is_of_the_same_two_videos_of_one_length(lengths: list[int], alpha: float, seed: int) -> None:
    batch = marked(lengths)
    torch.manual_seed(seed)
    mixed = mix_videos(batch, alpha)
    used = []
    for i, length in enumerate(lengths):
        of = mixed.labels[i].nonzero().flatten().tolist()
        partner = next((j for j in of if j != i), i)
        used.append(partner)
        assert lengths[partner] == length
        assert mixed.labels[i, i] >= 0.5
        assert mixed.labels[i].sum().item() == pytest.approx(1)
        for x in (mixed.streams["audio"][i], mixed.modality_labels[i], mixed.pseudo_labels[i].flatten(0, 1)):
            assert torch.equal(x, mixed.labels[i].expand_as(x))
        if len(of) == 2:  # a share of 1 is rounded
            assert torch.equal(
                mixed.pseudo_label_mask[i], batch.pseudo_label_mask[i] & batch.pseudo_label_mask[partner]
            )
    assert sorted(used) == list(range(len(lengths)))
    assert mixed.segment_labels is None
    assert mixed.ids == batch.ids
    assert mixed.fraction == 0.5
    assert torch.equal(mixed.mask, batch.mask)


def test_without_a_mask_any_two_are_mixed_and_one_share_is_for_all() -> None:
    batch = Batch({"audio": torch.randn(6, 3, 2)}, torch.eye(6))
    mixed = mix_videos(batch, 1.0)
    shares = mixed.labels.diagonal()
    assert len(set(shares[shares < 1].tolist())) == 1
    assert mixed.pseudo_labels is None
    assert mixed.modality_labels is None


def test_it_follows_from_the_seed() -> None:
    batch, answers = marked([3, 3, 3, 2, 2]), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        answers.append(mix_videos(batch, 0.5).labels)
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_alpha_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="alpha must be above 0, got 0"):
        mix_videos(marked([2, 2]), 0.0)


def test_it_is_off_by_default() -> None:
    batch = batch_of()
    assert wrap(TinyNet).mix(batch) is batch
    assert wrap(TinyNet, config=CoLeaFConfig(mixup=0.5)).mix(batch) is not batch
    assert recipe("paper", "coleaf.mixup=0.3").coleaf.mixup == 0.3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"labels": "refined"}, "labels refined"),
        ({"cooccurrence_form": "official"}, "cooccurrence_form official"),
        ({"reference_loss": "official"}, "reference_loss official"),
        ({"reference_labels": True}, "reference_labels true"),
        ({"pseudo_label_weight": 1.0, "pseudo_label_classes": "weak"}, "pseudo_label_classes weak"),
        ({"segment_label_weight": 1.0, "segment_label_form": "hard"}, "segment_label_form hard"),
    ],
)
def test_what_reads_labels_as_present_or_absent_is_refused_beside_it(change: dict[str, Any], named: str) -> None:
    CoLeaFConfig(**change)
    with pytest.raises(ValueError, match=f"mixup makes soft labels, but {named} reads labels as present or absent"):
        CoLeaFConfig(mixup=0.2, **change)


def trainer(out: Path | None = None, on_existing: Any = "refuse", **settings: Any) -> CoLeaFTrainer:
    torch.manual_seed(0)
    config = CoLeaFConfig(mixup=0.5, segment_label_weight=1.0, label_teacher_ema=0.5)
    model = wrap("han", streams=UNAV_LIKE, num_classes=4, config=config, anchor_options={"width": 8})
    options = {"epochs": 3, "batch_size": 4, "accumulate": 2, "device": "cpu", "monitor": ()} | settings
    return CoLeaFTrainer(model, TrainerConfig(**options), out=out, on_existing=on_existing, quiet=True)


def test_a_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With mixup and a label teacher, in micro-batches of videos of unequal length, from the middle of an epoch."""
    data = RandomVideos("train", [3, 2, 3, 3, 2, 3, 3, 3], pseudo=True)
    trainer(tmp_path / "whole", checkpoint_steps=1).fit(data)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 10)  # in the second of three epochs of two steps of two micro-batches
        with pytest.raises(Interrupted):
            trainer(tmp_path / "run", checkpoint_steps=1).fit(data)
    trainer(tmp_path / "run", on_existing="resume", checkpoint_steps=1).fit(data)
    whole, resumed = (resume_state(tmp_path / name)["model"] for name in ("whole", "run"))
    assert any(name.startswith("label_teacher.") for name in whole)
    assert same_weights(whole, resumed)


def test_micro_batches_of_one_video_are_refused_before_training() -> None:
    with pytest.raises(ValueError, match="a step of 4 videos in 4 parts .* leaves one video a part"):
        trainer(accumulate=4).fit(RandomVideos("train", [3, 2, 3, 3], pseudo=True))


def test_videos_of_which_no_two_are_of_one_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no two videos of .* have the same length, so there are none to mix"):
        trainer().fit(RandomVideos("train", [1, 2, 3, 4, 5], pseudo=True))


def test_where_most_videos_are_of_other_lengths_a_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    trainer(epochs=1, accumulate=1).fit(RandomVideos("train", [3, 3, 4, 5, 6, 7, 8, 9], pseudo=True))
    # 2 of 8 have one other among 7, which is in their batch of 4 with 3 / 7
    assert "some 11 % of the videos of" in caplog.text


def test_the_loop_trains_on_mixtures() -> None:
    data, losses = RandomVideos("train", [3, 3, 3, 3]), []
    for config in (CoLeaFConfig(enabled=False), CoLeaFConfig(enabled=False, mixup=1.0)):
        torch.manual_seed(0)
        model = wrap(
            "han", streams=UNAV_LIKE, num_classes=4, config=config, anchor_options={"width": 8, "dropout": 0.0}
        )
        settings = TrainerConfig(epochs=1, batch_size=4, device="cpu", monitor=())
        losses.append(CoLeaFTrainer(model, settings, quiet=True).fit(data)[0]["losses"]["anchor/video"])
    assert losses[0] != losses[1]
