"""What a run is made of: code and data, as digests, so that it can be told when either has changed since.

As plain values, in a run's config.yaml:

    version: of this package
    anchor, reference: source file -> digest (`sources.py`)
    data: split -> part ("annotations" or a stream) -> digests, KIND:DIGEST each (`Features.digests`)
    accepted: sentences on what was gone on with all the same, to be said beside every score
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import digests_of
from coleaf_framework.record.sources import sources

NOT_RECORDED = "it was begun before code and data were recorded, so it cannot be told whether they are the same now"
_TRAINED_ON = ("train", "val")


def made_of(anchor: object, reference: object | None, splits: Iterable[AVVPDataset]) -> dict[str, Any]:
    """What a run of these is made of.

    Args:
        anchor, reference: networks, or the classes or functions that make them.
        splits: those whose videos count.
    """
    found: dict[str, Any] = {"anchor": sources(anchor)}
    with contextlib.suppress(PackageNotFoundError):  # on the path without being installed
        found["version"] = version("coleaf-framework")
    if reference is not None:
        found["reference"] = sources(reference)
    return found | {"data": {split.split: digests_of(split) for split in splits}}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is another now; one clause each, such as "the annotations of 'test' differ".

    A network without source, and a test split that either lacks, are passed over.

    Args:
        before, now: from `made_of`.
    """
    found = []
    if before.get("version") and now.get("version") and before["version"] != now["version"]:
        found.append(f"coleaf_framework was {before['version']} and is {now['version']}")
    for kind in ("anchor", "reference"):
        old, new = before.get(kind), now.get(kind)
        if old and new and old != new:
            files = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            found.append(f"the {kind.capitalize()}'s code has changed ({', '.join(files)})")
    old_data, new_data = before.get("data") or {}, now.get("data") or {}
    for split in _TRAINED_ON:
        if old_data and new_data and (split in old_data) != (split in new_data):
            found.append(f"the split {split!r} is {'gone' if split in old_data else 'new'}")
    return found + data_changes(old_data, new_data)


def data_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in the splits that both have, one clause a split.

    Args:
        before, now: split -> part -> digest.
    """
    found = []
    for split in sorted(before.keys() & now.keys()):
        both = [(part, before[split][part], now[split][part]) for part in before[split] if part in now[split]]
        parts = [part for part, old, new in both if _differ(old, new)]
        what = ["the annotations"] if "annotations" in parts else []
        if features := [part for part in parts if part != "annotations"]:
            what.append(f"the features ({', '.join(features)})")
        if what:
            found.append(f"{' and '.join(what)} of {split!r} differ")
        if not all(_shared_kinds(old, new) for _, old, new in both):
            found.append(f"whether the features of {split!r} are the same cannot be told of a folder and a store")
    return found


def rewritten(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Splits whose files were written again, though all that a digest covers is the same: one clause each.

    Args:
        before, now: from `made_of`, on data in the same folder.
    """
    old, new = before.get("data") or {}, now.get("data") or {}
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
    """The kinds of content that both tell."""
    return (_kinds(a).keys() & _kinds(b).keys()) - {"written"}


def _differ(a: str, b: str) -> bool:
    """Whether no kind of content that both tell is the same."""
    shared = _shared_kinds(a, b)
    return bool(shared) and all(_kinds(a)[kind] != _kinds(b)[kind] for kind in shared)


def identity(made: Mapping[str, Any] | None) -> dict[str, Any]:
    """What two runs have in common that are of the same code and data, wherever these lie; empty where not recorded."""
    if not made:
        return {}
    data = {
        split: {part: digest.split()[0] for part, digest in parts.items()}
        for split, parts in (made.get("data") or {}).items()
        if split in _TRAINED_ON
    }
    return {key: made.get(key) for key in ("version", "anchor", "reference")} | {"data": data}


def record_accepted(before: Mapping[str, Any], now: Mapping[str, Any], sentences: Iterable[str]) -> dict[str, Any]:
    """`now`, with the sentences that had been accepted `before` and those that are now."""
    told = [*(before.get("accepted") or ()), *sentences]
    return dict(now) | ({"accepted": list(dict.fromkeys(told))} if told else {})


def accepted(changed: Sequence[str]) -> list[str]:
    """What must be said of a run that was kept or gone on with though this had changed."""
    return [f"kept or resumed with --accept-changes, though {clause}" for clause in changed]
