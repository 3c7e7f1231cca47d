"""Files that are whole or not there, and are never executed: safetensors, YAML, JSON, atomic writes, checksums."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import zlib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
_SUM, _STATE = "checksum", "state"


def require_file(path: Path) -> None:
    """Refuse what is no file before it is opened: a named pipe would be waited for without end.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: it is a folder, a pipe or a device.
    """
    if not path.is_file():
        if path.exists():
            raise ValueError(f"{path}: not a regular file")
        raise FileNotFoundError(f"{path}: no such file")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk and rename it to `path`.

    Whatever happens, `path` holds its old content or the new one. A temporary file of a failed write is removed.

    Raises:
        OSError: it cannot be written, such as on a full disk; names `path`.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's is private to the user; a run folder is shared with colleagues
        temporary.replace(path)
    except OSError as problem:
        if problem.errno is None:
            raise
        kept = "its previous content stays" if path.exists() else "there is none yet"
        raise OSError(problem.errno, f"{path} could not be written: {problem.strerror}; {kept}") from problem
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def make_folder(path: Path) -> None:
    """Make a folder, with those above it.

    Raises:
        NotADirectoryError: it, or one above it, is a file; names the file.
    """
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(f"{place}: is a file, where a folder was expected")
    path.mkdir(parents=True, exist_ok=True)


def require_place(path: Path, what: str, *, folder: bool = False) -> None:
    """Check, before any work, that a file, or a folder, could be written at a path.

    Args:
        path: of the file or folder. what: says so, such as "--out". folder: which of the two it is to be.

    Raises:
        ValueError: it is the other, or something above it is a file; names the option and the path.
    """
    if path.is_dir() and not folder:
        raise ValueError(f"{what} {path}: is a folder, where the name of a file was expected")
    for place in (path, *path.parents) if folder else path.parents:
        if place.exists() and not place.is_dir():
            raise ValueError(f"{what} {path}: {place} is a file, where a folder was expected")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


class _StrictLoader(yaml.SafeLoader):
    """Plain values, each key once, and no aliases: some hundred bytes of those unfold into gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: an alias (*{event.anchor}): write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep)  # says so
        spelt: dict[Any, str] = {}
        for key_node, _ in node.value:
            # `<<`, which merges a mapping into this one, and `=` are no values to the parser.
            special = key_node.tag in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
            key = key_node.value if special else self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # is refused below
            if key in spelt:
                other = "" if spelt[key] == key_node.value else f", which is the value of {spelt[key]!r} too"
                raise yaml.YAMLError(
                    f"line {key_node.start_mark.line + 1}: the key {key_node.value!r} a second time{other}"
                )
            spelt[key] = key_node.value
        return super().construct_mapping(node, deep)


# Dates stay texts: as dates they would pass for numbers.
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def parse_yaml(text: str) -> Any:
    """Plain values from YAML.

    Raises:
        yaml.YAMLError: it is not YAML, names a key twice in a mapping, or has aliases; says where.
        RecursionError: it is nested too deeply.
    """
    try:
        return yaml.load(text, _StrictLoader)  # a subclass of SafeLoader
    except (yaml.YAMLError, ValueError) as problem:  # such as a date that there is not
        raise yaml.YAMLError(" ".join(str(problem).split())) from problem
    except (LookupError, AttributeError) as problem:  # PyYAML's own, of `!!bool 3` and the like
        raise yaml.YAMLError("a value does not fit the type that its tag (!!) names") from problem


_CHECKSUM = "# checksum "


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of plain values as YAML, atomically, keys in their own order, under a line with its checksum.

    Raises:
        ValueError: a value is not plain; names it.
    """
    try:
        text = yaml.dump(dict(content), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as problem:
        raise ValueError(f"{path}: holds a value that YAML cannot: {problem}") from problem
    head = f"{_CHECKSUM}{zlib.crc32(text.encode()):08x} of what follows; delete this line after a change by hand\n"
    write_atomically(path, lambda file: file.write_text(head + text, encoding="utf-8"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML or not a mapping, or not what `write_yaml` wrote; names the file.
    """
    require_file(path)
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith(_CHECKSUM):
            head, _, text = text.partition("\n")
            if head.removeprefix(_CHECKSUM)[:8] != f"{zlib.crc32(text.encode()):08x}":
                raise ValueError(
                    f"{path}: differs from what was written: damaged, or changed by hand; in the latter case delete "
                    "its first line"
                )
        content = parse_yaml(text)
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path}: not readable as YAML: {problem}") from problem
    except RecursionError:
        raise ValueError(f"{path}: not readable as YAML: nested too deeply") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise ValueError(f"{path}: expected a YAML mapping of sections, found {found}")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of plain values as JSON, atomically, with its checksum."""
    text = json.dumps({"checksum": _json_checksum(content)} | dict(content))
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged; names the file.
    """
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as problem:
        raise ValueError(f"{path}: damaged: it holds no JSON object with a checksum") from problem
    if checksum != _json_checksum(content):
        raise ValueError(f"{path}: damaged: its checksum does not fit its content")
    return content  # type: ignore[no-any-return]


def _json_checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(dict(content), sort_keys=True).encode())


def to_json(content: Any, indent: int | None = None) -> str:
    """JSON that any program can read: a score without a value, NaN, is null."""

    def plain(x: Any) -> Any:
        if isinstance(x, Mapping):
            return {str(key): plain(value) for key, value in x.items()}
        if isinstance(x, list | tuple):
            return [plain(value) for value in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(plain(content), indent=indent, allow_nan=False)


def checksum(x: Tensor) -> int:
    """CRC-32 of a tensor's bytes; it must be contiguous and on the CPU."""
    return zlib.crc32(x.reshape(-1).view(torch.uint8).numpy().data if x.numel() else b"")


def file_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def text_digest(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a text as UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _checksums(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """One checksum over names, types, shapes and bytes, and one over the notes."""
    total = 0
    for name in sorted(tensors):
        x = tensors[name]
        total = zlib.crc32(f"{name} {x.dtype} {tuple(x.shape)} {checksum(x)}".encode(), total)
    return f"{total:08x}{zlib.crc32(json.dumps(dict(notes), sort_keys=True).encode()):08x}"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors with a checksum, atomically; tied ones are written once each.

    Args:
        path: the file.
        tensors: of any device.
        notes: texts to keep beside them.
    """
    notes = dict(notes or {})
    tensors = {name: x.detach().cpu().clone(memory_format=torch.contiguous_format) for name, x in tensors.items()}
    payload = save(tensors, metadata={**notes, _SUM: _checksums(tensors, notes)})
    write_atomically(path, lambda file: file.write_bytes(payload))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors (CPU) from a safetensors file; one that `write_tensors` wrote is held to its checksum.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged or not safetensors; names the file.
    """
    require_file(path)
    return _parse(path.read_bytes(), path)[0]


def _parse(content: bytes, source: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        tensors: dict[str, Tensor] = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        notes = dict(header.get("__metadata__", {}))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as problem:
        raise ValueError(f"{source}: damaged or not a safetensors file: {problem}") from problem
    expected = notes.pop(_SUM, None)
    if expected is not None and expected != _checksums(tensors, notes):
        raise ValueError(f"{source}: damaged: its checksum does not fit its content")
    return tensors, notes


def write_state(path: Path, state: Any) -> None:
    """Write nested dicts and lists of tensors and plain values, such as an optimiser's state, atomically.

    Tensors go into a safetensors file, the rest as JSON beside them: nothing is pickled.
    """
    tensors: dict[str, Tensor] = {}

    def plain(x: Any) -> Any:
        if isinstance(x, Tensor):
            tensors[str(len(tensors))] = x
            return {"tensor": str(len(tensors) - 1)}
        if isinstance(x, Mapping):
            return {"items": [[key, plain(value)] for key, value in x.items()]}
        if isinstance(x, list | tuple):
            return [plain(value) for value in x]
        return x

    described = json.dumps(plain(state))
    write_tensors(path, tensors, {_STATE: described})


def parse_state(content: bytes, source: Path | str) -> Any:
    """What `write_state` wrote, from the file's content, tensors on the CPU; tuples come back as lists.

    Raises:
        ValueError: it is damaged or something else; names `source`.
    """
    tensors, notes = _parse(content, source)

    def whole(x: Any) -> Any:
        if isinstance(x, dict):
            return tensors[x["tensor"]] if "tensor" in x else {key: whole(value) for key, value in x["items"]}
        return [whole(value) for value in x] if isinstance(x, list) else x

    try:
        return whole(json.loads(notes[_STATE]))
    except (KeyError, ValueError, TypeError, RecursionError) as problem:
        raise ValueError(f"{source}: damaged: expected a saved state, found something else") from problem
