"""A network that works for one T only and says so itself, by its attribute `fixed_segments`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from coleaf_framework import CoLeaF, CoLeaFTrainer, TrainerConfig, check_anchor, training_signal, wrap
from tests.helpers.networks import STREAMS, TinyNet, batch_of
from tests.helpers.videos import RandomVideos


class SixOnly(TinyNet):
    """Neither a multiple nor a divisor of the T at which the dry run tries other networks."""

    fixed_segments: Any = 6

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        if audio.shape[1] != 6:
            raise RuntimeError("6 segments only")
        return super().forward(audio, visual)


class Chosen(SixOnly):
    def __init__(self, segments: int = 6) -> None:
        super().__init__()
        self.fixed_segments = segments


def test_it_is_tried_and_kept_at_its_own_length(tmp_path: Path) -> None:
    model = wrap(SixOnly)
    assert model.segments == 6
    assert model.record.anchor.declaration is None  # the network says it again when it is made again
    model.save(tmp_path)
    assert CoLeaF.load(tmp_path, trust=True).segments == 6
    assert "can be saved and loaded" in check_anchor(SixOnly)
    assert "mix" in str(training_signal(SixOnly()))


def test_a_batch_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the batch has T = 5 segments; SixOnly works for T = 6 only$"):
        wrap(SixOnly).infer(batch_of(segments=5))
    with pytest.raises(ValueError, match=r"Chosen works for T = 6 only \(anchor\.options\.segments\)"):
        wrap(Chosen).infer(batch_of(segments=5))


def test_a_length_that_contradicts_it_is_refused() -> None:
    assert wrap(SixOnly, segments=6).segments == 6
    with pytest.raises(ValueError, match=r"SixOnly works for T = 6 segments only .* was given 7"):
        wrap(SixOnly, segments=7)


@pytest.mark.parametrize("value", [0, 2.5, True, "6"])
def test_what_is_no_length_is_refused(value: object) -> None:
    net = SixOnly()
    net.fixed_segments = value
    with pytest.raises(ValueError, match="SixOnly: fixed_segments must be a whole number of at least 1"):
        wrap(net)
    with pytest.raises(ValueError, match="segments must be a whole number of at least 1"):
        wrap(TinyNet, segments=value)


def test_data_with_a_video_of_another_length_is_refused_before_training() -> None:
    """By the length that the network declares, and by the one that `wrap` was given."""
    splits = [RandomVideos(split, [6, 6, n], STREAMS, classes=3) for split, n in (("train", 6), ("val", 7))]
    for network, arguments, why in ((SixOnly, {}, "works for T = 6 only"), (TinyNet, {"segments": 6}, "segments=6")):
        trainer = CoLeaFTrainer(wrap(network, **arguments), TrainerConfig(epochs=1, device="cpu"), quiet=True)
        weights = {name: x.clone() for name, x in trainer.model.state_dict().items()}
        with pytest.raises(ValueError, match=f"random val: video 'val02' has T = 7 segments; .*{why}"):
            trainer.fit(*splits)
        assert all(torch.equal(x, weights[name]) for name, x in trainer.model.state_dict().items())
