"""A tensor that was seen in or at a network, and what its axes are. Shape letters: see `protocol.py`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coleaf_framework.adapters.outputs import arrange

BASE = (3, 10)
"""B and T of the batch on which tensors are seen."""
Tensors = list[tuple[str, Tensor]]
At = Literal["input", "output"]


@dataclass(frozen=True)
class Place:
    """Where a tensor was seen.

    Args:
        path: in the network's outputs, or in the submodule's inputs or outputs.
        submodule: its path; None for the network's outputs.
        run: which run of the submodule.
        at: "input" or "output" of the submodule.
    """

    path: str
    submodule: str | None = None
    run: int = 0
    at: At = "output"


@dataclass(frozen=True, eq=False)
class Seen:
    """A tensor at a place, with the part that each of its axes has.

    Args:
        place: where it was seen.
        tensor: its values at B = 3, T = 10, in evaluation mode, with their graph.
        axes: for each axis "b", "t", "(b t)", "(b m)", "(b t m)" or with b last, as it grows with B and T; "" for a
            fixed length; "t?" for a length of 10 in a network that runs for 10 segments alone.
        low: the least value that was seen in any trial.
        high: the greatest.
    """

    place: Place
    tensor: Tensor
    axes: tuple[str, ...]
    low: float
    high: float

    @property
    def has_gradient(self) -> bool:
        """Whether it requires a gradient."""
        return self.tensor.requires_grad

    def layout(self, target: str, num_classes: int) -> str | None:
        """Its axes in einops notation, if it can be read as `target` ("b t m c"); None if it cannot."""
        return next(iter(self.layouts(target, num_classes)), None)

    def layouts(self, target: str, num_classes: int) -> list[str]:
        """All ways to read it as `target`: several where C is 2."""
        wanted = target.split()
        letters: list[str | None] = [None if axis in ("", "t?") else axis for axis in self.axes]
        given = " ".join(axis for axis in letters if axis).replace("(", "").replace(")", "").split()
        if not set(given) <= set(wanted) or len(set(given)) < len(given):
            return []
        rest = [letter for letter in wanted if letter not in given]
        free = [k for k, letter in enumerate(letters) if letter is None]
        if len(rest) != len(free):
            return []
        found, sizes = [], {"m": 2, "e": 2, "c": num_classes}
        for order in itertools.permutations(rest):
            if all(self._can_be(k, letter, sizes.get(letter)) for k, letter in zip(free, order, strict=True)):
                for k, letter in zip(free, order, strict=True):
                    letters[k] = letter
                found.append(" ".join(str(letter) for letter in letters))
        return found

    def _can_be(self, axis: int, letter: str, size: int | None) -> bool:
        if letter in ("b", "t"):
            return letter == "t" and self.axes[axis] == "t?"
        if self.axes[axis] == "t?" and letter == "d":
            return False
        return size in (None, self.tensor.shape[axis])

    def arranged(self, layout: str, target: str, x: Tensor | None = None) -> Tensor:
        """The tensor, or `x` of its shape, brought from its layout to `target`."""
        return arrange(self.tensor if x is None else x, layout, target, None, str(self.place), *BASE)

    def axes_text(self, num_classes: int | None) -> str:
        """Its axes for people: "b t m c"."""
        for target in ("b t m c e", "b t m c", "b m t c", "b t c", "b m c", "b c", "b t m d", "b t d"):
            layout = self.layout(target, num_classes or 0)
            if layout is not None and not (layout.endswith("d") and "t" not in target):
                return layout
        return " ".join(
            axis.rstrip("?") or ("m" if size == 2 else "d")
            for axis, size in zip(self.axes, self.tensor.shape, strict=True)
        )


def same(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors have the same shape and, but for rounding, the same values."""
    return x.shape == y.shape and torch.allclose(x.detach().float(), y.detach().float(), rtol=1e-4, atol=1e-6)


def gradients(x: Tensor, of: Sequence[Tensor], weights: Tensor | None = None) -> list[Tensor]:
    """Gradients of a sum over `x`, weighted by `weights` of its shape, zero where `x` does not depend on a tensor."""
    if not x.requires_grad:
        return [torch.zeros_like(y) for y in of]
    scalar = (x * (torch.randn_like(x) if weights is None else weights)).sum()
    usable = [y for y in of if y.requires_grad]
    if not usable:
        return [torch.zeros_like(y) for y in of]
    found = iter(torch.autograd.grad(scalar, usable, retain_graph=True, allow_unused=True))
    grads = [next(found) if y.requires_grad else None for y in of]
    return [torch.zeros_like(y) if g is None else g for y, g in zip(of, grads, strict=True)]


def all_passes_through(x: Tensor, tensors: Sequence[Tensor], streams: Sequence[Tensor]) -> bool:
    """Whether the gradient of a sum over `x` to the streams is the one that passes through these tensors."""
    ones = torch.ones_like(x)
    through = [torch.zeros_like(stream) for stream in streams]
    for tensor, gradient in zip(tensors, gradients(x, tensors, ones), strict=True):
        through = [a + b for a, b in zip(through, gradients(tensor, streams, gradient), strict=True)]
    whole = gradients(x, streams, ones)
    return all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-6 + 1e-3 * float(a.abs().max()))
        for a, b in zip(whole, through, strict=True)
    )
