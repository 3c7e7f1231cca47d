"""Outputs, tokens and inputs as plain values, which people can write by hand in files.

An output is a position or name, a pair [audio, visual], "derive", or a mapping with `path` and other arguments of
`Out`; a tap is {tap: encoder, at: input, ...}; a constant is {constant: 1.0, repeat: b}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from coleaf_framework._config import LocatedError, WrongTypeError, is_plain, nearest, shown
from coleaf_framework.adapters.inputs import Constant
from coleaf_framework.adapters.outputs import DERIVE, Out
from coleaf_framework.adapters.taps import Tap

_MOST_NUMBERS = 1000  # of a tensor that is written into a file for people
_FIRST = {Out: "path", Tap: "tap", Constant: "constant"}  # the key by which each is told
Declared = TypeVar("Declared", Out, Tap, Constant)


def plain_output(given: Any) -> Any:
    """An `Out`, position, name, pair or "derive", as plain values.

    Raises:
        TypeError, ValueError: it is none of these.
    """
    if not isinstance(given, Out):
        return given if given == DERIVE else plain_output(as_out(given))
    if given == Out(given.path) and given.path != DERIVE:
        return given.path
    if given.visual is not None and given == Out(given.path, visual=given.visual):
        return [given.path, given.visual]
    return _plain(given)


def plain_tokens(given: Any) -> Any:
    """`tokens` as plain values: a `Tap`, two of them, or as `plain_output`; None where there are none."""
    if given is None:
        return None
    if isinstance(given, Tap):
        return _plain(given)
    if isinstance(given, tuple | list) and any(isinstance(x, Tap) for x in given):
        taps = [_plain(tap) for tap in as_taps(given)]
        return taps[0] if len(taps) == 1 else taps
    return plain_output(given)


def plain_inputs(given: Any) -> Any:
    """`inputs` as plain values: names and constants, in order or by argument.

    Raises:
        ValueError: a constant cannot be written, as a tensor of more than 1000 numbers; names its argument.
    """
    if given is None:
        return None
    parts = given.items() if isinstance(given, Mapping) else enumerate(given)
    plain = {key: _plain_constant(x, key) if isinstance(x, Constant) else x for key, x in parts}
    return plain if isinstance(given, Mapping) else list(plain.values())


def read_outputs(given: Any) -> dict[str, Any] | None:
    """What `plain_output` wrote, for each field.

    Raises:
        LocatedError: a value is no output; says where.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise LocatedError((), f"expected a mapping of fields to positions or names, got {shown(given)}")
    return {field: read_output(x, (field,)) for field, x in given.items()}


def read_output(given: Any, where: tuple[str | int, ...] = ()) -> Any:
    """What `plain_output` wrote: an `Out`, or "derive". Errors as in `read_outputs`."""
    if isinstance(given, Mapping):
        if "path" not in given:
            raise LocatedError(
                where, f"an output needs its `path`, got {shown(dict(given))}.{_misspelt(given, 'path')}"
            )
        return _read(Out, given, where)
    try:
        return as_out(given)
    except ValueError as problem:
        raise LocatedError(where, str(problem)) from None


def read_tokens(given: Any) -> Any:
    """What `plain_tokens` wrote. Errors as in `read_outputs`."""
    if given is None:
        return None
    if isinstance(given, list) and given and all(isinstance(x, Mapping) for x in given):
        if len(given) > 2:
            raise LocatedError((2,), "tokens takes one tap, or two: [audio, visual]")
        taps = tuple(_read_tap(x, (k,)) for k, x in enumerate(given))
        return taps[0] if len(taps) == 1 else taps
    if isinstance(given, Mapping) and "path" not in given:
        return _read_tap(given, ())
    return read_output(given)


def read_inputs(given: Any) -> Any:
    """What `plain_inputs` wrote. Errors as in `read_outputs`."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        for name in given:
            if not isinstance(name, str) or not name.isidentifier():
                raise LocatedError((name,), f"{name!r} cannot be the name of an argument")
        return {name: _read_argument(x, (name,)) for name, x in given.items()}
    if isinstance(given, list):
        return [_read_argument(x, (k,)) for k, x in enumerate(given)]
    raise LocatedError((), f"expected names of streams in order, or by argument, got {shown(given)}")


def _read_tap(given: Any, where: tuple[str | int, ...]) -> Tap:
    if "tap" not in given:
        expected = "expected {tap: SUBMODULE}, {path: POSITION}, a position, a name or a pair"
        raise LocatedError(where, f"{expected}, got {shown(dict(given))}.{_misspelt(given, 'tap')}")
    return _read(Tap, given, where)


def _read_argument(given: Any, where: tuple[str | int, ...]) -> Any:
    if not isinstance(given, Mapping):
        if not isinstance(given, str):
            message = f"{shown(given)} is not the name of a stream: a constant is {{constant: {shown(given)}}}"
            raise LocatedError(where, message)
        return given
    if "constant" not in given:
        message = f"expected {{constant: VALUE}}, got {shown(dict(given))}.{_misspelt(given, 'constant')}"
        raise LocatedError(where, message)
    value = given["constant"]
    if isinstance(value, Mapping):
        given = {**given, "constant": _read_tensor(value, (*where, "constant"))}
    return _read(Constant, given, where)


def _read_tensor(given: Mapping[str, Any], where: tuple[str | int, ...]) -> Tensor:
    if "tensor" not in given or given.keys() - {"tensor", "dtype"}:
        raise LocatedError(where, f"expected a value, or {{tensor: [...], dtype: float32}}, got {shown(dict(given))}")
    dtype = getattr(torch, str(given["dtype"]), None) if "dtype" in given else None
    if "dtype" in given and not isinstance(dtype, torch.dtype):
        raise LocatedError((*where, "dtype"), f"dtype {given['dtype']!r} is none of PyTorch's, such as float32")
    try:
        return torch.tensor(given["tensor"], dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        message = f"{shown(given['tensor'])} is no number or even nested list of numbers"
        raise LocatedError((*where, "tensor"), message) from None


def _read(kind: type[Declared], given: Mapping[str, Any], where: tuple[str | int, ...]) -> Declared:
    known = {("path" if key == "tap" else "value" if key == "constant" else key): key for key in _keys(kind)}
    arguments = {}
    for key, value in given.items():
        if key not in known.values():
            hint = nearest(str(key), known.values())
            raise LocatedError((*where, key), f"unknown key {key!r}.{hint} Known keys: {', '.join(known.values())}")
        name = next(argument for argument, written in known.items() if written == key)
        arguments[name] = value if kind is Constant else _as_tuples(value)
    try:
        return kind(**arguments)
    except ValueError as problem:  # point to the key that the sentence names, if it names one
        found = {key: re.search(rf"\b{re.escape(str(key))}\b", str(problem)) for key in given}
        named = sorted((match.start(), key) for key, match in found.items() if match is not None)
        raise LocatedError((*where, named[0][1]) if named else where, str(problem)) from None


def _misspelt(given: Mapping[str, Any], key: str) -> str:
    """A hint where one of the keys looks like `key`."""
    return next((hint for other in given if (hint := nearest(str(other), [key]))), "")


def _keys(kind: type) -> list[str]:
    return [_FIRST[kind], *(about.name for about in fields(kind)[1:])]


def _as_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_tuples(x) for key, x in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _plain(given: Out | Tap | Constant) -> dict[str, Any]:
    first, *rest = fields(given)
    changed = {about.name: getattr(given, about.name) for about in rest if getattr(given, about.name) != about.default}
    return {_FIRST[type(given)]: getattr(given, first.name)} | {key: _as_lists(x) for key, x in changed.items()}


def _as_lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_lists(x) for key, x in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _plain_constant(given: Constant, argument: str | int) -> dict[str, Any]:
    value = given.value
    repeat = {} if given.repeat is None else {"repeat": given.repeat}
    if isinstance(value, Tensor):
        tensor: dict[str, Any] = {"tensor": value.tolist() if _is_small(value) else None}
        usual = torch.tensor(tensor["tensor"]).dtype if tensor["tensor"] is not None else None
        if tensor["tensor"] is None:
            raise ValueError(
                f"inputs: the constant {argument!r} is a tensor of shape {tuple(value.shape)} and {value.dtype}: files "
                f"hold real tensors of 1 to {_MOST_NUMBERS} numbers"
            )
        if value.dtype != usual:
            tensor["dtype"] = str(value.dtype).removeprefix("torch.")
        return {"constant": tensor, **repeat}
    if isinstance(value, Mapping) or not is_plain(value):
        raise ValueError(
            f"inputs: the constant {argument!r} is {shown(value)}: files hold numbers, texts, lists of them and tensors"
        )
    return {"constant": value, **repeat}


def _is_small(x: Tensor) -> bool:
    return 0 < x.numel() <= _MOST_NUMBERS and not x.is_complex() and not x.requires_grad and not x.is_meta


def as_out(given: Any) -> Out | str:
    """What `outputs` or `tokens` names, as an `Out` or "derive".

    Raises:
        TypeError: it is no position, name or pair.
    """
    if isinstance(given, Out) or given == DERIVE:
        return given  # type: ignore[no-any-return]
    if _is_path(given):
        return Out(given)
    if isinstance(given, tuple | list) and len(given) == 2 and all(map(_is_path, given)):
        return Out(given[0], visual=given[1])
    raise WrongTypeError(
        f"{given!r} is not an output: expected Out(...), a position, a name, (audio, visual) or {DERIVE!r}"
    )


def _is_path(x: Any) -> bool:
    return isinstance(x, int | str) and not isinstance(x, bool)


def as_taps(given: Any) -> tuple[Tap, ...]:
    """The taps that `tokens` names; empty where it names none.

    Raises:
        TypeError: there are more than two, or something else is among them.
    """
    taps = given if isinstance(given, tuple | list) else (given,)
    if not any(isinstance(x, Tap) for x in taps):
        return ()
    if len(taps) > 2 or not all(isinstance(x, Tap) for x in taps):
        raise WrongTypeError("tokens takes one Tap, or two: (audio, visual)")
    return tuple(taps)
