"""Which outputs of a network may be its segment probabilities, by their shapes and values.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coleaf_framework.adapters import Out
from coleaf_framework.inspection.seen import Seen, gradients, same
from coleaf_framework.inspection.segment_heads import VISUAL_FIRST


@dataclass(frozen=True, eq=False)
class Segments:
    """A candidate for the segment probabilities.

    Args:
        sources: one tensor with an axis m, or one for each half.
        layout: of each, in einops notation.
        kind: as of `Out`.
        halves: (B,T,C) each.
    """

    sources: tuple[Seen, ...]
    layout: str
    kind: str
    halves: tuple[Tensor, Tensor]

    @property
    def stacked(self) -> bool:
        """Whether one tensor holds both halves."""
        return len(self.sources) == 1

    def out(self, audio: int) -> Any:
        """The declaration, where half `audio` is the audio's."""
        changes: dict[str, Any] = {} if self.kind == "probs" else {"kind": self.kind}
        if self.stacked:
            return declare(
                self.sources[0], self.layout, "b t m c e" if "e" in self.layout.split() else "b t m c", audio, changes
            )
        if self.layout != "b t c":
            changes["layout"] = self.layout
        first, second = (as_path(s.place.path) for s in (self.sources[audio], self.sources[1 - audio]))
        return Out(first, visual=second, **changes) if changes else (first, second)

    def named(self) -> str:
        """Its paths, for messages."""
        return " and ".join(s.place.path for s in self.sources)

    def equals(self, other: Segments) -> bool:
        """Whether another candidate holds the same probabilities, in either order."""
        pairs = (other.halves, other.halves[::-1])
        return any(all(same(x, y) for x, y in zip(self.halves, pair, strict=True)) for pair in pairs)


def declare(seen: Seen, layout: str, usual: str, audio: int, changes: Mapping[str, Any]) -> Any:
    """The declaration of one tensor with an axis m; a plain path where nothing else needs to be said."""
    changes = dict(changes) | ({} if layout == usual else {"layout": layout})
    if audio == 1:
        changes["order"] = VISUAL_FIRST
    path = as_path(seen.place.path)
    return Out(path, **changes) if changes else path


def as_path(path: str) -> int | str:
    """A path as it is declared: a position where it is one."""
    return int(path) if path.isdigit() else path


def kind_of(seen: Seen) -> str | None:
    """ "probs" or "logits", by the values of all trials; None for what is neither."""
    if seen.low >= 0 and seen.high <= 1 + 1e-4:
        return "probs"
    return "logits" if seen.low < 0 else None


def segment_candidates(returned: Sequence[Seen], num_classes: int) -> list[Segments]:
    """All outputs and pairs that may be segment probabilities, without the tokens that they are made of."""
    found = list(_candidates(returned, num_classes))
    return [c for c in found if not any(_is_made_of_channels(other, c) for other in found if other is not c)]


def _candidates(returned: Sequence[Seen], num_classes: int) -> Iterator[Segments]:
    for seen in returned:
        for layout in seen.layouts("b t m c", num_classes):
            kind = kind_of(seen)
            if kind is None or _sums_to_one(seen, layout, "b t m c"):
                continue
            first, second = seen.arranged(layout, "b t m c").unbind(2)
            yield Segments((seen,), layout, kind, (first, second))
        with_absence = seen.layout("b t m c e", num_classes)
        if with_absence is not None and seen.low >= 0:
            first, second = seen.arranged(with_absence, "b t m c e")[..., 0].unbind(2)
            yield Segments((seen,), with_absence, "dirichlet" if seen.low >= 1 else "evidence", (first, second))
    halves = []
    for seen in returned:
        apart = seen.layout("b t c", num_classes)
        if apart is not None and kind_of(seen) is not None and not _sums_to_one(seen, apart, "b t c"):
            halves.append((seen, apart))
    for (one, own), (other, its) in itertools.combinations(halves, 2):
        if own == its and kind_of(one) == kind_of(other):
            pair = one.arranged(own, "b t c"), other.arranged(own, "b t c")
            yield Segments((one, other), own, str(kind_of(one)), pair)


def _sums_to_one(seen: Seen, layout: str, target: str) -> bool:
    total = seen.arranged(layout, target).detach().float().sum(1)
    return bool((total - 1).abs().max() < 1e-3)


def _is_made_of_channels(made: Segments, of: Segments) -> bool:
    """Whether a class of one candidate depends on several channels of another, which is then made of tokens."""
    if of.kind != "logits":
        return False
    half = made.halves[0]
    weights = torch.zeros_like(half)
    weights[..., 0] = torch.randn_like(weights[..., 0])
    target = "b t m c" if of.stacked else "b t c"
    for source, gradient in zip(of.sources, gradients(half, [s.tensor for s in of.sources], weights), strict=True):
        if (source.arranged(of.layout, target, gradient).flatten(0, -2) != 0).any(0).sum() > 1:
            return True
    return False
