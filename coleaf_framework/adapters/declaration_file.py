"""Declaration files (wrap.yaml): how a network is made and wrapped, as a file that the command line takes.

They hold plain values. Code that one names is imported where its network is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from coleaf_framework._config import LocatedError, StrictConfig, nearest, shown
from coleaf_framework.adapters.declaration import Declaration, as_outputs
from coleaf_framework.adapters.plain_values import (
    plain_inputs,
    plain_output,
    plain_tokens,
    read_inputs,
    read_outputs,
    read_tokens,
)
from coleaf_framework.data.store import Count, StreamEntry
from coleaf_framework.plugins import import_function, importable_name
from coleaf_framework.protocol import StreamSpec

_SUFFIXES = (".yaml", ".yml")


class WrapArguments(StrictConfig):
    """Arguments of `wrap` as plain values, written as in adapters/plain_values.py.

    Args:
        streams: the streams of the data set that the network takes; None for what it declares itself, or all.
        num_classes: number of classes, C.
        segments: number of segments, T, for a network that works for one T only.
        outputs: field -> where it is in the network's outputs.
        tokens: where the tokens are.
        inputs: what the network's arguments get.
        adapter: "module:function" in place of outputs and inputs.
        follow_device: as for `wrap`.
        loss: "module:function", as for `wrap`.
    """

    streams: dict[str, StreamEntry] | None = Field(None, min_length=1)
    num_classes: Count | None = None
    segments: Count | None = None
    outputs: dict[str, Any] | None = None
    tokens: Any = None
    inputs: Any = None
    adapter: str | None = None
    follow_device: StrictBool = False
    loss: str | None = None

    @field_validator("outputs")
    @classmethod
    def _check_outputs(cls, given: Any) -> Any:
        if given is not None:
            as_outputs(read_outputs(given))
        return given

    @field_validator("tokens")
    @classmethod
    def _check_tokens(cls, given: Any) -> Any:
        read_tokens(given)
        return given

    @field_validator("inputs")
    @classmethod
    def _check_inputs(cls, given: Any) -> Any:
        read_inputs(given)
        return given

    @field_validator("adapter", "loss")
    @classmethod
    def _functions_are_named(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(r"\w[\w.]*:\w+", given):
            raise ValueError(f"{given!r} is no function's name as it was expected, module:function")
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> WrapArguments:
        if self.adapter is not None:
            for key in ("outputs", "inputs"):
                if getattr(self, key) is not None:
                    message = f"adapter and {key} exclude each other, since the adapter itself calls the network"
                    raise LocatedError((key,), f"{message} and reads its outputs")
        if self.streams is not None and self.inputs is not None:
            specs = {name: entry.spec for name, entry in self.streams.items()}
            try:
                Declaration(None, None, read_inputs(self.inputs), streams=specs)
            except LocatedError as problem:
                raise LocatedError(("inputs", *problem.path), str(problem)) from None
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            key: value for key, value in dump(self).items() if fields[key].is_required() or value != fields[key].default
        }

    @field_serializer("streams")
    def _short_streams(self, streams: dict[str, StreamEntry] | None) -> Any:
        if streams is None:
            return None
        return {name: entry.model_dump(exclude_defaults=True) for name, entry in streams.items()}

    @classmethod
    def of(cls, declared: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of `wrap` as plain values, those that are not None.

        Args:
            declared: streams, num_classes, segments, outputs, tokens, inputs, adapter, follow_device and loss, as for
                `wrap`.

        Raises:
            ValueError, TypeError: an argument is unknown, or cannot be written to a file; names it.
        """
        spellers = {
            "outputs": _plain_outputs,
            "tokens": plain_tokens,
            "inputs": plain_inputs,
            "streams": _plain_streams,
        }
        plain = {}
        for key, value in declared.items():
            if key not in WrapArguments.model_fields:
                raise ValueError(
                    f"{key!r} is no argument that a declaration file holds.{nearest(key, cls.model_fields)}"
                )
            if key in ("adapter", "loss") and callable(value):
                if (name := importable_name(value)) is None:
                    raise ValueError(f"{key} is {shown(value)}, which cannot be imported: name a module's function")
                value = name
            elif value is not None and key in spellers:
                value = spellers[key](value)
            if value is not None and value is not False:
                plain[key] = value
        return plain

    def wrap_arguments(self) -> dict[str, Any]:
        """The arguments of `wrap`, those that are set. Imports the code that is named.

        Raises:
            ValueError: that code does not import.
        """
        made: dict[str, Any] = {
            "streams": None if self.streams is None else {name: entry.spec for name, entry in self.streams.items()},
            "num_classes": self.num_classes,
            "segments": self.segments,
            "outputs": read_outputs(self.outputs),
            "tokens": read_tokens(self.tokens),
            "inputs": read_inputs(self.inputs),
            "adapter": None if self.adapter is None else import_function(self.adapter, "adapter"),
        }
        if self.follow_device:
            made["follow_device"] = True
        if self.loss is not None:  # the one place where a file's loss is passed on
            made["loss"] = import_function(self.loss, "loss")
        return {key: value for key, value in made.items() if value is not None}

    def fitted(self, given: Mapping[str, Any], source: object) -> dict[str, Any]:
        """The arguments of `wrap`, with what it was given beside the declaration, such as the data's streams.

        Args:
            given: arguments of `wrap`; None where one was left out.
            source: of the declaration, for messages.

        Raises:
            ValueError: an argument is declared and given, and the two do not agree.
        """
        own = self.wrap_arguments()
        given = {key: value for key, value in given.items() if value is not None and value is not False}
        for key in own.keys() & given.keys():
            if key == "streams":
                _require_among(own[key], given[key], source)
            elif key in ("num_classes", "segments") and own[key] == given[key]:
                continue
            elif key in ("num_classes", "segments"):
                raise ValueError(f"{source}: {key} is {own[key]}, where {given[key]!r} was given or is the data's")
            else:
                raise ValueError(f"{source}: declares {key}, which was given to wrap too: leave out one of them")
        return {**given, **own}


class DeclarationFile(WrapArguments):
    """What a declaration file holds: the network, and the arguments of `wrap`.

    Args:
        network: "module:Class", "module:function" for a function that makes the network, or the name of a plugin.
        arguments: of its constructor; {namespace: {...}} anywhere makes an `argparse.Namespace`.
    """

    network: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)

    @field_validator("network")
    @classmethod
    def _network_is_named(cls, given: str) -> str:
        if is_declaration_file(given):
            raise ValueError(f"{given!r} is a declaration file itself; name the network")
        return given

    @field_validator("arguments")
    @classmethod
    def _arguments_are_named(cls, given: dict[str, Any]) -> dict[str, Any]:
        for key in given:
            if not key.isidentifier():
                raise LocatedError((key,), f"{key!r} cannot be the name of an argument")
            if key == "streams":
                raise LocatedError((key,), "streams has a key of its own in the file, beside arguments")
        return given

    @property
    def declared(self) -> WrapArguments:
        """The arguments of `wrap` alone."""
        return WrapArguments(**{key: getattr(self, key) for key in WrapArguments.model_fields})


def is_declaration_file(name: object) -> bool:
    """Whether the name of an Anchor is that of a declaration file: a text that ends in .yaml or .yml."""
    return isinstance(name, str) and name.endswith(_SUFFIXES)


def _require_among(own: Mapping[str, StreamSpec], data: Mapping[str, StreamSpec], source: object) -> None:
    for name, spec in own.items():
        if name not in data:
            raise ValueError(
                f"{source}: takes the stream {name!r}, which the data do not have.{nearest(name, data)} They have "
                f"{', '.join(sorted(data))}"
            )
        if spec != data[name]:
            raise ValueError(f"{source}: declares {name} as {_shape(spec)}, but the data have {_shape(data[name])}")


def _shape(spec: StreamSpec) -> str:
    averaged = f", averaged over {spec.averaged}" if spec.averaged > 1 else ""
    return f"{spec.modality} of width {spec.width} with {spec.frames} vectors a segment{averaged}"


def _plain_outputs(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {field: plain_output(x) for field, x in outputs.items()}


def _plain_streams(streams: Mapping[str, StreamSpec]) -> dict[str, Any]:
    defaults = {"frames": 1, "averaged": 1}
    return {
        name: {key: x for key, x in asdict(spec).items() if x != defaults.get(key)} for name, spec in streams.items()
    }
