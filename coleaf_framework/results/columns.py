"""The columns that exist for a kind of ground truth.

Where all annotated events are audible and visible ("joint" truth, as UnAV-100's), audible-only and visible-only events
are not annotated. A prediction of one is then neither right nor wrong, so no column that uses A, V, Ao or Vo exists,
which includes Type@ and Event@. Only AV remains.
"""

from __future__ import annotations

from coleaf_framework._config import nearest
from coleaf_framework.data.dataset import Truth
from coleaf_framework.metrics import ALL_KEYS, LEVELS, SUPPORT

PRIMARY = f"{SUPPORT}segment/Type@AVo"
"""The column of the conclusion: support-only Type@AVo, the mean of Ao, Vo and AV over the videos with support."""
_JOINT = tuple(f"{prefix}{level}/AV" for prefix in ("", SUPPORT) for level in LEVELS)
_WHY = "its ground truth does not tell audible from visible events"


def columns_of(truth: Truth) -> tuple[str, ...]:
    """The columns that exist for a kind of ground truth, in the order of `ALL_KEYS`.

    Example:
        >>> columns_of("joint")
        ('segment/AV', 'event/AV', 'support/segment/AV', 'support/event/AV')
        >>> len(columns_of("modalities"))
        36
    """
    return _JOINT if truth == "joint" else ALL_KEYS


def primary_column(truth: Truth) -> str:
    """The column that a conclusion is about where no other is asked for.

    Example:
        >>> primary_column("modalities"), primary_column("joint")
        ('support/segment/Type@AVo', 'support/segment/AV')
    """
    return f"{SUPPORT}segment/AV" if truth == "joint" else PRIMARY


def require_column(column: str, asked: str = "--column", truth: Truth = "modalities", where: str = "") -> None:
    """Check that a column exists.

    Args:
        column: its name.
        asked: what named it, for the message.
        truth: the kind of ground truth of the scored split.
        where: name of the split, for the message.

    Raises:
        ValueError: no column has this name (names the closest match), or the split has no such column (says why).
    """
    if column not in ALL_KEYS:
        raise ValueError(f"{asked} {column!r}: no such column.{nearest(str(column), columns_of(truth))}")
    if column not in columns_of(truth):
        raise ValueError(f"{asked} {column!r}: {where} has no such column, since {_WHY}: take {' or '.join(_JOINT)}")


def require_types(truth: Truth, what: str, where: str) -> None:
    """Check that a split's ground truth tells the types of events apart.

    Args:
        truth: its kind.
        what: what needs the types, for the message.
        where: name of the split, for the message.

    Raises:
        ValueError: it does not.
    """
    if truth == "joint":
        raise ValueError(f"{what} counts types of events, which {where} does not have: {_WHY}")
