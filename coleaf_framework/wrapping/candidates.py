"""What a network's tensors may be: guesses from shapes, ranges and dependence, for `describe` to check."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coleaf_framework.adapters import DERIVE, Out, Tap
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.wrapping.probe import Probe, Seen

VISUAL_FIRST = ("visual", "audio")
# Two tensors are those of two modalities if what they depend on differs at least so much (a factor of 1.5).
_APART = 0.4


def candidates(found: Probe) -> Iterator[tuple[dict[str, Any], Any]]:
    """Outputs and tokens to try, the likeliest first."""
    flat = [x for x in found.outputs if x.layout == "b c" and _may_be_probabilities(x)]
    ordered = sorted(flat, key=lambda x: -x.modality_bias)
    apart: Any = DERIVE
    video: Any = DERIVE
    stacked = [x for x in found.outputs if sorted(x.axes) == ["b", "c", "m"] and _may_be_probabilities(x)]
    if stacked:
        apart = _out(stacked[0], "b m c")
    elif len(ordered) >= 2 and ordered[0].modality_bias - ordered[-1].modality_bias > _APART:
        apart = _pair(ordered[0], ordered[-1])
    middle = flat if apart == DERIVE or stacked else ordered[1:-1]
    if middle:
        video = _out(middle[0], "b c")
    for segment in _segment_outs(found.outputs):
        for tokens in itertools.chain(_token_outs(found), [None]):
            yield {"segment_probs": segment, "video_probs": video, "modality_probs": apart}, tokens


def _segment_outs(outputs: Sequence[Seen]) -> Iterator[Any]:
    for x in outputs:
        if sorted(x.axes) == ["b", "c", "m", "t"] and _may_be_probabilities(x):
            yield _out(x, "b t m c")
        if sorted(x.axes) == ["b", "c", "e", "m", "t"] and x.trains and x.low >= 0:
            layout = {} if x.layout == "b t m c e" else {"layout": x.layout}
            yield Out(_place(x.place), kind="dirichlet" if x.low >= 1 else "evidence", **layout)  # type: ignore[arg-type]
    halves = [x for x in outputs if sorted(x.axes) == ["b", "c", "t"] and _may_be_probabilities(x)]
    for one, other in itertools.combinations(halves, 2):
        if one.axes == other.axes:
            yield _pair(*sorted((one, other), key=lambda x: -x.modality_bias))


def rivals(found: Probe, outputs: Mapping[str, Any]) -> list[str]:
    """What a proposal might have mistaken, in words: other outputs of the same axes as those that it chose."""
    said = []
    for field, out in outputs.items():
        places = {out.path, out.visual} if isinstance(out, Out) else set(out) if isinstance(out, tuple) else {out}
        chosen = [x for x in found.outputs if _place(x.place) in places]
        others = [x.place for x in found.outputs if any(sorted(x.axes) == sorted(y.axes) for y in chosen)]
        others = [place for place in others if _place(place) not in places]
        if field == "modality_probs" or not others:
            continue
        said.append(f"{field}: {', '.join(others)} has the same axes as {chosen[0].place}")
    return said


def _token_outs(found: Probe) -> Iterator[Any]:
    for x in found.outputs:
        if x.layout == "b t m d" and x.trains:
            yield Out(_place(x.place), order=VISUAL_FIRST) if x.visual_first else _place(x.place)
    halves = [x for x in found.outputs if x.layout == "b t d" and x.trains]
    for one, other in itertools.combinations(halves, 2):
        yield _pair(*sorted((one, other), key=lambda x: -x.modality_bias))
    for tap, _ in possible_taps(found):
        yield tap


def possible_taps(found: Probe) -> list[tuple[Tap, tuple[int, ...]]]:
    """Where tokens could be tapped, the likeliest first, with the shape of what is there.

    First what the classifier takes (a submodule that gives b t ... c), then pairs, then modules that run once for each
    modality; later ones before earlier ones.
    """
    taps: list[tuple[int, Tap, tuple[int, ...]]] = []
    for at, runs_of in (("input", found.taken), ("output", found.given)):
        for path, runs in runs_of.items():
            classifies = any(x.axes[-1:] == ("c",) for run in found.given.get(path, []) for x in run)
            if (at == "input") != classifies:
                continue
            rank = 0 if classifies else 1
            useful = [[x for x in run if x.trains] for run in runs]
            if all(len(run) == 1 and run[0].layout in ("b t m d", "b t m c") for run in useful):
                taps.append((rank, _stacked_tap(path, at, len(runs), useful[-1][0]), useful[-1][0].shape))
            elif all([x.layout for x in run] in (["b t d"] * 2, ["b t c"] * 2) for run in useful) and len(useful) == 1:
                order = MODALITIES if useful[0][0].modality_bias >= useful[0][1].modality_bias else VISUAL_FIRST
                taps.append((rank, Tap(path, at=at, order=order), useful[0][0].shape))  # type: ignore[arg-type]
            elif len(useful) == 2 and all(len(run) == 1 and run[0].layout in ("b t d", "b t c") for run in useful):
                first = 0 if useful[0][0].modality_bias >= useful[1][0].modality_bias else 1
                tap = Tap(path, at=at, call={"audio": first, "visual": 1 - first})  # type: ignore[arg-type]
                taps.append((rank, tap, useful[0][0].shape))
    taps.reverse()
    return [(tap, shape) for _, tap, shape in sorted(taps, key=lambda x: x[0])]


def _stacked_tap(path: str, at: Any, runs: int, tokens: Seen) -> Tap:
    order = VISUAL_FIRST if tokens.visual_first else MODALITIES
    return Tap(path, at=at, call="only" if runs == 1 else "last", order=order)


def _place(place: str) -> int | str:
    return int(place) if place.isdigit() else place


def _may_be_probabilities(x: Seen) -> bool:
    """Or logits; what is never negative and exceeds 1 is neither (evidence, say), nor is attention over time."""
    return x.trains and not x.weighs and (x.low < 0 or x.high <= 1 + 1e-5)


def _kind(*seen: Seen) -> str:
    return "probs" if all(x.low >= 0 and x.high <= 1 + 1e-5 for x in seen) else "logits"


def _out(x: Seen, target: str) -> Any:
    changes: dict[str, Any] = {"layout": x.layout} if x.layout != target else {}
    if _kind(x) != "probs":
        changes["kind"] = _kind(x)
    if x.visual_first:
        changes["order"] = VISUAL_FIRST
    return Out(_place(x.place), **changes) if changes else _place(x.place)


def _pair(audio: Seen, visual: Seen) -> Any:
    changes: dict[str, Any] = {}
    if audio.axes[-1] == "t":
        changes["layout"] = audio.layout
    if audio.axes[-1] != "d" and _kind(audio, visual) != "probs":
        changes["kind"] = _kind(audio, visual)
    places = _place(audio.place), _place(visual.place)
    return Out(places[0], visual=places[1], **changes) if changes else places
