"""Tell the modality and the video probabilities among a network's outputs of one row per video.

A probability rises when the logits of its class rise: one modality's with that modality's logits alone, the video's
with both. An uncertainty does not rise everywhere. What does not move with the segments' logits has a head of its own,
and then only names tell.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coleaf_framework.protocol import MODALITIES, Modality
from coleaf_framework.wrapping.functional_heads import FunctionalHead
from coleaf_framework.wrapping.modality_order import ModalityOrder, Order
from coleaf_framework.wrapping.names import Role, modality_of, role_of
from coleaf_framework.wrapping.probe import Probe, Seen, gradients, same
from coleaf_framework.wrapping.segment_heads import Classifier, shifted_outputs

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
        name: what the network's code calls it; its path where it calls it nothing.
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
        """What its name says that it is."""
        return role_of(self.name)

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


def kind_of(seen: Seen) -> str | None:
    """ "probs" or "logits", by the values of all trials; None for what is neither."""
    if seen.low >= 0 and seen.high <= 1 + 1e-4:
        return "probs"
    return "logits" if seen.low < 0 else None


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
    """What (shifts, B, C) do as the logits of class 0 of video 0 rise."""
    steps = values.diff(dim=0)
    if float(steps.abs().max()) < _LEAST:
        return "stays"
    own = steps[:, 0, 0]
    largest = float((values[-1] - values[0]).abs().max())
    rises = bool((own >= -1e-5).all()) and float(own.sum()) > _LEAST and float(own.sum()) >= largest - 1e-5
    return "rises" if rises else "moves"


def _gradient_response(values: Tensor, sources: Sequence[tuple[Seen, str]], half: int) -> Response:
    """What an output (B,C) does as the probabilities of one half rise, by its gradients to them."""
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


@dataclass(frozen=True)
class Verdict:
    """What is proposed for a field.

    Args:
        chosen: one output, or the audio's and the visual's; empty where it is to be derived; None where it is open.
        why: the evidence, or what would tell.
    """

    chosen: tuple[FlatOutput, ...] | None
    why: str


def choose_modality(flat: Sequence[FlatOutput], order: Order, orders: ModalityOrder) -> Verdict:
    """Which outputs are the modality probabilities.

    Args:
        flat: all of one row per video.
        order: which half of the segment probabilities is the audio's.
        orders: tells modalities apart.
    """
    usable = [x for x in flat if x.kind is not None]
    of_halves = [_distinct([x for x in usable if x.of_half(half)]) for half in (0, 1)]
    of_halves = [_roots(_unless_doubtful(found)) for found in of_halves]
    if of_halves[0] and of_halves[1]:
        if max(map(len, of_halves)) > 1:
            return _open([x for found in of_halves for x in found], "pooled from one modality's segments")
        if order.audio is None:
            return Verdict(None, f"{_paths(of_halves[0] + of_halves[1])}: which is the audio's is not known")
        pair = of_halves[order.audio][0], of_halves[1 - order.audio][0]
        why = f"{pair[0].path} rises with the audio's segment logits alone, {pair[1].path} with the visual's"
        named = [x.modality for x in pair]
        if pair[0].path != pair[1].path and named == ["visual", "audio"]:
            why += f" (their names, {pair[0].name} and {pair[1].name}, say the opposite)"
        return Verdict(pair, why)
    if of_halves[0] or of_halves[1]:
        return Verdict(None, f"{_paths(of_halves[0] + of_halves[1])} is one modality's; the other's was not found")
    return _modality_heads([x for x in usable if x.apart()], flat, order, orders)


def _modality_heads(
    apart: Sequence[FlatOutput], flat: Sequence[FlatOutput], order: Order, orders: ModalityOrder
) -> Verdict:
    """Modality probabilities among outputs with heads of their own."""
    plain = _roots(_distinct([x for x in apart if x.role not in ("uncertainty", "other")]))
    of_halves = [[x for x in plain if x.reads_half(half)] for half in (0, 1)]
    if of_halves[0] and of_halves[1]:
        if max(map(len, of_halves)) > 1:
            return _open(
                [x for found in of_halves for x in found], "read one modality's tokens, with heads of their own"
            )
        if order.audio is None:
            return Verdict(None, f"{_paths(of_halves[0] + of_halves[1])}: which is the audio's is not known")
        pair = of_halves[order.audio][0], of_halves[1 - order.audio][0]
        return Verdict(pair, f"{pair[0].path} reads the audio's tokens alone, {pair[1].path} the visual's")
    stacked = [x for x in plain if x.index is not None]
    if stacked:
        paths = list(dict.fromkeys(x.path for x in stacked))
        halves = [x for x in stacked if x.path == paths[0]]
        if len(paths) > 1 or len(halves) != 2:
            return _open(stacked, "of one shape, with heads of their own")
        own = orders.order([x.values for x in halves], [_moved(x, orders) for x in halves])
        if own.audio is None:
            return Verdict(None, f"{paths[0]}: which half is the audio's is not known: {own.why}")
        return Verdict((halves[own.audio], halves[1 - own.audio]), f"{paths[0]}: {own.why}")
    trusted = order.overruled is None
    named = {m: [x for x in plain if x.modality == m and trusted] for m in MODALITIES}
    if len(named["audio"]) == 1 and len(named["visual"]) == 1:
        pair = named["audio"][0], named["visual"][0]
        if all(_moved(x, orders)[m] for x, m in zip(pair, MODALITIES, strict=True)):
            return Verdict(pair, f"their names, {pair[0].name} and {pair[1].name}")
        return Verdict(
            None, f"{_paths(pair)}: their names, {pair[0].name} and {pair[1].name}, contradict their streams"
        )
    alone = {m: [x for x in plain if _moved(x, orders) == {n: n == m for n in MODALITIES}] for m in MODALITIES}
    if len(alone["audio"]) == 1 and len(alone["visual"]) == 1:
        pair = alone["audio"][0], alone["visual"][0]
        return Verdict(pair, f"{pair[0].path} depends on audio alone, {pair[1].path} on visual alone")
    rest = [x for x in plain if x.role != "video"]
    if len(rest) > 1 or any(alone.values()):
        return _open(rest, "with heads of their own")
    evidence = [x for x in flat if x.kind is None and "rises" in x.responses]
    if evidence:
        return Verdict(None, f"{_paths(evidence)} rise with the segments' logits, but are no probabilities: evidence?")
    return Verdict((), "the network returns none")


def choose_video(flat: Sequence[FlatOutput], modality: Verdict, orders: ModalityOrder) -> Verdict:
    """Which output is the video probability.

    Args:
        flat: all of one row per video.
        modality: what was chosen for the modality probabilities.
        orders: tells modalities apart.
    """
    usable = [x for x in flat if x.kind is not None and x.index is None]
    pooled = _roots(_unless_doubtful(_distinct([x for x in usable if x.of_both()])))
    apart = _distinct([x for x in usable if x.apart() and x.reads == (True, True)])
    if len(pooled) > 1:
        named = [x for x in pooled if x.role == "video"]
        if len(named) != 1:
            return _open(pooled, "rise with the segment logits of both modalities")
        pooled = named
    if pooled:
        return Verdict((pooled[0],), f"{pooled[0].path} rises with the segment logits of both modalities")
    both = [x for x in _roots(_unless_doubtful(apart)) if x.role not in ("uncertainty", "other")]
    if len(both) == 1:
        return Verdict((both[0],), f"{both[0].path} alone reads the tokens of both modalities")
    taken = {id(x.seen) for x in modality.chosen or ()}
    apart = [x for x in usable if x.apart() and id(x.seen) not in taken and x.reads[0] == x.reads[1]]
    plain = _distinct([x for x in apart if x.role not in ("uncertainty", "other") and x.modality is None])
    plain = _roots(plain)
    named = [x for x in plain if x.role == "video"]
    if len(named) == 1:
        return Verdict((named[0],), f"its name, {named[0].name}; it has a head of its own")
    plain = [x for x in plain if sum(_moved(x, orders).values()) == 2 or x in named]
    if len(plain) == 1 and (modality.chosen is not None):
        return Verdict((plain[0],), f"{plain[0].path} is the only other output of one row per video")
    if plain:
        return _open(plain, "with heads of their own")
    if modality.chosen is None and any(x.modality is None for x in apart):
        return _open(apart, "with heads of their own")
    return Verdict((), "the network returns none")


def _open(found: Sequence[FlatOutput], what: str) -> Verdict:
    return Verdict(
        None, f"{_paths(found)}: {what}. Names in the return statement would tell, or the network's own training loss"
    )


def _paths(found: Sequence[FlatOutput]) -> str:
    return " or ".join(dict.fromkeys(x.path for x in found))


def _distinct(found: Sequence[FlatOutput]) -> list[FlatOutput]:
    """Without those that have the same values as an earlier one."""
    kept: list[FlatOutput] = []
    for x in found:
        if not any(same(x.values, y.values) for y in kept):
            kept.append(x)
    return kept


def _roots(found: list[FlatOutput]) -> list[FlatOutput]:
    """Without those that are computed from another, as an uncertainty is from a probability."""
    tensors = [x.seen.tensor for x in found]
    grads = [gradients(x.values, tensors) for x in found]
    made = [
        any(g.any() and y.seen is not x.seen for g, y in zip(own, found, strict=True))
        for x, own in zip(found, grads, strict=True)
    ]
    return [x for x, from_another in zip(found, made, strict=True) if not from_another] or found


def _unless_doubtful(found: list[FlatOutput]) -> list[FlatOutput]:
    """Without those whose names say that they are no probabilities, where others remain."""
    plain = [x for x in found if x.role not in ("uncertainty", "other")]
    return plain or found


def _moved(x: FlatOutput, orders: ModalityOrder) -> dict[Modality, bool]:
    """Whether it moves with either modality's streams."""
    found: dict[Modality, bool] = {}
    for modality, recording in orders.others.items():
        other = x.seen.arranged(x.layout, "b c" if x.index is None else "b m c", dict(recording.returned)[x.path])
        found[modality] = not same(x.values, other if x.index is None else other[:, x.index])
    return found
