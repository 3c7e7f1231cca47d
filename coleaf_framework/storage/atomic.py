"""Writing a file whole or not at all, and checking paths before they are used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def require_file(path: Path) -> None:
    """Check that a path is a regular file. Opening a named pipe, for example, would wait without end.

    Raises:
        FileNotFoundError: Nothing has this path.
        ValueError: It is a folder, a pipe or a device.
    """
    if not path.is_file():
        if path.exists():
            raise ValueError(f"{path}: not a regular file")
        raise FileNotFoundError(f"{path}: no such file")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk and rename it to `path`.

    Whatever happens, `path` holds its old content or the new one. The temporary file of a failed write is removed.

    Args:
        path: The file to write. Its folder is made if it is missing.
        write: Writes the content to the path that it is given.

    Raises:
        OSError: The file cannot be written, for example because the disk is full. The message names `path`.
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
    """Make a folder and its parents.

    Raises:
        NotADirectoryError: The path or one of its parents is a file. The message names the file.
    """
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(f"{place}: is a file, where a folder was expected")
    path.mkdir(parents=True, exist_ok=True)


def require_place(path: Path, what: str, *, folder: bool = False) -> None:
    """Check that a file or folder can be written at a path, before any work is done for it.

    Args:
        path: Path of the file or folder.
        what: The option that names the path, such as "--out", for the message.
        folder: Whether a folder will be written there.

    Raises:
        ValueError: There is a folder where a file will be written, or the reverse, or one of the path's parents is a
            file or may not be written to. The message names the option and the path.
    """
    if path.is_dir() and not folder:
        raise ValueError(f"{what} {path}: is a folder, where the name of a file was expected")
    folders = [place for place in (path, *path.absolute().parents)[0 if folder else 1 :] if place.exists()]
    for place in folders:
        if not place.is_dir():
            raise ValueError(f"{what} {path}: {place} is a file, where a folder was expected")
    if not os.access(folders[0], os.W_OK):
        raise ValueError(f"{what} {path}: {folders[0]} may not be written to")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
