"""A network's outputs of one row per video, and how they respond when the segments' logits are raised.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coleaf_framework.inspection.functional_heads import FunctionalHead
from coleaf_framework.inspection.names import Role, modality_of, names_a_probability, role_of
from coleaf_framework.inspection.probe import Probe
from coleaf_framework.inspection.seen import Seen, gradients, same
from coleaf_framework.inspection.segment_candidates import kind_of
from coleaf_framework.inspection.segment_heads import Classifier, shifted_outputs
from coleaf_framework.protocol import Modality

Response = Literal["rises", "moves", "stays"]
_FLIPPED = -1
_LEAST = 1e-4  # change of an output that counts


@dataclass(frozen=True, eq=False)
class FlatOutput:
    """An output (B,C), or one half of an output (B,M,C).

    Args:
        seen: the output.
        layout: its axes.
        index: which half on axis m; None for an output (B,C).
        values: (B,C).
        responses: to the logits of the first and of the second half of the segment probabilities.
        reads: whether it depends on the tokens of the first and of the second half; neither where that is not known.
        name: its name in the network's code, or its path where it has none.
    """

    seen: Seen
    layout: str
    index: int | None
    values: Tensor
    responses: tuple[Response, Response]
    reads: tuple[bool, bool]
    name: str

    @property
    def path(self) -> str:
        """Its path in the outputs."""
        return self.seen.place.path

    @property
    def kind(self) -> str | None:
        """ "probs" or "logits"; None for what is neither."""
        return kind_of(self.seen)

    @property
    def role(self) -> Role | None:
        """The role that its name suggests."""
        return role_of(self.name)

    @property
    def names_itself(self) -> bool:
        """Whether its name says that it is a probability, and of what."""
        return names_a_probability(self.name)

    @property
    def modality(self) -> Modality | None:
        """The modality that its name names."""
        return None if self.role in ("video", "segment") and "av" in self.name else modality_of(self.name)

    def of_half(self, half: int) -> bool:
        """Whether it rises with one half's logits alone."""
        return self.responses[half] == "rises" and self.responses[1 - half] == "stays"

    def of_both(self) -> bool:
        """Whether it rises with both halves' logits."""
        return self.responses == ("rises", "rises")

    def reads_half(self, half: int) -> bool:
        """Whether it has a head of its own that reads one half's tokens alone."""
        return self.apart() and self.reads == (half == 0, half == 1)

    def of_one_half(self) -> bool:
        """Whether it is made of one half's segments or tokens alone."""
        return any(self.of_half(half) or self.reads_half(half) for half in (0, 1))

    def apart(self) -> bool:
        """Whether it has a head of its own."""
        return self.responses == ("stays", "stays")


def flat_outputs(
    probe: Probe,
    returned: Sequence[Seen],
    names: Mapping[str, str],
    num_classes: int,
    sources: Sequence[tuple[Seen, str]],
    head: Classifier | FunctionalHead | None,
) -> list[FlatOutput]:
    """The outputs of one row per video, with how they respond to the segments' logits.

    Args:
        probe: has run the network.
        returned: its outputs.
        names: path -> what its code calls it.
        num_classes: number of classes, C.
        sources: the outputs that segment probabilities are read from, with layouts.
        head: what makes them; None where that was not found.
    """
    shifted = shifted_outputs(probe, head) if isinstance(head, Classifier) else None
    places = _token_places(probe, head.tokens()) if head is not None else []
    found = []
    for seen in returned:
        for target, indices in (("b c", (None,)), ("b m c", (0, 1))):
            for layout, index in itertools.product(seen.layouts(target, num_classes), indices):
                values = seen.arranged(layout, target)
                values = values if index is None else values[:, index]
                if shifted is not None:
                    moved = [_shifted_values(seen, layout, target, index, s[seen.place.path]) for s in shifted]
                    responses = tuple(_response(v) for v in moved)
                else:
                    responses = tuple(_gradient_response(values, sources, half) for half in (0, 1))
                name = names.get(seen.place.path, seen.place.path)
                reads = _reads(values, places)
                found.append(FlatOutput(seen, layout, index, values, responses, reads, name))  # type: ignore[arg-type]
    return found


def _token_places(probe: Probe, halves: Sequence[Tensor]) -> list[tuple[Seen, int | None]]:
    """Every tensor that holds the tokens of a half, or of both on an axis m; with the half, None for both."""
    found: list[tuple[Seen, int | None]] = []
    for seen in probe.seen:
        if not seen.has_gradient:
            continue
        if tuple(seen.tensor.shape) == tuple(halves[0].shape):
            found += [(seen, k) for k, half in enumerate(halves) if same(seen.tensor, half)]
        elif seen.layout("b t m d", 0) == "b t m d" and same(seen.tensor, torch.stack(list(halves), dim=2)):
            found.append((seen, None))
        elif seen.layout("b t m d", 0) == "b t m d" and same(seen.tensor, torch.stack([*halves[::-1]], dim=2)):
            found.append((seen, _FLIPPED))
    return found


def _reads(values: Tensor, places: Sequence[tuple[Seen, int | None]]) -> tuple[bool, bool]:
    """Whether an output depends on the tokens of either half, by its gradients to them."""
    reads = [False, False]
    for (_, half), gradient in zip(places, gradients(values, [seen.tensor for seen, _ in places]), strict=True):
        if half in (0, 1):
            reads[half] |= bool(gradient.any())
        else:
            parts = gradient.flip(2).unbind(2) if half == _FLIPPED else gradient.unbind(2)
            reads = [read or bool(part.any()) for read, part in zip(reads, parts, strict=True)]
    return reads[0], reads[1]


def _shifted_values(seen: Seen, layout: str, target: str, index: int | None, values: Tensor) -> Tensor:
    """(shifts, B, C) of one output, or of its half."""
    laid = torch.stack([seen.arranged(layout, target, x) for x in values])
    return laid if index is None else laid[:, :, index]


def _response(values: Tensor) -> Response:
    """How values (shifts, B, C) respond as the logits of class 0 of video 0 rise."""
    steps = values.diff(dim=0)
    if float(steps.abs().max()) < _LEAST:
        return "stays"
    own = steps[:, 0, 0]
    largest = float((values[-1] - values[0]).abs().max())
    rises = bool((own >= -1e-5).all()) and float(own.sum()) > _LEAST and float(own.sum()) >= largest - 1e-5
    return "rises" if rises else "moves"


def _gradient_response(values: Tensor, sources: Sequence[tuple[Seen, str]], half: int) -> Response:
    """How an output (B,C) responds as the probabilities of one half rise, by its gradients to them."""
    tensors = [seen.tensor for seen, _ in sources]
    found: set[Response] = set()
    for video in range(len(values)):
        for c in range(min(values.shape[1], 4)):
            weights = torch.zeros_like(values)
            weights[video, c] = 1
            if len(sources) == 1:
                (seen, layout), (gradient,) = sources[0], gradients(values, tensors, weights)
                of_half = seen.arranged(layout, "b t m c", gradient)[:, :, half]
            else:
                seen, layout = sources[half]
                of_half = seen.arranged(layout, "b t c", gradients(values, tensors, weights)[half])
            if not of_half.any():
                found.add("stays")
            else:
                found.add("rises" if bool((of_half >= -1e-7).all()) else "moves")
    return found.pop() if len(found) == 1 else "moves"
