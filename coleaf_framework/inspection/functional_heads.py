"""Find the tokens of a network whose segment probabilities no submodule makes, but, say, a product with prototypes.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coleaf_framework.adapters import Out, Tap
from coleaf_framework.inspection.probe import Probe
from coleaf_framework.inspection.seen import Seen, all_passes_through, gradients, same
from coleaf_framework.inspection.segment_heads import VISUAL_FIRST, match, which_run

_MOST = 10


@dataclass(frozen=True, eq=False)
class FunctionalHead:
    """The tensors from which each segment's probabilities are computed: one with an axis m, or two.

    Args:
        sources: one, or one for each half, in the order of the halves.
        flipped: whether the first half is the second on axis m; for one source.
    """

    sources: tuple[Seen, ...]
    flipped: bool = False

    def tokens(self) -> list[Tensor]:
        """The tokens of the two halves, (B,T,D) each."""
        if len(self.sources) == 1:
            return self.of_halves(self.sources[0].tensor)
        return self.token_tensors()

    def token_tensors(self) -> list[Tensor]:
        """The tensors that hold the tokens: one, or one for each half."""
        return [s.tensor for s in self.sources]

    def of_halves(self, x: Tensor) -> list[Tensor]:
        """The parts of a tensor (B,T,M,D) that belong to the two halves."""
        return [*x.flip(2).unbind(2)] if self.flipped else [*x.unbind(2)]

    def name(self) -> str:
        """Where they are, for messages."""
        return " and ".join(
            dict.fromkeys(
                f"the {s.place.at} of {s.place.submodule}" if s.place.submodule else s.place.path for s in self.sources
            )
        )

    def declaration(self, probe: Probe, audio: int) -> Any:
        """How they are read, where half `audio` is the audio's."""
        if len(self.sources) == 1:
            visual_first = audio == (0 if self.flipped else 1)
            place = self.sources[0].place
            order = {"order": VISUAL_FIRST} if visual_first else {}
            if place.submodule is None:
                path = int(place.path) if place.path.isdigit() else place.path
                return Out(path, **order) if order else path  # type: ignore[arg-type]
            return Tap(place.submodule, at=place.at, call=which_run(probe, place.submodule, place.run), **order)  # type: ignore[arg-type]
        first, second = self.sources[audio].place, self.sources[1 - audio].place
        if first.submodule is None or second.submodule is None:
            return tuple(int(p.path) if p.path.isdigit() else p.path for p in (first, second))
        if first.submodule != second.submodule or first.at != second.at:
            return tuple(
                Tap(str(p.submodule), at=p.at, call=which_run(probe, str(p.submodule), p.run)) for p in (first, second)
            )
        if first.run != second.run:
            return Tap(first.submodule, at=first.at, call={"audio": first.run, "visual": second.run})
        call = which_run(probe, first.submodule, first.run)
        count = len(probe.base.runs[first.submodule, first.run, first.at])
        if count == 2:
            order = {} if (first.path, second.path) == ("0", "1") else {"order": VISUAL_FIRST}
            return Tap(first.submodule, at=first.at, call=call, **order)  # type: ignore[arg-type]
        return Tap(first.submodule, at=first.at, call=call, part=(int(first.path), int(second.path)))


def find_functional_head(probe: Probe, halves: Sequence[Tensor]) -> FunctionalHead | None:
    """The last tensors that each segment of the two halves (B,T,C) is a function of; None where there are none.

    They are all that the probabilities depend on: the gradient to the streams through them is the whole gradient.
    """
    if not all(half.requires_grad for half in halves):
        return None
    usable = [s for s in probe.seen if s.has_gradient and not any(_is_half(s, half) for half in halves)]
    class_wise = _class_wise_widths(usable, halves)
    usable = [s for s in usable if s.tensor.ndim and s.tensor.shape[-1] not in class_wise]
    found: list[list[Tensor]] = []
    for half in halves:
        weights = torch.zeros_like(half)
        weights[0, 3] = torch.randn_like(weights[0, 3])
        found.append(gradients(half, [s.tensor for s in usable], weights))
    heads: list[FunctionalHead] = []
    alone: tuple[list[Seen], list[Seen]] = ([], [])
    for seen, first, second in zip(usable, *found, strict=True):
        if seen.layout("b t m d", 0) == "b t m d":
            for k in (0, 1):
                if _only(first, (0, 3, k)) and _only(second, (0, 3, 1 - k)):
                    heads.append(FunctionalHead((seen,), flipped=k == 1))
        elif seen.layout("b t d", 0) == "b t d":
            if _only(first, (0, 3)) and not second.any():
                alone[0].append(seen)
            if _only(second, (0, 3)) and not first.any():
                alone[1].append(seen)
    heads += [FunctionalHead(pair) for pair in _pairs(probe, *alone)]
    heads = [head for head in heads if _reads_all_channels(halves, head) and _separates(probe, halves, head)]
    below = [_upstream(probe, head) for head in heads]
    if not heads or max(below) == 0:
        return None
    # An output that the network returns as its tokens is preferred to a projection of it for the product.
    whole = sum(p.numel() for p in probe.network.parameters())
    ranks = [
        (n + (whole if head.sources[0].place.submodule is None and 2 * n >= max(below) else 0), -k)
        for k, (head, n) in enumerate(zip(heads, below, strict=True))
    ]
    head = heads[ranks.index(max(ranks))]
    return None if _reads_other_tokens(probe, halves, head) else head


def _class_wise_widths(usable: Sequence[Seen], halves: Sequence[Tensor]) -> set[int]:
    """Widths of tensors that hold a vector for each class, as one axis; such are no tokens of the protocol."""
    classes = halves[0].shape[-1]
    reached = (g.any() for g in gradients(halves[0], [s.tensor for s in usable]))
    wide = [s for s, used in zip(usable, reached, strict=True) if used and s.tensor.ndim > 3]
    return {classes * s.tensor.shape[-1] for s in wide if s.tensor.shape[-2] == classes and s.tensor.shape[-1] > 1}


def _is_half(seen: Seen, half: Tensor) -> bool:
    """Whether a tensor holds the probabilities of a half, or what rises with them element by element."""
    x = seen.tensor
    parts = x.unbind(2) if x.ndim == 4 and x.shape[2] == 2 else (x,)
    return any(part.shape == half.shape and match(part, half) > 0 for part in parts)


def _reads_all_channels(halves: Sequence[Tensor], head: FunctionalHead) -> bool:
    """Whether one class depends on most channels of a candidate for the tokens; of per-class logits it does not."""
    half, sources = halves[0], head.token_tensors()
    weights = torch.zeros_like(half)
    weights[..., 0] = torch.randn_like(weights[..., 0])
    found = gradients(half, sources, weights)
    (gradient,) = [g for g in found if g.any()][:1] or [found[0]]
    used = (gradient.flatten(0, -2) != 0).any(0)
    return bool(used.float().mean() > 0.75)


def _only(gradient: Tensor, index: tuple[int, ...]) -> bool:
    if not gradient[index].any():
        return False
    elsewhere = gradient.clone()
    elsewhere[index] = 0
    return not elsewhere.any()


def _pairs(probe: Probe, first: list[Seen], second: list[Seen]) -> Iterator[tuple[Seen, Seen]]:
    """Pairs of one shape, at like places: two outputs, two runs of a submodule, or two submodules of one kind."""
    of_both = {s.place.submodule for s in first} & {s.place.submodule for s in second}
    for one, other in itertools.product(first[-_MOST:] + first[:2], second[-_MOST:] + second[:2]):
        paths = one.place.submodule, other.place.submodule
        alike = one.place.at == other.place.at and one.tensor.shape == other.tensor.shape
        if None in paths:
            alike &= paths == (None, None)
        elif paths[0] != paths[1]:
            kinds = {type(probe.network.get_submodule(str(path))) for path in paths}
            alike &= len(kinds) == 1 and not of_both & set(paths)
        if alike:
            yield one, other


def _separates(probe: Probe, halves: Sequence[Tensor], head: FunctionalHead) -> bool:
    """Whether the probabilities depend on the streams through these tokens alone."""
    both = torch.stack([(half * torch.randn_like(half)).sum() for half in halves])
    return all_passes_through(both, head.token_tensors(), list(probe.base.streams.values()))


def _reads_other_tokens(probe: Probe, halves: Sequence[Tensor], head: FunctionalHead) -> bool:
    """Whether a classifier between the tokens and the probabilities reads something else, as in a pyramid."""
    classes, tokens = halves[0].shape[-1], [*head.tokens(), *head.token_tensors()]
    of_classes = [
        s
        for s in probe.seen
        if s.place.submodule is not None and s.place.at == "output" and s.has_gradient
        if s.layout("b t m c", classes) is not None or s.layout("b t c", classes) is not None
    ]
    outputs = [s.tensor for s in of_classes]
    for seen, used in zip(of_classes, gradients(torch.stack([half.sum() for half in halves]), outputs), strict=True):
        above = any(g.any() for x in head.token_tensors() for g in gradients(x, [seen.tensor]))
        inputs = probe.base.runs[str(seen.place.submodule), seen.place.run, "input"]
        if used.any() and not above and not any(same(x, y) for _, x in inputs for y in tokens):
            return True
    return False


def _upstream(probe: Probe, head: FunctionalHead) -> int:
    parameters = list(probe.network.parameters())
    reached = [torch.zeros(()) for _ in parameters]
    for source in head.sources:
        reached = [r + g.abs().sum() for r, g in zip(reached, gradients(source.tensor, parameters), strict=True)]
    return sum(p.numel() for p, r in zip(parameters, reached, strict=True) if r > 0)
