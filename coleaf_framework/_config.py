"""The base of every config section: unknown keys are errors that name the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as " Did you mean 'epochs'?", or an empty string where nothing is near."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""


class StrictConfig(BaseModel):
    """A frozen config section that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if not isinstance(key, str):
                raise ValueError(
                    f"{cls.__name__} has the key {key!r}, which is no text; in YAML yes, no, on, off, null and numbers "
                    "are none unless they stand in quotes"
                )
            if key not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                raise ValueError(
                    f"{cls.__name__} has no key {key!r}.{nearest(str(key), cls.model_fields)} Known keys: {known}"
                )
        return values
