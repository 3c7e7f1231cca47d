"""The base of every config section, and how what was read is held to what was expected, in one sentence."""

from __future__ import annotations

import difflib
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

Kind = TypeVar("Kind", bound=BaseModel)
_LONGEST = 80


class WrongTypeError(TypeError, ValueError):
    """A value of another type than was expected, in a sentence; a bare `TypeError` is a fault in somebody's code."""


class LocatedError(ValueError):
    """A wrong value, in a sentence, and where it is.

    Args:
        path: keys and positions that lead to it, from where the error is raised.
        message: the sentence.
    """

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as " Did you mean 'epochs'?", or an empty string where nothing is near."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""


def shown(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def reason(problem: BaseException) -> str:
    """Why something failed, on one line, for the end of a sentence that says what failed."""
    if isinstance(problem, ValidationError):
        return _first_error(problem)
    if out_of_memory(problem):
        return "there is not enough memory for it"
    text = " ".join(str(problem).split())
    if isinstance(problem, KeyError) and text:
        return f"it lacks {text}"
    if not text:
        return f"it raises {type(problem).__name__} without a message"
    return text if isinstance(problem, ValueError | OSError | ImportError) else f"{type(problem).__name__}: {text}"


def out_of_memory(problem: BaseException) -> bool:
    """Whether an allocation failed, in PyTorch, which raises its own errors for it, or elsewhere."""
    said = isinstance(problem, RuntimeError) and any(
        text in str(problem) for text in ("allocate memory", "out of memory", "Storage size calculation overflowed")
    )
    return said or isinstance(problem, MemoryError)


def _first_error(problem: ValidationError) -> str:
    error = problem.errors()[0]
    where = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("model_type", "dict_type", "mapping_type", "dataclass_type"):
        message = "expected a section, keys with values each"
    given = "" if error["type"] in ("value_error", "missing") else f", got {shown(error['input'])}"
    return f"{where + ': ' if where else ''}{message}{given}"


def validated(kind: type[Kind], values: Any, source: object) -> Kind:
    """`values`, which `source` holds, as `kind`.

    Raises:
        ValueError: they are something else; names the source, the first wrong field and its value.
    """
    try:
        if not isinstance(values, Mapping):
            raise ValueError(f"expected keys with values, got {shown(values)}")
        return kind.model_validate(dict(values))
    except (ValidationError, ValueError) as problem:
        raise ValueError(f"{source}: {reason(problem)}") from None


class StrictConfig(BaseModel):
    """A frozen config section that refuses unknown keys; they are errors that name the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        for key, value in values.items() if isinstance(values, dict) else ():
            if not isinstance(key, str):
                raise ValueError(
                    f"{cls.__name__} has the key {key!r}, which is no text; in YAML yes, no, on, off, null and numbers "
                    "are none unless they stand in quotes"
                )
            if key not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                raise LocatedError(
                    (key,), f"{cls.__name__} has no key {key!r}.{nearest(key, cls.model_fields)} Known keys: {known}"
                )
            if isinstance(value, bool) and cls.model_fields[key].annotation in (int, float, int | None):
                raise LocatedError((key,), f"{key}: expected a number, got {value}")
        return values


_NAMESPACE = "namespace"


def with_namespaces(value: Any) -> Any:
    """Plain values, with an `argparse.Namespace` in place of every `{"namespace": {...}}`.

    Example:
        >>> with_namespaces({"args": {"namespace": {"dim": 8}}})
        {'args': Namespace(dim=8)}
    """
    if type(value) is dict:
        inner = {key: with_namespaces(x) for key, x in value.items()}
        marked = inner.keys() == {_NAMESPACE} and isinstance(inner[_NAMESPACE], dict)
        if marked and all(isinstance(key, str) for key in inner[_NAMESPACE]):
            return Namespace(**inner[_NAMESPACE])
        return inner
    return [with_namespaces(x) for x in value] if type(value) is list else value


def without_namespaces(value: Any) -> Any:
    """The same values as plain ones; the inverse of `with_namespaces`."""
    if isinstance(value, Namespace):
        return {_NAMESPACE: without_namespaces(vars(value))}
    if isinstance(value, dict):
        return {key: without_namespaces(x) for key, x in value.items()}
    return [without_namespaces(x) for x in value] if isinstance(value, list) else value


def is_plain(value: Any) -> bool:
    """Whether a value can be written to YAML and read again: None, numbers, texts, and lists and mappings of them."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(x) for key, x in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
