"""Match the video and class names of a file of events to those of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from coleaf_framework._config import nearest, shown
from coleaf_framework.data.annotation_files import video_id
from coleaf_framework.results.given.events import GivenEvents, without_ending
from coleaf_framework.results.given.truth import SplitTruth
from coleaf_framework.storage import read_yaml

_MOST_NAMED = 5


def videos_of(
    given: GivenEvents, truth: SplitTruth, missing_as_empty: bool = False, skip_unknown: bool = False
) -> tuple[dict[int, str], list[str]]:
    """Which video of a split each name of a file means.

    A name is a video's id, its name in the annotations (LLP's `-0BKyt8iZ1I_20_30`), or one of these with the ending of
    a media file. Other times than the annotations' are another clip.

    Returns:
        Row of the video -> its name in the file; and the caveats of what was left out or counted as empty.

    Raises:
        ValueError: a name is of no video, two names are of one, or a video is missing.
    """
    rows = {name: i for i, name in enumerate(truth.ids)}
    full = {truth.filenames.get(name, name): i for name, i in rows.items()}
    named: dict[int, str] = {}
    unknown = []
    for name in given.videos:
        row = _row_of(name, rows, full, truth)
        if row is None:
            unknown.append(name)
            continue
        if row in named:
            raise ValueError(
                f"{given.where[name]}: video {truth.ids[row]!r} has two names in the file, {named[row]!r} and {name!r}"
            )
        named[row] = name
    notes = _strangers(given, truth, unknown, skip_unknown)
    for row, name in named.items():
        lasts = given.seconds.get(name)
        step = truth.segment_seconds * 1.001
        # `coleaf predict` writes the length of the segments, which may end a little before the video.
        of_segments = int(truth.mask[row].sum()) * truth.segment_seconds
        if lasts is not None and not of_segments - step <= lasts <= truth.seconds[row] + step:
            own = f"{truth.seconds[row]:g} s in {truth.where}"
            raise ValueError(f"{given.where[name]}: video {name!r} lasts {lasts:g} s there, and {own}")
    missing = [name for i, name in enumerate(truth.ids) if i not in named]
    if missing and not missing_as_empty:
        raise ValueError(
            f"{given.source}: {len(missing)} of the {len(truth.ids)} videos of {truth.where} are not in it: "
            f"{_first(missing)}. A video without events may be named (JSON: an empty list; DCASE: a row with nothing "
            "but the filename); --missing-as-empty counts those that are not as without events"
        )
    if missing:
        notes.append(f"{len(missing)} of {len(truth.ids)} videos are not in its file and count as without events")
    return named, notes


def _row_of(name: str, rows: Mapping[str, int], full: Mapping[str, int], truth: SplitTruth) -> int | None:
    for spelt in dict.fromkeys((name, without_ending(name))):
        if spelt in rows:
            return rows[spelt]
        if spelt in full:
            return full[spelt]
        try:
            row = rows.get(video_id(spelt))
        except ValueError:
            continue
        if row is not None and truth.ids[row] not in truth.filenames:
            return row
    return None


def _strangers(given: GivenEvents, truth: SplitTruth, unknown: list[str], skip: bool) -> list[str]:
    """The caveat of videos that the split does not have, or an error."""
    if not unknown:
        return []
    if skip:
        return [f"{len(unknown)} videos of its file are not in {truth.where} and are left out, such as {unknown[0]!r}"]
    first = unknown[0]
    known = [*truth.ids, *truth.filenames.values()]
    other = "" if len(unknown) == 1 else f", nor {len(unknown) - 1} more"
    raise ValueError(
        f"{given.where[first]}: video {first!r} is not in {truth.where}{other}.{nearest(first, known)} "
        "--skip-unknown-videos leaves out what is not"
    )


def class_names_of(
    given: GivenEvents, truth: SplitTruth, class_map: Mapping[str, str | None]
) -> tuple[dict[str, str | None], list[str]]:
    """The class of the data that each class name of a file means, None where its events are left out.

    Nothing is guessed: a name is one of the data's, or is in `class_map`.

    Returns:
        Class name of the file -> class of the data; and the caveats of what was left out.

    Raises:
        ValueError: names are of no class; names the places, and near names.
    """
    labels: dict[str, str] = {}
    counts: dict[str, int] = {}
    for events in given.videos.values():
        for event in events:
            labels.setdefault(event.label, event.where)
            counts[event.label] = counts.get(event.label, 0) + 1
    found = {name: class_map.get(name, name) for name in labels}
    unknown = [name for name, known in found.items() if known is not None and known not in truth.classes]
    if unknown:
        each = "; ".join(f"{name!r} ({labels[name]}){nearest(name, truth.classes)}" for name in unknown[:_MOST_NAMED])
        more = f"; and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        raise ValueError(
            f"{given.source}: {len(unknown)} class names are none of the {len(truth.classes)} classes of {truth.data}: "
            f"{each}{more}. --class-map FILE says what such names mean"
        )
    notes = []
    left = [name for name, known in found.items() if known is None]
    if left:
        events_left = sum(counts[name] for name in left)
        notes.append(f"{events_left} events of {len(left)} classes are left out by its class map: {_first(left)}")
    renamed = [name for name, known in found.items() if known not in (None, name)]
    if renamed:
        notes.append(f"{len(renamed)} class names of its file were read by a class map, such as {renamed[0]!r}")
    return found, notes


def read_class_map(path: Path, classes: tuple[str, ...]) -> dict[str, str | None]:
    """Read a YAML file that maps foreign class names: `name: class`, or `name: null` to leave its events out.

    Args:
        path: the file.
        classes: those of the data.

    Raises:
        FileNotFoundError, ValueError: there is no such file, a name is a class of the data itself, or what it means is
            no class; names the file and the name.
    """
    mapping: dict[str, str | None] = {}
    for name, known in read_yaml(path).items():
        if not isinstance(name, str):
            raise ValueError(f"{path}: the name {name!r} is no text: put it in quotes")
        if name in classes:
            raise ValueError(f"{path}: {name!r} is a class of the data itself, which keeps its meaning")
        if known is not None and known not in classes:
            near = nearest(known, classes) if isinstance(known, str) else ""
            raise ValueError(f"{path}: {name!r} means {shown(known)}, which is no class of the data.{near}")
        mapping[name] = known
    return mapping


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(repr, names[:_MOST_NAMED])) + more
