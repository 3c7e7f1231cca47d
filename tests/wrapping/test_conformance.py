"""check_anchor: good Anchors pass, and each promise that is broken is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coleaf_framework import AnchorOutput, check_anchor
from tests.helpers import published_style as nets
from tests.helpers.networks import NUM_CLASSES, STREAMS, TinyNet
from tests.helpers.published_style import DECLARED

SMALL = {"width": 8}


@pytest.mark.parametrize("name", ["han", "cmpae"])
def test_the_plugins_conform(name: str, data_root: Path) -> None:
    options = SMALL | ({"noise_ratios": {"audio": 0.0, "visual": 0.0}} if name == "cmpae" else {})
    from coleaf_framework.data import open_folder

    data = open_folder(data_root, "train")
    checked = check_anchor(name, streams=data.streams, num_classes=len(data.classes), anchor_options=options)
    assert "is returned without leftover hooks" in checked


def test_declared_networks_conform() -> None:
    assert check_anchor(TinyNet)
    for kind in (nets.PositionalTuple, nets.TenSegments, nets.HalfDead):
        net = kind()
        before = {name: x.clone() for name, x in net.state_dict().items()}
        assert check_anchor(net, streams=STREAMS, num_classes=NUM_CLASSES, **DECLARED[kind])
        assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())


class Leaks(TinyNet):
    """Where no gradient shows it to the dry run."""

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return super().forward(audio + audio[:1].detach(), visual)


class Stuck(TinyNet):
    """Its loss ends before the last epoch."""

    def loss(self, output: AnchorOutput, batch: Any, progress: Any) -> dict[str, Tensor]:
        return {"early": (progress.epoch < 1000) * output.video_probs.sum()}


class Explodes(TinyNet):
    def loss(self, output: AnchorOutput, batch: Any, progress: Any) -> dict[str, Tensor]:
        return {"mine": output.video_probs.sum() / (batch.labels.sum() - batch.labels.sum() * (len(batch.labels) == 4))}


class Uncopied(TinyNet):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("not me")


class Hooks(TinyNet):
    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        self.mix.register_forward_hook(lambda *_: None)
        return super().forward(audio, visual)


class Forgets(TinyNet):
    """Saves zeros instead of one of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(()))

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        return super().forward(audio + self.shift, visual)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "shift"] = torch.zeros(())


class Dearer(TinyNet):
    """Does more where it is told of a mask, as it is inside CoLeaF only."""

    runs = 0

    def forward(self, audio: Tensor, visual: Tensor) -> Any:
        Dearer.runs += 1
        if Dearer.runs % 2:
            self.mix(torch.randn(50, 8))
        return super().forward(audio, visual)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Leaks, "differs with the order of the videos in a batch: one leaks into another"),
        (Explodes, "a loss term is not finite"),
        (Uncopied, "cannot be copied by copy.deepcopy: RuntimeError: not me"),
        (Hooks, "inference leaves hooks behind"),
        (Forgets, "differs after saving and loading"),
        (Dearer, "FLOPs in CoLeaF"),
    ],
)
def test_a_broken_promise_is_named(network: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_anchor(network)


def test_parameters_that_never_move_are_named() -> None:
    from coleaf_framework import CoLeaFConfig

    with pytest.raises(AssertionError, match="training does not change these parameters: audio_in.weight"):
        check_anchor(Stuck, config=CoLeaFConfig(enabled=False))
