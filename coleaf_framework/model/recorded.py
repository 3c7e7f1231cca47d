"""Access to the record of a model, and checks of what it requires."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from coleaf_framework.adapters import Adapter
from coleaf_framework.record.run_record import RunRecord


class Recorded(Protocol):
    """A model with a record, as `CoLeaF` is one."""

    record: RunRecord | None
    adapter: Adapter | None


def require_record(model: Recorded) -> RunRecord:
    """The record of a model.

    Raises:
        ValueError: it has none, since neither `wrap` nor `load` made it.
    """
    if model.record is None:
        raise ValueError("this CoLeaF was made without `wrap`, so it has no record of its networks: make it by `wrap`")
    return model.record


def require_adapter(model: Recorded, directory: Path | str) -> None:
    """Check that a model has the adapter that a folder's Anchor was wrapped with, if any.

    Args:
        model: with a record.
        directory: the folder, for the message.

    Raises:
        ValueError: there was one, and the model has none.
    """
    recorded = require_record(model).model.adapter
    if recorded and model.adapter is None:
        name = recorded.get("adapter") if isinstance(recorded, dict) else None
        trusted = f"; or --trust (trust=True), if you know {name}" if name is not None else ""
        raise ValueError(
            f"{directory}: its Anchor was wrapped with an adapter: pass adapter=<that function, or model.adapter>"
            f"{trusted}"
        )
