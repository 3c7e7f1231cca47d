"""Digests of the code and data of a run, by which later changes are noticed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import digests_of
from coleaf_framework.record.sources import sources

NOT_RECORDED = "it was begun before code and data were recorded, so it cannot be told whether they are the same now"
_TRAINED_ON = ("train", "val")


class MadeOf(BaseModel):
    """Versions, and digests of code and data, of a run.

    Args:
        version: of this package; None where it is not installed.
        anchor: source file of the Anchor to its digest (`sources.py`); empty where the source is not known.
        reference: the same of the Reference; empty for an Anchor alone.
        data: split to part ("annotations" or a stream) to digests, KIND:DIGEST each (`Features.digests`).
        accepted: sentences on changes that a user accepted, to be shown beside every score.
    """

    version: str | None = None
    anchor: dict[str, str] = {}
    reference: dict[str, str] = {}
    data: dict[str, dict[str, str]] = {}
    accepted: list[str] = []


def made_of(
    anchor: object, reference: object | None, splits: Iterable[AVVPDataset], functions: Mapping[str, object | None] = {}
) -> MadeOf:
    """Digests of the current code and data.

    Args:
        anchor: the network, or the class or function that makes it.
        reference: the same of the Reference; None for an Anchor alone.
        splits: those whose videos count.
        functions: "adapter" and "loss" that the Anchor was wrapped with, and "maker", the function that made it; None
            for none. Their source files count as the Anchor's.

    Returns:
        The version, and digests by file, and by split and part; `accepted` is empty.
    """
    installed = None
    with contextlib.suppress(PackageNotFoundError):  # on the path without being installed
        installed = version("coleaf-framework")
    own = sources(anchor)
    for what, function in functions.items():
        found = sources(function) if function is not None else {}
        own |= {file if own.get(file) == digest else f"{what} {file}": digest for file, digest in found.items()}
    return MadeOf(
        version=installed,
        anchor=own,
        reference=sources(reference) if reference is not None else {},
        data={split.split: digests_of(split) for split in splits},
    )


def changes(before: MadeOf, now: MadeOf) -> list[str]:
    """The changes between two records, one clause each, such as "the annotations of 'test' differ".

    A network without source, and a test split that either lacks, are passed over.

    Args:
        before: of the run.
        now: of what there is now.

    Returns:
        Clauses, none where nothing has changed.
    """
    found = []
    if before.version and now.version and before.version != now.version:
        found.append(f"coleaf_framework was {before.version} and is {now.version}")
    for kind, old, new in (("anchor", before.anchor, now.anchor), ("reference", before.reference, now.reference)):
        if old and new and old != new:
            files = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            found.append(f"the {kind.capitalize()}'s code has changed ({', '.join(files)})")
    for split in _TRAINED_ON:
        if before.data and now.data and (split in before.data) != (split in now.data):
            found.append(f"the split {split!r} is {'gone' if split in before.data else 'new'}")
    return found + data_changes(before.data, now.data)


def data_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differences in the splits that both have, one clause per split.

    Args:
        before: split -> part -> digest.
        now: the same of the current data.

    Returns:
        Clauses, none where nothing differs.
    """
    found = []
    for split in sorted(before.keys() & now.keys()):
        both = [(part, before[split][part], now[split][part]) for part in before[split] if part in now[split]]
        parts = [part for part, old, new in both if _differ(old, new)]
        what = ["the annotations"] if "annotations" in parts else []
        if features := [part for part in parts if part not in ("annotations", "pseudo-labels")]:
            what.append(f"the features ({', '.join(features)})")
        if "pseudo-labels" in parts:
            what.append("the pseudo-labels")
        if what:
            found.append(f"{' and '.join(what)} of {split!r} differ")
        if not all(_shared_kinds(old, new) for _, old, new in both):
            found.append(f"whether the features of {split!r} are the same cannot be told of a folder and a store")
    return found


def rewritten(before: MadeOf, now: MadeOf) -> list[str]:
    """Splits whose files were rewritten while their digests stayed the same, one clause each.

    Args:
        before: of the run.
        now: of what there is now, on data in the same folder.

    Returns:
        Clauses, none where nothing was rewritten.
    """
    old, new = before.data, now.data
    found = []
    for split in sorted(old.keys() & new.keys()):
        both = [(old[split][part], new[split][part]) for part in old[split].keys() & new[split].keys()]
        if any(_kinds(a).get("written") != _kinds(b).get("written") and not _differ(a, b) for a, b in both):
            found.append(
                f"files of {split!r} were written again, with the same sizes and, in a sample, the same content"
            )
    return found


def _kinds(digest: str) -> dict[str, str]:
    """The digests in a part's text: kind -> digest."""
    return {kind: rest for kind, _, rest in (part.partition(":") for part in digest.split())}


def _shared_kinds(a: str, b: str) -> set[str]:
    """Kinds of content digest that both have."""
    return (_kinds(a).keys() & _kinds(b).keys()) - {"written"}


def _differ(a: str, b: str) -> bool:
    """Whether both have common kinds of content digest, and all of these differ."""
    shared = _shared_kinds(a, b)
    return bool(shared) and all(_kinds(a)[kind] != _kinds(b)[kind] for kind in shared)


def identity(made: MadeOf | None) -> dict[str, Any]:
    """A value that is equal for runs of the same code and data, wherever these are; empty if not recorded."""
    if made is None or made == MadeOf():
        return {}
    data = {
        split: {part: digest.split()[0] for part, digest in parts.items()}
        for split, parts in made.data.items()
        if split in _TRAINED_ON
    }
    return {"version": made.version, "anchor": made.anchor, "reference": made.reference, "data": data}


def record_accepted(before: MadeOf | None, now: MadeOf, sentences: Iterable[str]) -> MadeOf:
    """`now` with the caveats accepted before and those accepted now, each once."""
    earlier = before.accepted if before is not None else []
    return now.model_copy(update={"accepted": list(dict.fromkeys((*earlier, *sentences)))})


def accepted(changed: Sequence[str]) -> list[str]:
    """Caveats of a run that was kept or resumed despite these changes."""
    return [f"kept or resumed with --accept-changes, though {clause}" for clause in changed]
