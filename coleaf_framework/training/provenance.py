"""What a run is made of: code and data, as digests, so that it can be told when either has changed since.

As plain values, in a run's config.yaml and a grid cell's plan:

    version: of this package
    anchor, reference: source file -> digest, of the network's own file and of files beside it that it imports
    data: split -> part ("annotations" or a stream) -> digest
    accepted: sentences on what had changed when the run went on all the same
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import digests_of
from coleaf_framework.storage import file_digest

_INSTALLED = {"site-packages", "dist-packages"}
AS_THEY_ARE = "--accept-changes, which is then said beside every score"
NOT_RECORDED = "it was trained before code and data were recorded, so it cannot be told whether they are the same now"


def made_of(anchor: object, reference: object | None, splits: Iterable[AVVPDataset]) -> dict[str, Any]:
    """What a run of these is made of.

    Args:
        anchor, reference: networks, or the classes or functions that make them.
        splits: those whose videos count.
    """
    found: dict[str, Any] = {"version": version("coleaf-framework"), "anchor": sources(anchor)}
    if reference is not None:
        found["reference"] = sources(reference)
    return found | {"data": {split.split: digests_of(split) for split in splits}}


def sources(network: object) -> dict[str, str]:
    """Source file -> digest, of a network's own file and of files below its folder that this one imports, and so on.

    Installed packages are left out, but for the network's own. Empty where there is no file, such as for a class that
    was typed into a console.
    """
    maker = network if inspect.isclass(network) or inspect.isroutine(network) else type(network)
    path = _file(maker.__module__)
    if path is None:
        return {}
    found, waiting = {path}, [maker.__module__]
    while waiting:
        for value in list(vars(sys.modules[waiting.pop()]).values()):
            name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            file = _file(name)
            if file is not None and file not in found and _is_beside(file, path):
                found.add(file)
                waiting.append(str(name))
    return {file.relative_to(path.parent).as_posix(): file_digest(file) for file in sorted(found)}


def _file(module: object) -> Path | None:
    name = getattr(sys.modules.get(module), "__file__", None) if isinstance(module, str) else None
    path = Path(name).resolve() if isinstance(name, str) else None
    return path if path is not None and path.is_file() else None


def _is_beside(file: Path, own: Path) -> bool:
    if own.parent not in file.parents or own.parent.name in _INSTALLED:
        return False
    below = file.relative_to(own.parent).parts
    return not (_INSTALLED & set(below)) and below[0] != "coleaf_framework"


def changes(before: Mapping[str, Any], now: Mapping[str, Any], *, moved: bool = False) -> list[str]:
    """What is another now; one clause each, such as "the annotations of 'test' differ". What one lacks is passed over.

    Args:
        before, now: from `made_of`.
        moved: the data lie in another folder, so that when their files were written says nothing.
    """
    found = []
    if before.get("version", now.get("version")) != now.get("version"):
        found.append(f"coleaf_framework was {before['version']} and is {now['version']}")
    for kind in ("anchor", "reference"):
        old, new = before.get(kind), now.get(kind)
        if old and new and old != new:
            files = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            found.append(f"the {kind.capitalize()}'s code has changed ({', '.join(files)})")
    old_data, new_data = before.get("data") or {}, now.get("data") or {}
    for split, old in old_data.items():
        other, again = [], []
        for part, digest in old.items():
            content, written = [*digest.split(), ""][:2]
            content_now, written_now = [*new_data.get(split, {}).get(part, digest).split(), ""][:2]
            if content.partition(":")[0] != content_now.partition(":")[0] and ":" in content:
                continue  # a folder and a store of it, which nothing tells to be the same
            if content != content_now:
                other.append(part)
            elif written != written_now and not moved:
                again.append(part)
        if other:
            found.append(f"the {_and(other)} of {split!r} differ")
        if again:
            found.append(
                f"the files of {_and(again)} of {split!r} were written again, with the same sizes and, where that was "
                "looked at, the same content"
            )
    return found


def identity(made: Mapping[str, Any] | None) -> dict[str, Any]:
    """What two runs have in common that are of the same code and data, wherever these lie; empty where not recorded."""
    if not made:
        return {}
    data = {
        split: {part: digest.split()[0] for part, digest in parts.items()}
        for split, parts in (made.get("data") or {}).items()
        if split != "test"
    }
    return {key: made.get(key) for key in ("version", "anchor", "reference")} | {"data": data}


def _and(parts: Sequence[str]) -> str:
    named = [part if part == "annotations" else f"features {part!r}" for part in parts]
    return ", ".join(named)


def record_accepted(before: Mapping[str, Any], now: Mapping[str, Any], changed: Iterable[str]) -> dict[str, Any]:
    """`now`, with what had been accepted `before` and what is accepted with it."""
    accepted = [*(before.get("accepted") or ()), *changed]
    return dict(now) | ({"accepted": accepted} if accepted else {})
