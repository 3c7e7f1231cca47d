"""Guess which tensors of a network are the protocol's fields, from shapes, ranges and gradients; for `describe`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coleaf_framework.adapters import DERIVE, Out, Tap
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.wrapping.probe import Observation, ObservedTensor

VISUAL_FIRST = ("visual", "audio")
# Minimal difference of the modality bias (a log-ratio) between an audio and a visual tensor: a factor of 1.5.
_MIN_BIAS_GAP = 0.4


def candidates(observed: Observation) -> Iterator[tuple[dict[str, Any], Any]]:
    """Declarations (outputs, tokens) to try, the most likely first; tokens are None after the last guess."""
    flat = [x for x in observed.outputs if x.layout == "b c" and _may_be_probabilities(x)]
    ordered = sorted(flat, key=lambda x: -x.modality_bias)
    modality: Any = DERIVE
    video: Any = DERIVE
    stacked = [x for x in observed.outputs if sorted(x.axes) == ["b", "c", "m"] and _may_be_probabilities(x)]
    if stacked:
        modality = _out(stacked[0], "b m c")
    elif len(ordered) >= 2 and ordered[0].modality_bias - ordered[-1].modality_bias > _MIN_BIAS_GAP:
        modality = _pair(ordered[0], ordered[-1])
    middle = flat if modality == DERIVE or stacked else ordered[1:-1]
    if middle:
        video = _out(middle[0], "b c")
    for segment in _segment_outs(observed.outputs):
        for tokens in itertools.chain(_token_outs(observed), [None]):
            yield {"segment_probs": segment, "video_probs": video, "modality_probs": modality}, tokens


def _segment_outs(outputs: Sequence[ObservedTensor]) -> Iterator[Any]:
    for x in outputs:
        if sorted(x.axes) == ["b", "c", "m", "t"] and _may_be_probabilities(x):
            yield _out(x, "b t m c")
        if sorted(x.axes) == ["b", "c", "e", "m", "t"] and x.has_gradient and x.low >= 0:
            layout = {} if x.layout == "b t m c e" else {"layout": x.layout}
            yield Out(_as_path(x.path), kind="dirichlet" if x.low >= 1 else "evidence", **layout)  # type: ignore[arg-type]
    halves = [x for x in outputs if sorted(x.axes) == ["b", "c", "t"] and _may_be_probabilities(x)]
    for one, other in itertools.combinations(halves, 2):
        if one.axes == other.axes:
            yield _pair(*sorted((one, other), key=lambda x: -x.modality_bias))


def ambiguities(observed: Observation, outputs: Mapping[str, Any]) -> list[str]:
    """Messages that name, for each field, other outputs with the same axes as the chosen one."""
    messages = []
    for field, out in outputs.items():
        paths = {out.path, out.visual} if isinstance(out, Out) else set(out) if isinstance(out, tuple) else {out}
        chosen = [x for x in observed.outputs if _as_path(x.path) in paths]
        others = [x.path for x in observed.outputs if any(sorted(x.axes) == sorted(y.axes) for y in chosen)]
        others = [path for path in others if _as_path(path) not in paths]
        if field == "modality_probs" or not others:
            continue
        messages.append(f"{field}: {', '.join(others)} has the same axes as {chosen[0].path}")
    return messages


def _token_outs(observed: Observation) -> Iterator[Any]:
    for x in observed.outputs:
        if x.layout == "b t m d" and x.has_gradient:
            yield Out(_as_path(x.path), order=VISUAL_FIRST) if x.visual_first else _as_path(x.path)
    halves = [x for x in observed.outputs if x.layout == "b t d" and x.has_gradient]
    for one, other in itertools.combinations(halves, 2):
        yield _pair(*sorted((one, other), key=lambda x: -x.modality_bias))
    for tap, _ in possible_taps(observed):
        yield tap


def possible_taps(observed: Observation) -> list[tuple[Tap, tuple[int, ...]]]:
    """Taps that may give tokens, the most likely first, each with the shape of the tensor it would capture.

    Inputs of a classifier (a submodule whose output has the axes b t ... c) come first, then outputs of other
    submodules; among equals, submodules that run later come first.
    """
    taps: list[tuple[int, Tap, tuple[int, ...]]] = []
    for at, runs_of in (("input", observed.submodule_inputs), ("output", observed.submodule_outputs)):
        for path, runs in runs_of.items():
            classifies = any(x.axes[-1:] == ("c",) for run in observed.submodule_outputs.get(path, []) for x in run)
            if (at == "input") != classifies:
                continue
            rank = 0 if classifies else 1
            useful = [[x for x in run if x.has_gradient] for run in runs]
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


def _stacked_tap(path: str, at: Any, runs: int, tokens: ObservedTensor) -> Tap:
    order = VISUAL_FIRST if tokens.visual_first else MODALITIES
    return Tap(path, at=at, call="only" if runs == 1 else "last", order=order)


def _as_path(path: str) -> int | str:
    return int(path) if path.isdigit() else path


def _may_be_probabilities(x: ObservedTensor) -> bool:
    """True for probabilities or logits; false for evidence (never negative, above 1) and attention over time."""
    return x.has_gradient and not x.sums_to_one and (x.low < 0 or x.high <= 1 + 1e-5)


def _kind(*tensors: ObservedTensor) -> str:
    return "probs" if all(x.low >= 0 and x.high <= 1 + 1e-5 for x in tensors) else "logits"


def _out(x: ObservedTensor, target: str) -> Any:
    changes: dict[str, Any] = {"layout": x.layout} if x.layout != target else {}
    if _kind(x) != "probs":
        changes["kind"] = _kind(x)
    if x.visual_first:
        changes["order"] = VISUAL_FIRST
    return Out(_as_path(x.path), **changes) if changes else _as_path(x.path)


def _pair(audio: ObservedTensor, visual: ObservedTensor) -> Any:
    changes: dict[str, Any] = {}
    if audio.axes[-1] == "t":
        changes["layout"] = audio.layout
    if audio.axes[-1] != "d" and _kind(audio, visual) != "probs":
        changes["kind"] = _kind(audio, visual)
    paths = _as_path(audio.path), _as_path(visual.path)
    return Out(paths[0], visual=paths[1], **changes) if changes else paths
