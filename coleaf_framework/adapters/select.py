"""Take one index or a range of an axis, such as one of several heads, or the classes without the background.

Axes are named by a layout in einops notation, as in `outputs.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from coleaf_framework._config import WrongTypeError, nearest

Index = int | str
Select = Mapping[str, Index | tuple[Index, Index]]


def check_select(select: Any, layout: str | None, what: str, *, pair: bool) -> None:
    """Check a selection as far as this is possible without a tensor.

    Args:
        select: axis -> index, "start:stop", or a pair (audio, visual) of those; None selects nothing.
        layout: the axes of the tensor; None where they are those of the field that is read.
        what: begins error messages.
        pair: whether the field is read from two tensors, so that an axis may have a pair.

    Raises:
        ValueError, TypeError: it is no such mapping, an index has another form, or the layout has no such axis.
    """
    if select is None:
        return
    if not isinstance(select, Mapping):
        raise WrongTypeError(f"{what}: select is {select!r}, where a mapping such as {{'m': 0}} was expected")
    for axis, index in select.items():
        if isinstance(index, tuple) and not (len(index) == 2 and pair):
            raise ValueError(
                f"{what}: select[{axis!r}] is {index!r}: several indices, (audio, visual), are for one tensor each; a "
                "range is '0:2'"
            )
        for part in index if isinstance(index, tuple) else (index,):
            _range(part, axis, what)
        if layout is not None:
            _position(layout, axis, what)


def take_selected(x: Tensor, layout: str, select: Select, half: int, what: str) -> tuple[Tensor, str]:
    """The selected part of a tensor.

    Args:
        x: a tensor with the axes `layout`.
        layout: its axes.
        select: axis -> index, range or pair.
        half: which of a pair: 0 audio, 1 visual.
        what: begins error messages.

    Returns:
        The part, and its axes: those that an index was taken of are gone.

    Raises:
        ValueError: an axis is not there, or is shorter than the index; names the axis, its length and the index.
    """
    axes = _axes(layout)
    if x.dim() != len(axes):
        raise ValueError(f"{what}: a tensor of shape {tuple(x.shape)} does not have the layout {layout!r}")
    for axis, given in select.items():
        position = _position(" ".join(axes), axis, what)
        index = given[half] if isinstance(given, tuple) else given
        length, chosen = x.shape[position], _range(index, axis, what)
        if isinstance(chosen, slice):
            start, stop, _ = chosen.indices(length)
            beyond = any(bound is not None and abs(bound) > length for bound in (chosen.start, chosen.stop))
            if beyond or start >= stop:
                raise ValueError(f"{what}: select[{axis!r}] is {index!r}, but that axis has {length} entries")
            x = x.narrow(position, start, stop - start)
        else:
            if not -length <= chosen < length:
                raise ValueError(f"{what}: select[{axis!r}] is {index!r}, but that axis has {length} entries")
            x = x.select(position, chosen)
            del axes[position]
    return x, " ".join(axes)


def _axes(layout: str) -> list[str]:
    """The axes of a layout, with joined ones in one piece: "(b m) t c" has three."""
    return re.findall(r"\([^)]*\)|\S+", layout)


def _position(layout: str, axis: Any, what: str) -> int:
    axes = _axes(layout)
    if axis not in axes:
        joined = " by itself" if re.search(rf"\b{re.escape(str(axis))}\b", layout) else ""
        raise ValueError(
            f"{what}: select names the axis {axis!r}, which the layout {layout!r} does not have{joined}."
            f"{nearest(str(axis), axes)}"
        )
    return axes.index(axis)


def _range(index: Any, axis: Any, what: str) -> int | slice:
    if isinstance(index, int) and not isinstance(index, bool):
        return index
    match = re.fullmatch(r"(-?\d*):(-?\d*)", index) if isinstance(index, str) else None
    if match is None or "-" in match.groups():
        raise ValueError(
            f"{what}: select[{axis!r}] is {index!r}, where an index or a range such as '0:25' was expected"
        )
    start, stop = (int(text) if text else None for text in match.groups())
    if stop is not None and ((start or 0) < 0) == (stop < 0) and (start or 0) >= stop:
        raise ValueError(f"{what}: select[{axis!r}] is {index!r}, a range without entries")
    return slice(start, stop)
