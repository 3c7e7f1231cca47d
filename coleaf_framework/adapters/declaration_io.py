"""Read and write declaration files (wrap.yaml), with the line of what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from coleaf_framework._config import LocatedError, is_plain, reason, shown, without_namespaces
from coleaf_framework.adapters.declaration_file import DeclarationFile, WrapArguments, is_declaration_file
from coleaf_framework.storage import read_yaml, write_yaml, yaml_lines


def read_declaration(path: Path | str) -> DeclarationFile:
    """Read a declaration file. Imports nothing.

    Args:
        path: the file; relative to the current folder.

    Returns:
        The file's content, checked: network, its arguments, and the arguments of `wrap`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, or a key or value is wrong; names the file, the line, the key and what would be
            right.
    """
    path = Path(path)
    values = read_yaml(path)
    try:
        return DeclarationFile.model_validate(values)
    except ValidationError as problem:
        error = problem.errors()[0]
        inner = error.get("ctx", {}).get("error")
        where = [*error["loc"], *(inner.path if isinstance(inner, LocatedError) else ())]
        if error["type"] == "missing":
            raise ValueError(f"{path}: the key {error['loc'][0]!r} is missing") from None
        message = reason(problem) if inner is None or not error["loc"] else f"{'.'.join(map(str, where))}: {inner}"
        raise ValueError(
            f"{path}{_line(path, where)}: {message.replace(DeclarationFile.__name__, 'the file')}"
        ) from None


def write_declaration(
    path: Path | str,
    network: str,
    arguments: Mapping[str, Any] | None = None,
    declared: Mapping[str, Any] | None = None,
) -> DeclarationFile:
    """Write a declaration file.

    Args:
        path: the file, ending in .yaml or .yml.
        network: as `--anchor` and `coleaf inspect` take it: a plugin's name, "module:Class" or "module:function".
        arguments: of the network's constructor; an `argparse.Namespace` is written as {namespace: {...}}.
        declared: arguments of `wrap`: any of streams, num_classes, segments, outputs, tokens, inputs, adapter,
            follow_device and loss, with the same values.

    Returns:
        What was written, as `read_declaration` reads it.

    Raises:
        ValueError, TypeError: a value is wrong, or cannot be written to a file; names it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "wrap.yaml"
        >>> _ = write_declaration(path, "nets:Net", {"width": 8}, {"outputs": None, "tokens": 4, "segments": 10})
        >>> print(path.read_text())
        network: nets:Net
        arguments:
          width: 8
        segments: 10
        tokens: 4
        <BLANKLINE>
    """
    path = Path(path)
    if not is_declaration_file(path.name):
        raise ValueError(f"{path}: the name of a declaration file ends in .yaml or .yml")
    options = without_namespaces(dict(arguments or {}))
    for key, value in options.items():
        if not is_plain(value):
            raise ValueError(f"{path}: the argument {key!r} is {shown(value)}, which cannot be written to a file")
    values = {"network": network, "arguments": options, **WrapArguments.of(declared or {})}
    try:
        written = DeclarationFile.model_validate(values)
    except ValidationError as problem:
        raise ValueError(f"{path}: {reason(problem)}") from None
    content = written.model_dump()
    if not options:
        content.pop("arguments", None)
    write_yaml(path, {key: content[key] for key in ("network", "arguments", *content) if key in content})
    return written


def _line(path: Path, where: list[str | int]) -> str:
    """ ", line N" of the innermost key on the way to a value that the file has; empty where it has none."""
    try:
        lines = yaml_lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""
    parts = tuple(str(part) for part in where)
    found = next((lines[parts[:n]] for n in range(len(parts), 0, -1) if parts[:n] in lines), None)
    return "" if found is None else f", line {found}"
