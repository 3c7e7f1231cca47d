"""Tell the modality and the video probabilities among a network's outputs of one row per video.

A probability rises when the logits of its class rise: one modality's with that modality's logits alone, the video's
with both. An uncertainty does not rise everywhere. An output that does not move with the segments' logits has a head of
its own: then the tokens that it reads decide, or names.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coleaf_framework.inspection.flat_outputs import FlatOutput
from coleaf_framework.inspection.modality_order import ModalityOrder, Order
from coleaf_framework.inspection.seen import gradients, same
from coleaf_framework.protocol import MODALITIES, Modality


@dataclass(frozen=True)
class Verdict:
    """What is proposed for a field.

    Args:
        chosen: one output, or the audio's and the visual's; empty where it is to be derived; None where it is open.
        why: the evidence, or what would decide.
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
        if pair[0].path == pair[1].path:
            why = f"each half of {pair[0].path} rises with one modality's segment logits alone"
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
            return _open(stacked, "of one shape, and not made of the segments' logits")
        own = orders.order([x.values for x in halves], [_moved(x, orders) for x in halves])
        if own.audio is None:
            return Verdict(None, f"{paths[0]}: which half is the audio's is not known: {own.why}")
        return Verdict((halves[own.audio], halves[1 - own.audio]), f"{paths[0]}: {own.why}")
    trusted = order.overruled is None
    named = {m: [x for x in plain if x.modality == m and trusted and x.names_itself] for m in MODALITIES}
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
        return _open(rest, "not made of the segments' logits")
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
    named = [x for x in plain if x.role == "video" and x.names_itself]
    if len(named) == 1:
        return Verdict((named[0],), f"its name, {named[0].name}; it has a head of its own")
    others = [x for x in usable if x.apart() and id(x.seen) not in taken and x.role not in ("uncertainty", "other")]
    alone = len(_roots(_distinct(others))) == 1
    if len(plain) == 1 and alone and modality.chosen is not None and sum(_moved(plain[0], orders).values()) == 2:
        return Verdict((plain[0],), f"{plain[0].path} is the only other output of one row per video")
    if plain:
        return _open(plain, "not made of the segments' logits")
    if modality.chosen is None and any(x.modality is None for x in apart):
        return _open(apart, "not made of the segments' logits")
    return Verdict((), "the network returns none")


def understood(flat: Sequence[FlatOutput], modality: Verdict, video: Verdict) -> tuple[Verdict, Verdict]:
    """The two verdicts, where nothing is derived while an output that may be the field is not understood."""
    taken = {id(x.seen) for verdict in (modality, video) for x in verdict.chosen or ()}
    plain = [x for x in flat if x.kind is not None and x.apart() and x.role not in ("uncertainty", "other")]
    left = [x for x in _roots(_distinct(plain)) if id(x.seen) not in taken and not _is_copy(x, modality, video)]
    if not left:
        return modality, video
    unknown = "not made of the segments' logits"
    of_video = [x for x in left if x.reads[0] == x.reads[1]]
    if not modality.chosen:
        modality = _open(left, unknown)
    return modality, video if video.chosen or not of_video else _open(of_video, unknown)


def _is_copy(x: FlatOutput, modality: Verdict, video: Verdict) -> bool:
    return any(same(x.values, y.values) for verdict in (modality, video) for y in verdict.chosen or ())


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
