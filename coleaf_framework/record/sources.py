"""The source files of a network, found by parsing their imports, so that all processes find the same ones."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from coleaf_framework.storage import file_digest, text_digest

_INSTALLED = {"site-packages", "dist-packages"}


def sources(network: object) -> dict[str, str]:
    """Digests of a network's own source file and of the files that it imports, directly or not.

    Only files of the network's package count; without a package, those in the folder of its file and below. Imports
    inside functions count too. For a class of a script or a console, the class itself takes the place of the file.

    Args:
        network: the network, or the class or function that makes it.

    Returns:
        Source file -> digest; empty if there is no source, and for PyTorch's own modules.
    """
    maker = network if inspect.isclass(network) or inspect.isroutine(network) else type(network)
    found: dict[str, str] = {}
    if maker.__module__.partition(".")[0] == "torch":  # some 1,700 files, which its version stands for
        return found
    script = maker.__module__ == "__main__"
    if script:  # whose other lines, such as a number of epochs, are not the network's
        try:
            found[maker.__qualname__] = text_digest(inspect.getsource(maker))
        except (OSError, TypeError):
            return {}
    name = getattr(sys.modules.get(maker.__module__), "__file__", None)
    path = Path(name).resolve() if isinstance(name, str) else None
    if path is None or path.suffix != ".py" or not path.is_file():
        return found
    root, near = _places(path, maker.__module__)
    files, waiting = {path}, [path]
    while waiting:
        for file in _imported(waiting.pop(), root):
            if file not in files and _is_near(file, near):
                files.add(file)
                waiting.append(file)
    if script:
        files.remove(path)
    return found | {file.relative_to(near).as_posix(): file_digest(file) for file in sorted(files)}


def _places(path: Path, module: str) -> tuple[Path, Path]:
    """Folder of a module's package, and the folder whose files count as the network's own."""
    parts = module.split(".")
    base = path.parent if path.name == "__init__.py" else path.with_suffix("")
    if base.parts[-len(parts) :] != tuple(parts):
        return path.parent, path.parent
    root = base.parents[len(parts) - 1]
    return root, root / parts[0] if (root / parts[0]).is_dir() and path.is_relative_to(root / parts[0]) else root


def _is_near(file: Path, near: Path) -> bool:
    if near.name in _INSTALLED or not file.is_relative_to(near):
        return False
    below = file.relative_to(near).parts
    return not (_INSTALLED & set(below)) and below[0] != "coleaf_framework"


def _imported(path: Path, root: Path) -> Iterator[Path]:
    """Files below `root` that a file's imports name, with the `__init__.py` of their packages."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # not what was imported any more; its digest tells
        return
    names: list[Path] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [root.joinpath(*alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = path.parents[node.level - 1] if node.level else root
            module = above.joinpath(*(node.module or "").split("."))
            names += [module, *(module / alias.name for alias in node.names)]
    for name in names:
        packages = [folder / "__init__.py" for folder in (name, *name.parents) if folder.is_relative_to(root)]
        for file in (name.with_name(f"{name.name}.py"), *packages):
            if file.is_file():
                yield file.resolve()
