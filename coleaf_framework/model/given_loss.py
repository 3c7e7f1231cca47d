"""The loss that `wrap` was given, named in a record and found again."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from coleaf_framework._config import reason
from coleaf_framework.collaboration import RawLoss


def named(loss: RawLoss | None) -> bool | str:
    """A loss as a record has it: "module:function"; True for one that no import finds again; False for None."""
    if loss is None:
        return False
    module, name = getattr(loss, "__module__", None), getattr(loss, "__qualname__", None)
    if module in (None, "__main__") or getattr(sys.modules.get(str(module)), str(name), None) is not loss:
        return True
    return f"{module}:{name}"


def recorded_loss(source: Path, recorded: bool | str, *, trust: bool) -> RawLoss | None:
    """The loss that a record names; one that raises when it is called, where it is not to be had.

    A model answers without its loss, so nothing is refused before it is trained.

    Args:
        source: the record's file.
        recorded: from `named`.
        trust: whether code that the record names may be imported.

    Raises:
        ValueError: it may be imported, and cannot be.
    """
    if recorded is False:
        return None
    if isinstance(recorded, str) and trust:
        return _imported(source, recorded)
    mend = ", or trust=True, if you know it" if isinstance(recorded, str) else ""
    return MissingLoss(f"{source}: its Anchor was trained by {_name(recorded)}: pass loss=<that function>{mend}")


class MissingLoss:
    """Stands for a loss that is needed to train and was not given.

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


def _imported(source: Path, text: str) -> RawLoss:
    module, _, name = text.partition(":")
    if str(Path.cwd()) not in sys.path:  # last, so that the folder's files hide no module of Python's
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as problem:  # a user's module may raise anything on import
        raise ValueError(f"{source}: its loss {text} cannot be imported: {reason(problem)}") from problem
    if not callable(found):
        raise ValueError(f"{source}: its loss {text} is no function")
    return found  # type: ignore[no-any-return]
