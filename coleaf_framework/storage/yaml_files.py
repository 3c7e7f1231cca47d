"""YAML files of plain values, with a checksum in their first line; duplicate keys and aliases are errors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from coleaf_framework.storage.atomic import require_file, write_text


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but a duplicate key is an error, and so is an alias.

    PyYAML keeps the last of two equal keys without a word. A few hundred bytes of nested aliases unfold into gigabytes.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: an alias (*{event.anchor}): write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep)  # raises
        spelt: dict[Any, str] = {}
        for key_node, _ in node.value:
            # The keys `<<` (merge another mapping into this one) and `=` have no constructor.
            special = key_node.tag in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
            key = key_node.value if special else self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # raises below
            if key in spelt:
                other = "" if spelt[key] == key_node.value else f", which is the value of {spelt[key]!r} too"
                raise yaml.YAMLError(
                    f"line {key_node.start_mark.line + 1}: the key {key_node.value!r} a second time{other}"
                )
            spelt[key] = key_node.value
        return super().construct_mapping(node, deep)


class _NoColon:
    """A pattern that fits no text with a colon: YAML 1.1 reads 1:25 as 85, base 60, where a range of an axis is meant.

    Args:
        pattern: what it fits otherwise.
    """

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def match(self, text: str) -> Any:
        """As `re.Pattern.match`."""
        return None if ":" in text else self._pattern.match(text)


# Dates stay strings, since pydantic takes a date where a number is expected.
_StrictLoader.yaml_implicit_resolvers = {
    first: [
        (tag, _NoColon(pattern) if tag.endswith((":int", ":float")) else pattern)
        for tag, pattern in resolvers
        if tag != "tag:yaml.org,2002:timestamp"
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _PlainDumper(yaml.SafeDumper):
    """PyYAML's safe dumper without aliases, which `_StrictLoader` would refuse."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def parse_yaml(text: str) -> Any:
    """Parse YAML of plain values.

    Raises:
        yaml.YAMLError: The text is not YAML, has a duplicate key, or has an alias. The message says where.
        RecursionError: The text is nested too deeply.
    """
    try:
        return yaml.load(text, _StrictLoader)  # a subclass of SafeLoader
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: a date such as February 30
        raise yaml.YAMLError(" ".join(str(problem).split())) from problem
    except (LookupError, AttributeError) as problem:  # PyYAML raises these for `!!bool 3`
        raise yaml.YAMLError("a value does not fit the type that its tag (!!) names") from problem


def yaml_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line, from 1, of each key and item: the keys and positions that lead to it, as texts -> its line.

    Raises:
        yaml.YAMLError: The text is not YAML.
    """
    lines: dict[tuple[str, ...], int] = {}

    def visit(node: Any, path: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                lines[(*path, str(key.value))] = key.start_mark.line + 1
                visit(value, (*path, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                lines[(*path, str(position))] = value.start_mark.line + 1
                visit(value, (*path, str(position)))

    visit(yaml.compose(text, _StrictLoader), ())
    return lines


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as YAML atomically, in its own order of keys.

    People edit these files, so they hold no checksum: what is read is held to its form instead.

    Args:
        path: The file.
        content: Plain values: None, booleans, numbers, strings, and lists and mappings of them.

    Raises:
        ValueError: A value is not plain. The message names it.
    """
    try:
        text = yaml.dump(dict(content), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as problem:
        raise ValueError(f"{path}: holds a value that YAML cannot: {problem}") from problem
    write_text(path, text)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain values, from a file of `write_yaml` or one that was written by hand.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not YAML, or not a mapping. The message names the file.
    """
    require_file(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_yaml(text)
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path}: not readable as YAML: {problem}") from problem
    except RecursionError:
        raise ValueError(f"{path}: not readable as YAML: nested too deeply") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise ValueError(f"{path}: expected a YAML mapping of sections, found {found}")
    return content
