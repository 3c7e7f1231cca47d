"""Read a field of the protocol from a network's outputs: where it is, and its layout and kind.

Layouts name axes by the project's shape letters: b videos, t segments, m modalities, c classes, d token width; and e
for the pair (presence, absence) of evidential outputs.
"""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import torch
from einops import EinopsError, reduce
from torch import Tensor

from coleaf_framework._config import nearest
from coleaf_framework.adapters.select import Select, check_select, take_selected
from coleaf_framework.protocol import MODALITIES

logger = logging.getLogger(__name__)

_check_kinds: ContextVar[bool] = ContextVar("check_kinds", default=False)


@contextmanager
def checking_values() -> Iterator[None]:
    """Check values against their declared kind within this context; it reads values from the device, which is slow."""
    token = _check_kinds.set(True)
    try:
        yield
    finally:
        _check_kinds.reset(token)


@functools.lru_cache(maxsize=64)  # warn once, not at every batch of the dry run
def _warn_once(message: str) -> None:
    logger.warning(message)


Path = int | str
Kind = Literal["probs", "logits", "evidence", "dirichlet"]
KINDS = ("probs", "logits", "evidence", "dirichlet")
REDUCTIONS = ("mean", "max", "sum")
DERIVE = "derive"
LAYOUTS = {"segment_probs": "b t m c", "video_probs": "b c", "modality_probs": "b m c", "tokens": "b t m d"}


@dataclass(frozen=True)
class Out:
    """Declares where one field of the protocol is in a network's outputs, and in what form.

    Args:
        path: a position (3), a name ("probs") or a path of both ("1.probs", "0.2"). If `visual` is given, this is the
            path of the audio tensor.
        visual: path of the visual tensor, for a network that returns one tensor per modality.
        layout: the network's axes in einops notation, such as "b c t m" or "(b m) t c". By default those of the
            protocol, without m if `visual` is given.
        kind: "probs" (probabilities); "logits", which get a sigmoid; "evidence" or "dirichlet" (evidence + 1), whose
            probability is presence / (presence + absence) of the Dirichlet parameters.
        absence: path of the absence evidence, or (audio, visual) paths if `visual` is given. With None, the layout has
            an axis e with presence first.
        order: order of the modalities on axis m.
        reduce: how to reduce axes that the field does not have, such as the classes of class-wise tokens: "mean", "max"
            or "sum".
        select: axis of the layout -> the index to take of it, or a range as "start:stop", as in slices: {"k": 0} takes
            the first of several heads, {"c": "0:25"} drops a background class at the end. If `visual` is given, a
            pair takes (audio, visual) indices.

    Raises:
        ValueError, TypeError: an unknown kind, order or reduction, an empty layout, or a selection of another form.

    Example:
        >>> logits = torch.zeros(4, 3, 10, 2)  # B=4, C=3, T=10, M=2
        >>> out = Out(0, layout="b c t m", kind="logits")
        >>> out.read((logits,), "segment_probs", batch=4, segments=10).shape  # (B,T,M,C)
        torch.Size([4, 10, 2, 3])
    """

    path: Path
    visual: Path | None = None
    layout: str | None = None
    kind: Kind = "probs"
    absence: Path | tuple[Path, Path] | None = None
    order: tuple[str, str] = MODALITIES
    reduce: str | None = None
    select: Select | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Out: kind {self.kind!r} is not one of {KINDS}")
        if self.absence is not None and self.kind not in ("evidence", "dirichlet"):
            raise ValueError(f"Out: absence is for the kinds evidence and dirichlet, not for {self.kind!r}")
        check_order(self.order, "Out")
        if self.visual is not None and tuple(self.order) != MODALITIES:
            raise ValueError("Out: order is for modalities on one axis; apart, `path` is audio and `visual` is visual")
        check_layout(self.layout, "Out")
        check_reduce(self.reduce, "Out")
        axes = self.layout
        if axes is not None and self.kind in ("evidence", "dirichlet") and "e" not in re.findall(r"\w+", axes):
            axes += " e"
        check_select(self.select, axes, "Out", pair=self.visual is not None)

    def read(self, returned: Any, field: str, batch: int, segments: int) -> Tensor:
        """Read the field, in the protocol's layout and as probabilities.

        Args:
            returned: the network's raw outputs.
            field: name of the field of `AnchorOutput`.
            batch: number of videos, B.
            segments: number of segments, T.

        Returns:
            The field as `AnchorOutput` has it: probabilities in [0,1] of shape (B,T,M,C), (B,C) or (B,M,C), or tokens
            (B,T,M,D).

        Raises:
            ValueError: there is no tensor at the path, or it has another layout; names the field.
        """
        halves = [self.path] if self.visual is None else [self.path, self.visual]
        tensors = [find(returned, path, field) for path in halves]
        if self.absence is not None:
            absences = self.absence if isinstance(self.absence, tuple | list) else (self.absence,)
            if len(absences) != len(tensors):
                raise ValueError(f"outputs[{field!r}]: absence must have a place for each of its {len(tensors)} halves")
            absent = [find(returned, path, field) for path in absences]
            tensors = [torch.stack(pair, dim=-1) for pair in zip(tensors, absent, strict=True)]
        return self.arrange(tensors, field, batch, segments)

    def arrange(self, tensors: list[Tensor], field: str, batch: int, segments: int) -> Tensor:
        """Bring one tensor, or an audio and a visual one, to the protocol's layout and to probabilities."""
        target = LAYOUTS[field]
        if field == "tokens" and self.kind != "probs":
            raise ValueError(f"tokens: kind={self.kind!r} is for probabilities")
        if "m" not in target.split() and (len(tensors) > 1 or tuple(self.order) != MODALITIES):
            raise ValueError(f"outputs[{field!r}] has no modalities: one place, and no order")
        single = len(tensors) == 1 and "m" in target.split()
        if not single:
            target = target.replace("m ", "")
        layout, pair = self.layout or target, self.kind in ("evidence", "dirichlet")
        if pair:
            layout, target = (layout if "e" in re.findall(r"\w+", layout) else layout + " e"), target + " e"
        where, arranged = f"outputs[{field!r}]", []
        for half, x in enumerate(tensors):
            axes = layout
            if self.select:
                x, axes = take_selected(x, layout, self.select, half, where)
            arranged.append(arrange(x, axes, target, self.reduce, where, batch, segments))
        if _check_kinds.get():
            for x in arranged:
                self._check_kind(x, field)
        values = [self._probabilities(x) for x in arranged]
        if len(values) > 1:
            return torch.stack(values, dim=LAYOUTS[field].split().index("m"))
        if single and tuple(self.order) != MODALITIES:
            return values[0].flip(LAYOUTS[field].split().index("m"))
        return values[0]

    def _check_kind(self, x: Tensor, field: str) -> None:
        low, high = x.min().item(), x.max().item()
        least = {"evidence": 0.0, "dirichlet": 1.0}.get(self.kind, -math.inf)
        if low < least - 1e-5:
            raise ValueError(
                f"outputs[{field!r}]: kind={self.kind!r} is at least {least:g}, but it spans [{low:.3g}, {high:.3g}]"
            )
        if self.kind == "logits" and 0 <= low < high <= 1:  # possible for logits, but unlikely
            _warn_once(f"outputs[{field!r}]: kind='logits', but its values are in [0, 1], as probabilities are")

    def _probabilities(self, x: Tensor) -> Tensor:
        if self.kind == "logits":
            return x.sigmoid()
        if self.kind in ("evidence", "dirichlet"):
            alpha = x + 1 if self.kind == "evidence" else x
            return alpha[..., 0] / alpha.sum(-1)
        return x


def check_order(order: tuple[str, str], what: str) -> None:
    """Raise ValueError unless `order` names both modalities."""
    if not isinstance(order, tuple | list) or sorted(map(str, order)) != sorted(MODALITIES):
        raise ValueError(f"{what}: order {order!r} does not name the modalities {MODALITIES}")


def check_layout(layout: object, what: str) -> None:
    """Raise ValueError for a layout that is no text, or empty."""
    if layout is not None and (not isinstance(layout, str) or not layout.strip()):
        raise ValueError(f"{what}: layout {layout!r} is no axes such as 'b t m c'")


def check_reduce(reduction: str | None, what: str) -> None:
    """Raise ValueError for an unknown reduction."""
    if reduction is not None and reduction not in REDUCTIONS:
        raise ValueError(f"{what}: reduce {reduction!r} is not one of {REDUCTIONS}")


def arrange(x: Tensor, layout: str, target: str, reduction: str | None, what: str, batch: int, segments: int) -> Tensor:
    """Rearrange a tensor from one layout to another, in einops notation.

    Args:
        x: a tensor with the axes `layout`.
        layout: its axes.
        target: the axes of the result.
        reduction: "mean", "max" or "sum", for axes that `target` lacks; None where it has all of them.
        what: begins error messages.
        batch: number of videos, B, for layouts with joined axes, such as "(b m) t c".
        segments: number of segments, T, likewise.

    Raises:
        ValueError: the tensor does not have the layout, or the layout lacks an axis of `target`.
    """
    axes = re.findall(r"\w+", layout)
    missing = [axis for axis in target.split() if axis not in axes]
    extra = [axis for axis in axes if axis not in target.split()]
    if missing:
        raise ValueError(f"{what}: the layout {layout!r} lacks the axes {missing} of {target!r}")
    if extra and reduction is None:
        raise ValueError(f"{what}: {target!r} has no axes {extra}: say reduce='mean' (or 'max', 'sum')")
    known = {"b": batch, "t": segments, "m": 2, "e": 2}
    lengths: dict[str, int] = {}
    for group in re.findall(r"\((.*?)\)", layout):
        joined = {axis: known[axis] for axis in group.split() if axis in known}
        if len(joined) == len(group.split()):  # einops infers one length of a group
            joined.pop("b", None)
        lengths |= joined
    try:
        return reduce(x, f"{layout} -> {target}", reduction or "mean", **lengths)
    except EinopsError as problem:
        raise ValueError(
            f"{what}: a tensor of shape {tuple(x.shape)} does not have the layout {layout!r} (B={batch}, "
            f"T={segments}): {str(problem).splitlines()[-1].strip()}"
        ) from None


def find(returned: Any, path: Path, what: str) -> Tensor:
    """The tensor at a path in a network's outputs.

    Raises:
        ValueError: there is no tensor at the path; lists the paths that exist.
    """
    value = returned
    is_key = isinstance(returned, Mapping) and path in returned  # a key may contain dots
    for part in [path] if is_key or isinstance(path, int) else path.split("."):
        value = _step(value, part, returned, path, what)
    if not isinstance(value, Tensor):
        raise ValueError(f"{what}: {path!r} is a {type(value).__name__}, not a tensor")
    return value


def _step(value: Any, part: Path, returned: Any, path: Path, what: str) -> Any:
    if isinstance(value, Mapping):
        for key in (part, int(part)) if re.fullmatch(r"-?\d+", str(part)) else (part,):
            if key in value:
                return value[key]
    if isinstance(value, tuple | list) and re.fullmatch(r"-?\d+", str(part)):
        if -len(value) <= int(part) < len(value):
            return value[int(part)]
    elif isinstance(part, str) and hasattr(value, part) and not isinstance(value, Tensor):
        return getattr(value, part)
    elif isinstance(value, Tensor) and value is returned and part == 0:
        return value  # a network that returns one tensor
    paths = [path_ for path_, _ in flatten(returned)]
    raise ValueError(f"{what}: there is no {path!r}.{nearest(str(path), paths)} There is: {', '.join(paths)}")


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a network's (possibly nested) outputs, with its path."""
    if isinstance(value, Tensor):
        yield prefix or "0", value
        return
    if isinstance(value, Mapping):
        parts = [(str(key), x) for key, x in value.items()]
    elif hasattr(value, "_fields"):
        parts = [(name, getattr(value, name)) for name in value._fields]
    elif isinstance(value, tuple | list):
        parts = [(str(i), x) for i, x in enumerate(value)]
    elif is_dataclass(value):
        parts = [(f.name, getattr(value, f.name)) for f in fields(value)]
    else:
        return
    for name, part in parts:
        yield from flatten(part, f"{prefix}.{name}" if prefix else name)
