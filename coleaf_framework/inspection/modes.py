"""How a network's outputs differ between training and evaluation, and between two calls in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from coleaf_framework.inspection.probe import Probe
from coleaf_framework.inspection.seen import BASE, same
from coleaf_framework.wrapping.sandbox import sandbox_copy

_RANDOM: tuple[type[nn.Module], ...] = (_DropoutNd, _BatchNorm)


@dataclass(frozen=True)
class ModeDifferences:
    """What differs.

    Args:
        by_path: path of an output -> a sentence, for outputs that cannot be declared once for both modes.
        changing: a sentence, where outputs change between two calls in evaluation; None where none does.
        notes: harmless differences, a sentence each.
    """

    by_path: Mapping[str, str]
    changing: str | None
    notes: list[str]


def differences_between_modes(probe: Probe) -> ModeDifferences:
    """Run the network twice in evaluation, with another batch in between, and in training."""
    streams = probe.base.streams
    probe.record(probe.draw(BASE))
    first, again = dict(probe.base.returned), dict(probe.record(streams, seed=1).returned)
    changing = [path for path, x in first.items() if x.ndim > 1 and (path not in again or not same(again[path], x))]
    trained = _in_training(probe)
    sentence = None
    if changing:
        sentence = (
            f"in evaluation, {', '.join(changing)} change between two calls on the same batch: dropout that is applied "
            "in evaluation too (F.dropout without training=self.training), or state that is kept from call to call"
        )
    by_path, notes = {}, []
    for path in {**first, **trained}:
        x, y = first.get(path), trained.get(path)
        if x is None and y is not None:
            notes.append(f"{path} {tuple(y.shape)} is returned in training alone, not in evaluation")
        elif y is None and x is not None:
            by_path[path] = f"{path} is returned in evaluation alone, not in training"
        elif x is not None and y is not None and (problem := _problem(path, x, y)) is not None:
            by_path[path] = problem
        elif x is not None and y is not None and len(first) != len(trained) and not same(x, y):
            by_path[path] = (
                f"{path} may be something else in training, which returns {len(trained)} outputs, not {len(first)}: "
                "an adapter that looks at net.training can read both"
            )
    return ModeDifferences(by_path, sentence, notes)


class _WithoutDropout(TorchFunctionMode):
    """Lets the functions of dropout return their input."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "dropout" in getattr(func, "__name__", ""):
            return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))


def _in_training(probe: Probe) -> dict[str, Tensor]:
    """The outputs in training mode, but for layers of dropout and normalisation, which would change all values."""
    own = probe.network
    with sandbox_copy(own) as copied:
        try:
            probe.network = copied
            quiet = [m for m in copied.modules() if isinstance(m, _RANDOM)]
            for module in copied.modules():
                if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
                    module.dropout = 0.0
            with _WithoutDropout():
                return dict(probe.record(probe.base.streams, training=True, evaluating=quiet).returned)
        finally:
            probe.network = own


def _problem(path: str, evaluated: Tensor, trained: Tensor) -> str | None:
    if evaluated.shape != trained.shape:
        return (
            f"{path} has shape {tuple(trained.shape)} in training and {tuple(evaluated.shape)} in evaluation: "
            "an adapter that looks at net.training can read both"
        )
    evaluated, trained = evaluated.detach(), trained.detach()
    if not evaluated.is_floating_point() or not evaluated.numel():
        return None
    bounded = [float(x.min()) >= 0 and float(x.max()) <= 1 + 1e-4 for x in (trained, evaluated)]
    if bounded[0] == bounded[1]:
        return None
    kinds = ["probabilities" if b else "logits" for b in bounded]
    return (
        f"{path} seems to be {kinds[0]} in training and {kinds[1]} in evaluation: "
        "an adapter that looks at net.training can make probabilities of both"
    )
