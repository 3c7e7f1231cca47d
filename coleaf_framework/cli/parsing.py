"""Parsing of networks, streams and constructor arguments that are given on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from coleaf_framework.plugins import import_network
from coleaf_framework.protocol import MODALITIES, StreamSpec
from coleaf_framework.storage import parse_yaml


def find_network(text: str) -> Any:
    """Import the class or function of "module:Class", from the current folder or an installed package.

    Args:
        text: "module:Class", "module:function", or the name of a plugin, which is returned as it is.

    Raises:
        ValueError: There is no such module, class or function. The message suggests the nearest name.
    """
    return import_network(text) if ":" in text else text


def parse_streams(texts: Iterable[str]) -> dict[str, StreamSpec]:
    """Parse streams such as "audio=128" or "visual=2048x8".

    Args:
        texts: NAME=WIDTH or NAME=WIDTHxFRAMES each, where NAME begins with the modality.

    Returns:
        Stream name -> spec.

    Raises:
        ValueError: A text has another form, or a name occurs twice.
    """
    streams = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)=(\d+)(?:x(\d+))?", text)
        modality = next((m for m in MODALITIES if match and match[1].startswith(m)), None)
        if match is None or modality is None:
            raise ValueError(
                f"--stream {text!r}: expected NAME=WIDTH or NAME=WIDTHxFRAMES with a name that begins with audio or "
                "visual, such as visual=2048x8"
            )
        if match[1] in streams:
            raise ValueError(f"--stream {text!r}: {match[1]!r} was said before")
        try:
            streams[match[1]] = StreamSpec(int(match[2]), modality, frames=int(match[3] or 1))
        except ValueError as problem:
            raise ValueError(f"--stream {text!r}: {problem}") from None
    return streams


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """Parse constructor arguments such as "width=256".

    Args:
        texts: key=value each, with the value in YAML.

    Raises:
        ValueError: A text has another form.
    """
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"--option {text!r}: expected key=value, such as width=256")
        try:
            options[key] = parse_yaml(value)
        except (yaml.YAMLError, RecursionError) as problem:
            raise ValueError(f"--option {text!r}: the value is not readable as YAML: {problem}") from problem
    return options
