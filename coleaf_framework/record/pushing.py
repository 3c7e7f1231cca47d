"""Pushing a folder with the files of a run to the Hugging Face Hub."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from coleaf_framework._extras import require_library
from coleaf_framework.record.hub import REPOSITORY_ID, RUN_FILES, first_line

CARD = "README.md"


def require_repository_id(repo_id: str) -> None:
    """Check the name of a repository.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(REPOSITORY_ID, repo_id, re.ASCII):
        raise ValueError(
            f"{repo_id!r}: expected user/name, of letters, digits, '-', '_' and '.', as the Hub names repositories"
        )


def push_folder(folder: Path, repo_id: str, **how: Any) -> str:
    """Push the files in a folder by the mixin of huggingface_hub; the repository is made if need be.

    Files of an earlier push that are not in the folder are deleted with it, since thresholds or a projection of other
    weights would be taken for those of the new ones. Files that are none of `RUN_FILES` stay.

    Args:
        folder: what to push.
        repo_id: "user/name".
        how: `commit_message`, `private`, `token`, `branch` and `create_pr` of the mixin's `push_to_hub`.

    Returns:
        The address of the commit, which ends in its hash.

    Raises:
        ImportError: huggingface_hub is not installed.
        OSError: the Hub cannot be reached, or refuses; a PermissionError where it wants another token.
    """
    require_repository_id(repo_id)
    hub, errors = (
        require_library(module, f"{repo_id}: pushing to the Hugging Face Hub", "hub")
        for module in ("huggingface_hub", "huggingface_hub.errors")
    )

    class Pushed(hub.ModelHubMixin):  # type: ignore[misc,name-defined]
        """Defined in a function, since its base is from an extra. Its arguments would be published: it has none."""

        def _save_pretrained(self, save_directory: Path) -> None:
            for path in sorted(folder.iterdir()):
                shutil.copyfile(path, save_directory / path.name)

    how = {"commit_message": "Push a run of coleaf_framework", **how}
    try:
        commit = Pushed().push_to_hub(repo_id, delete_patterns=[*RUN_FILES], **how)
        return str(commit.commit_url)  # itself a text, which older versions of the library make the folder's address
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(
            f"{repo_id}: has no branch {how.get('branch')!r}: `hf repos branch create {repo_id} {how.get('branch')}`"
        ) from None
    except (OSError, errors.HfHubHTTPError.__bases__[0]) as problem:
        status = getattr(getattr(problem, "response", None), "status_code", None)
        if status in (401, 403) or isinstance(problem, errors.LocalTokenNotFoundError):
            raise PermissionError(
                f"{repo_id}: the Hub wants a token that may write there: `hf auth login`, or HF_TOKEN"
            ) from None
        raise OSError(f"{repo_id}: could not be pushed: {first_line(problem)}") from problem
