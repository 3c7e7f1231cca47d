"""Hints on modality and role in the names of a network's arguments, outputs and submodules.

`find_inputs` and `propose` overrule names where the structure contradicts them, with a note.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Literal

from torch import nn

from coleaf_framework.protocol import Modality

Role = Literal["segment", "video", "uncertainty", "other"]

_AUDIO = {"a", "aud", "audio", "audios", "sound", "wav", "wave", "vggish", "spectrogram", "mel", "clap"}
_VISUAL = {"v", "vis", "visual", "visuals", "image", "images", "img", "rgb", "flow", "resnet", "res152", "r2plus1d"}
# As arguments these name visual features; as outputs they name a level (video, frame) instead.
_VISUAL_ARGUMENT = {"video", "videos", "vid", "frame", "frames", "st", "2d", "3d", "clip", "motion"}
_SPATIOTEMPORAL = {"st", "3d", "r2plus1d", "r2p1d", "motion", "flow"}
_UNCERTAINTY = "u unc uncertainty uncertainties sigma var std logvar entropy vacuity conf confidence reliability"
_OTHER = "att attn attention w weight weights mask sim similarity feat feature features token tokens aux auxiliary"
_ROLES: tuple[tuple[Role, set[str]], ...] = (
    ("uncertainty", set(_UNCERTAINTY.split())),
    ("other", set(_OTHER.split())),
    ("segment", {"frame", "frames", "seg", "segment", "segments", "temporal", "snippet", "framewise"}),
    ("video", {"global", "video", "vid", "av", "bag", "overall", "fused", "clip"}),
)
_PROBABILITY = {"p", "prob", "probs", "probability", "probabilities", "pred", "preds", "prediction", "predictions"}
_PROBABILITY |= {"score", "scores", "logit", "logits", "out", "output", "outputs", "cls", "y", "event", "events"}


def words(name: str) -> set[str]:
    """The words of an identifier or path, in lower case: "fc_aProb.2" -> {"fc", "a", "prob", "2"}."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return set(re.findall(r"[a-z0-9]+", apart.lower()))


def modality_of_argument(name: str) -> Modality | None:
    """The modality that the name of an argument names; None for none or both."""
    return _modality(words(name), _VISUAL | _VISUAL_ARGUMENT)


def modality_of(name: str) -> Modality | None:
    """The modality that the name of an output or submodule names; None for none or both."""
    return _modality(words(name), _VISUAL)


def spatiotemporal(name: str) -> bool:
    """Whether a name is that of spatio-temporal features, as those of 3D networks."""
    return bool(words(name) & _SPATIOTEMPORAL)


def role_of(name: str) -> Role | None:
    """The role that the name of an output suggests; None if it suggests none."""
    found = words(name)
    return next((role for role, known in _ROLES if found & known), None)


def names_a_probability(name: str) -> bool:
    """Whether a name says only that it is a probability, and of what: `a_prob`, `p_video`, `visual`."""
    known = _AUDIO | _VISUAL | _PROBABILITY | dict(_ROLES)["video"] | {"modality"}
    return all(word in known or word.isdigit() for word in words(name))


def _modality(found: set[str], visual: set[str]) -> Modality | None:
    said: list[Modality] = [m for m, known in (("audio", _AUDIO), ("visual", visual)) if found & known]  # type: ignore[misc]
    return said[0] if len(said) == 1 else None


def returned_names(network: nn.Module) -> dict[str, str]:
    """The variables in the return statements of `forward`, by their path in the outputs: {"0": "a_prob", ...}.

    A place that two return statements call differently is left out; so is everything where the source is not at hand.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(network).forward)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    function = tree.body[0]
    found: dict[str, str | None] = {}
    for node in _own_nodes(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple | ast.List):
            for path, name in _names(node.value, ""):
                found[path] = name if found.get(path, name) == name else None
    return {path: name for path, name in found.items() if name is not None}


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions that it holds."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from _own_nodes(child)


def _names(node: ast.expr, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Tuple | ast.List):
        for i, element in enumerate(node.elts):
            yield from _names(element, f"{prefix}.{i}" if prefix else str(i))
    elif isinstance(node, ast.Name):
        yield prefix, node.id
    elif isinstance(node, ast.Attribute):
        yield prefix, node.attr
