"""`check_anchor`: a conformance test of Anchors, for plugin authors to run in their own tests."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from coleaf_framework.adapters import call_anchor
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import MODALITIES, AnchorOutput, Batch, Progress
from coleaf_framework.wrapping.checks import FIELDS
from coleaf_framework.wrapping.sandbox import synthetic
from coleaf_framework.wrapping.wrapper import wrap

_VIDEOS, _SEGMENTS = 4, 10


def check_anchor(network: nn.Module | type[nn.Module] | str, **arguments: Any) -> list[str]:
    """Check that a network meets all requirements of an Anchor; for a plugin's tests.

    Args:
        network: as for `wrap`. An instance is copied first, so it is not changed.
        arguments: as for `wrap`.

    Returns:
        One line per check that passed.

    Raises:
        ValueError, TypeError: the dry run fails, as in `wrap`.
        AssertionError: another requirement is not met; says which.

    Example:
        >>> from coleaf_framework import StreamSpec
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.audio, self.visual, self.fc = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        ...
        ...     def forward(self, audio, visual):
        ...         a, v = self.audio(audio), self.visual(visual)
        ...         tokens = torch.stack([a + 0.1 * v, v + 0.1 * a], dim=2)
        ...         segment_probs = self.fc(tokens).sigmoid()
        ...         return AnchorOutput(segment_probs, segment_probs.mean((1, 2)), tokens)
        >>> streams = {"audio": StreamSpec(6, "audio"), "visual": StreamSpec(8, "visual")}
        >>> check_anchor(Net(), streams=streams, num_classes=3)[-1]
        'is returned without leftover hooks'
    """
    model = wrap(copy.deepcopy(network) if isinstance(network, nn.Module) else network, **arguments)
    torch.manual_seed(0)
    streams = synthetic(model.anchor, model.streams, _VIDEOS, model.segments or _SEGMENTS)
    labels = (torch.rand(_VIDEOS, model.num_classes) < 0.5).float().to(next(iter(streams.values())).device)
    given = {name: x.detach() for name, x in streams.items()}
    pseudo = torch.rand(_VIDEOS, model.segments or _SEGMENTS, len(MODALITIES), model.num_classes, device=labels.device)
    batch = Batch(given, labels, pseudo_labels=pseudo)
    checked = ["conforms to the protocol (dry run)"]
    checks: list[Callable[[CoLeaF, Batch], str]] = [
        _is_deterministic,
        _keeps_videos_apart,
        _adds_no_flops,
        _can_be_copied,
        _can_be_saved,
        _trains_all_parameters,
        _leaves_no_hooks,
    ]
    for check in checks:
        checked.append(check(model, batch))
    return checked


def _infer(model: CoLeaF, batch: Batch) -> AnchorOutput:
    with torch.no_grad():
        return model.eval().infer(batch)


def _require_equal(model: CoLeaF, actual: AnchorOutput, expected: AnchorOutput, when: str) -> None:
    for field in FIELDS:
        x, y = getattr(actual, field), getattr(expected, field)
        assert torch.allclose(x, y, rtol=1e-4, atol=1e-5), f"{type(model.anchor).__name__}: {field} differs {when}"


def _is_deterministic(model: CoLeaF, batch: Batch) -> str:
    _require_equal(model, _infer(model, batch), _infer(model, batch), "between two runs in evaluation mode")
    return "gives the same output twice in evaluation mode"


def _keeps_videos_apart(model: CoLeaF, batch: Batch) -> str:
    def flip(x: Tensor) -> Tensor:
        return x.flip(0)

    flipped = Batch({name: flip(x) for name, x in batch.streams.items()}, flip(batch.labels))
    output, expected = _infer(model, flipped), _infer(model, batch)
    back = AnchorOutput(**{field: flip(getattr(output, field)) for field in FIELDS})
    _require_equal(model, back, expected, "with the order of the videos in a batch: one leaks into another")
    return "does not mix the videos of a batch"


def _adds_no_flops(model: CoLeaF, batch: Batch) -> str:
    streams = model.standardizer(batch.streams) if model.standardizer is not None else batch.streams
    with torch.no_grad():
        with FlopCounterMode(display=False) as inside:
            model.eval().infer(batch)
        with FlopCounterMode(display=False) as alone:
            call_anchor(model.anchor, model.adapter, streams, None)
    costs = inside.get_total_flops(), alone.get_total_flops()
    name = type(model.anchor).__name__
    assert costs[0] == costs[1], f"{name}: inference takes {costs[0]} FLOPs in CoLeaF, {costs[1]} alone"
    return f"inference takes the same FLOPs in CoLeaF as alone ({costs[0] / _VIDEOS:,.0f} per video)"


def _can_be_copied(model: CoLeaF, batch: Batch) -> str:
    try:
        duplicate = copy.deepcopy(model)
    except Exception as problem:
        name = type(model.anchor).__name__
        raise AssertionError(
            f"{name} cannot be copied by copy.deepcopy: {type(problem).__name__}: {problem}"
        ) from problem
    _require_equal(model, _infer(duplicate, batch), _infer(model, batch), "after copy.deepcopy")
    return "can be copied"


def _can_be_saved(model: CoLeaF, batch: Batch) -> str:
    expected = _infer(model, batch)
    blank = copy.deepcopy(model.anchor)
    with torch.no_grad():
        for x in blank.parameters():
            x.zero_()
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        loaded = CoLeaF.load(folder, anchor=blank, adapter=model.adapter).to(batch.labels.device)
    _require_equal(model, _infer(loaded, batch), expected, "after saving and loading")
    return "can be saved and loaded"


def _trains_all_parameters(model: CoLeaF, batch: Batch) -> str:
    before = {name: x.detach().clone() for name, x in model.anchor.named_parameters() if x.requires_grad}
    optimizer = torch.optim.Adam([x for x in model.parameters() if x.requires_grad], lr=1e-3)
    model.train()
    for step in range(2):  # a custom loss may change from step to step; in epoch 1000 every term is on
        progress = Progress(1000, step)
        shared = model.shared_pass(batch, progress)
        for which in model.updates(progress):
            optimizer.zero_grad()
            output = model.update(batch, progress, which, shared)
            total = output.total()
            assert torch.isfinite(total), f"{type(model.anchor).__name__}: a loss term is not finite: {output.losses}"
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    after = dict(model.anchor.named_parameters())
    unchanged = [name for name, x in before.items() if torch.equal(x, after[name])]
    name = type(model.anchor).__name__
    assert not unchanged, f"{name}: training does not change these parameters: {', '.join(unchanged)}"
    return f"two training steps change all of its {len(before)} parameters"


def _leaves_no_hooks(model: CoLeaF, batch: Batch) -> str:
    def hooks(network: nn.Module) -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())

    before = hooks(model.anchor)
    _infer(model, batch)
    assert hooks(model.strip()) == before, f"{type(model.anchor).__name__}: inference leaves hooks behind"
    return "is returned without leftover hooks"
