"""Runs on the Hugging Face Hub: which files of a repository are a run, and fetching them.

A repository is somebody else's: only the files named here are fetched, up to a size each, and none is code or a pickle.
They are read as those of any other run folder, so code that they name is not imported.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from coleaf_framework._extras import require_library
from coleaf_framework.data.recipe_file import PROJECTION_FILE
from coleaf_framework.record.log import LOG
from coleaf_framework.storage import CONFIG, DECISION, WEIGHTS

logger = logging.getLogger(__name__)

_MIB = 1 << 20
# The largest that each may be, in bytes: all are read whole, and a repository may hold anything.
_LARGEST: Mapping[str, int] = {
    CONFIG: 4 * _MIB,
    WEIGHTS: 8192 * _MIB,
    DECISION: 4 * _MIB,
    PROJECTION_FILE: 1024 * _MIB,
    LOG: 64 * _MIB,
}
RUN_FILES = tuple(_LARGEST)
"""The files of a run that a repository holds, beside its README.md."""
_NEEDED = (CONFIG, WEIGHTS)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PART = r"(?![\w.-]*(?:--|\.\.|\.git(?![\w.-])))[A-Za-z0-9_](?:[\w.-]{0,94}\w)?"
REPOSITORY_ID = f"{_PART}/{_PART}"
_ADDRESS = re.compile(r"(?:hf|https?):", re.IGNORECASE)
_REPOSITORY = re.compile(rf"(?P<scheme>hf:/{{1,2}})?(?P<name>{REPOSITORY_ID})(?:@(?P<revision>\S+))?", re.ASCII)


@dataclass(frozen=True)
class FoundRun:
    """A run folder on this machine.

    Args:
        folder: where it is.
        repository: "user/name" of the Hub that it was fetched from; None for a local folder.
        commit: the commit's full hash; None for a local folder.
    """

    folder: Path
    repository: str | None = None
    commit: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence that names repository and commit, shown beside the run's results."""
        if self.repository is None:
            return ()
        return (f"the run is {self.repository} of the Hugging Face Hub, commit {self.commit}",)

    def require_own(self, what: str, instead: str) -> None:
        """Refuse to write into a folder of the Hub's cache, whose files are those of the commit.

        Args:
            what: what would be written, for the message.
            instead: what to do instead, for the message.

        Raises:
            ValueError: the run was fetched; says what cannot be written and what to do instead.
        """
        if self.repository is not None:
            raise ValueError(
                f"{self.repository}: a run of the Hub stays as it was pushed, so {what} cannot be kept in it: "
                f"{instead}, or take a folder of your own: hf download {self.repository} --revision {self.commit} "
                "--local-dir RUN"
            )


def find_run(run: Path | str, *, revision: str | None = None, **how: Any) -> FoundRun:
    """The folder of a run that is named by its path, or by its repository on the Hub, which is then fetched.

    What exists here is a path. "user/name" and "user/name@revision" are repositories, unless there is a folder "user"
    here; "hf://user/name" always is one. Anything else is a path too; reading it fails if it is missing.

    Args:
        run: its name.
        revision: branch, tag or commit; the repository's main branch if neither this nor `run` names one.
        how: `token`, `cache_dir`, `force_download` and `local_files_only` of `huggingface_hub.snapshot_download`.

    Returns:
        Its folder on this machine; with the repository and commit where it was fetched.

    Raises:
        FileNotFoundError: there is no such repository or revision, or the Hub cannot be reached and its cache lacks it.
        PermissionError: the repository is gated.
        ImportError: huggingface_hub is not installed.
        ValueError: the repository is no run, or holds too large a file; a folder is given with a revision; or `run` is
            the address of something else.
    """
    path = Path(run)
    named = _REPOSITORY.fullmatch(str(run))
    if named and not named["scheme"] and (path.exists() or Path(named["name"]).parent.is_dir()):
        named = None
    if named is None:
        if _ADDRESS.match(str(run)) and not path.exists():
            raise ValueError(f"{run}: expected user/name, user/name@revision or hf://user/name, as the Hub names them")
        if revision is not None:
            raise ValueError(f"{run}: revision={revision!r} is for a repository of the Hub; this is a folder")
        return FoundRun(path)
    if revision is not None and named["revision"] is not None:
        raise ValueError(f"{run}: names a revision, and so does revision={revision!r}: leave out one of them")
    found = _fetched(named["name"], revision or named["revision"], how)
    logger.info("%s: commit %s of the Hub, in %s", found.repository, found.commit, found.folder)
    return found


def _fetched(name: str, revision: str | None, how: Mapping[str, Any]) -> FoundRun:
    hub, errors = (
        require_library(
            module, f"{name}: there is no such folder here, and fetching it from the Hugging Face Hub", "hub"
        )
        for module in ("huggingface_hub", "huggingface_hub.errors")
    )
    where = f"{name}@{revision}" if revision is not None else name
    # Of whichever library speaks HTTP, whose errors the Hub's are made of: no name, no route, an answer in bad form.
    unreachable = (OSError, errors.HfHubHTTPError.__bases__[0])
    local, commit, listed = bool(how.get("local_files_only")), None, dict[str, int | None]()
    try:
        if not local:
            about = hub.HfApi(token=how.get("token")).model_info(name, revision=revision, files_metadata=True)
            commit, listed = about.sha, {file.rfilename: file.size for file in about.siblings or ()}
            _require_run(where, listed)
    except errors.GatedRepoError:
        raise PermissionError(
            f"{where}: the repository is gated: ask for access on its page, then log in by `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise FileNotFoundError(
            f"{where}: there is no such folder here, and no such repository on the Hub, or it is private and needs a "
            "token: `hf auth login`, or HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(f"{where}: the repository has no such branch, tag or commit") from None
    except unreachable as problem:
        _refuse_token(where, problem)
        local, why = True, first_line(problem)
    else:
        why = "it was not asked for" if local else ""
    try:
        more = {**how, "local_files_only": local}
        folder = Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(RUN_FILES), **more))
    except unreachable as problem:
        if why:
            raise FileNotFoundError(
                f"{where}: the Hub cannot be reached ({why}), and its cache on this machine lacks the run"
            ) from None
        raise OSError(f"{where}: could not be fetched whole: {first_line(problem)}") from problem
    if why and not how.get("local_files_only"):
        logger.warning("%s: the Hub cannot be reached (%s): taking commit %s from its cache", where, why, folder.name)
    if commit not in (None, folder.name):
        raise OSError(f"{where}: was pushed to while it was fetched: try again")
    there = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    _require_run(where, there)
    if missing := [name for name in RUN_FILES if name in listed and name not in there]:
        raise OSError(f"{where}: could not be fetched whole: {missing[0]} is missing: try again")
    return FoundRun(folder, name, folder.name)


def first_line(problem: BaseException) -> str:
    """The first line of an error of huggingface_hub; references on HTTP follow it."""
    return str(problem).strip().partition("\n")[0] or type(problem).__name__


def _refuse_token(where: str, problem: BaseException) -> None:
    """Raise PermissionError if the Hub rejected the token."""
    if getattr(getattr(problem, "response", None), "status_code", None) in (401, 403):
        raise PermissionError(f"{where}: the Hub does not accept the token: `hf auth login`, or HF_TOKEN") from None


def _require_run(where: str, sizes: Mapping[str, int | None]) -> None:
    """Check that files are those of a run, before they are fetched and after."""
    if missing := [name for name in _NEEDED if name not in sizes]:
        pickles = sorted(name for name in sizes if PurePosixPath(name).suffix in _PICKLES)
        but = f", but {pickles[0]}, a pickle, which may hold any code and is never loaded" if pickles else ""
        raise ValueError(f"{where}: not a run that was pushed by coleaf_framework: it has no {missing[0]}{but}")
    for name, largest in _LARGEST.items():
        if (sizes.get(name) or 0) > largest:
            raise ValueError(
                f"{where}: its {name} has {(sizes[name] or 0) / _MIB:,.0f} MiB, more than the {largest // _MIB:,} that "
                f"are fetched: if you know it, hf download {where.partition('@')[0]} --local-dir RUN"
            )
