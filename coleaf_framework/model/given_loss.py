"""The loss that was given to `wrap`: its name in a record, and the function for a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coleaf_framework.collaboration import RawLoss
from coleaf_framework.plugins import import_function, importable_name


def named(loss: RawLoss | None) -> bool | str:
    """A loss as written in a record: "module:function"; True if it cannot be imported by name; False for None."""
    if loss is None:
        return False
    return importable_name(loss) or True


def recorded_loss(source: Path, recorded: bool | str, *, trust: bool) -> RawLoss | None:
    """The loss that a record names, or a placeholder that raises when it is called.

    Inference needs no loss, so a missing one is an error only in training.

    Args:
        source: the record's file.
        recorded: from `named`.
        trust: whether code that the record names may be imported.

    Returns:
        The function, one that raises an error, or None where the record says that there was no such loss.

    Raises:
        ValueError: it may be imported, and cannot be.
    """
    if recorded is False:
        return None
    if isinstance(recorded, str) and trust:
        try:
            return import_function(recorded, "loss")
        except ValueError as problem:
            raise ValueError(f"{source}: {problem}") from problem
    mend = ", or trust=True, if you know it" if isinstance(recorded, str) else ""
    return MissingLoss(f"{source}: its Anchor was trained by {_name(recorded)}: pass loss=<that function>{mend}")


class MissingLoss:
    """Placeholder for a loss that was not given; only training needs it.

    Args:
        message: what to say when it is called.
    """

    def __init__(self, message: str) -> None:
        self.message = message

    def __call__(self, raw: object, batch: object) -> Any:
        """Raise ValueError."""
        raise ValueError(self.message)


def _name(recorded: bool | str) -> str:
    return f"the loss {recorded}" if isinstance(recorded, str) else "a loss given to wrap"
