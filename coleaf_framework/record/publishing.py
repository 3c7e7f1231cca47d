"""A run's record as it may be published: without the paths of the machine that it was trained on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from coleaf_framework._config import shown
from coleaf_framework._text import without_folders
from coleaf_framework.data.recipe_file import PROJECTION_FILE, projection_of
from coleaf_framework.record.log import LOG, read_log, write_log
from coleaf_framework.record.run_record import RunRecord, read_record
from coleaf_framework.storage import (
    CONFIG,
    DECISION,
    WEIGHTS,
    file_digest,
    read_tensors,
    read_yaml,
    write_atomically,
    write_yaml,
)

logger = logging.getLogger(__name__)


def publishable(record: RunRecord) -> RunRecord:
    """The record with only the names of the folders of data and labels, and of files in accepted caveats.

    It names no trackers and no project of theirs, which are private, and which would follow a run that somebody else
    trains by this record.

    Whoever loads it says where the data are: a name alone is refused as `data.root` of a trained run, while None would
    stand for synthetic data.

    Raises:
        ValueError: another field is an absolute path, which the networks need or somebody wrote there; names it.
    """
    changes: dict[str, Any] = {}
    if record.data is not None:
        paths = {key: Path(x).name for key in ("root", "streams") if (x := getattr(record.data, key)) is not None}
        changes["data"] = record.data.model_copy(update=paths)
    if record.labels is not None:
        sources = tuple(x.model_copy(update={"path": Path(x.path).name}) for x in record.labels.sources)
        changes["labels"] = record.labels.model_copy(update={"sources": sources})
    if record.trainer is not None:
        changes["trainer"] = record.trainer.model_copy(update={"trackers": (), "project": None})
    if record.made_of is not None:
        accepted = [without_folders(sentence) for sentence in record.made_of.accepted]
        changes["made_of"] = record.made_of.model_copy(update={"accepted": accepted})
    published = record.changed(**changes)
    classes = set(published.model.class_names)
    for field, text in _texts(published.dump(), ""):
        if text not in classes and without_folders(text) != text:
            raise ValueError(
                f"{field} is {shown(text)}: a path of this machine, which is not published and would not be found "
                "elsewhere: give the network what is in the file instead, or a name relative to where it is run"
            )
    return published


def _texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """Every text among plain values, with the keys that lead to it."""
    if isinstance(value, str):
        yield field, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, x in pairs:
        yield from _texts(key, field)
        yield from _texts(x, f"{field}.{key}".removeprefix("."))


def write_published(run: Path, folder: Path) -> RunRecord:
    """Write those files of a run that a repository holds: all that loading it and its caveats need, and no more.

    Args:
        run: its folder.
        folder: where to write them.

    Returns:
        The record as it is published.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or holds a path of this machine; names it.
    """
    record = read_record(run)
    try:
        published = publishable(record)
    except ValueError as problem:
        raise ValueError(f"{run / CONFIG}: {problem}") from None
    read_tensors(run / WEIGHTS)  # damaged weights are noticed here, and not by those who load them
    copied = {WEIGHTS: run / WEIGHTS}
    if record.features is not None and (projection := projection_of(run, record.features)) is not None:
        copied[PROJECTION_FILE] = projection
    published.write(folder)
    for name, source in copied.items():
        write_atomically(folder / name, partial(shutil.copyfile, source))
    if log := read_log(run / LOG):
        write_log(folder / LOG, log)
    if (run / DECISION).is_file():
        _write_decision(run, folder)
    return published


def _write_decision(run: Path, folder: Path) -> None:
    """Write the chosen thresholds, unless they were chosen for other weights."""
    path = run / DECISION
    content = read_yaml(path)
    chosen = content.get("chosen")
    if isinstance(chosen, dict) and chosen.get("weights") not in (None, file_digest(run / WEIGHTS)):
        logger.warning("%s: not published: its thresholds were chosen for other weights than the run's", path)
        return
    for field, text in _texts(content, ""):
        if without_folders(text) != text and ".classes" not in field:
            raise ValueError(f"{path}: {field} is {shown(text)}: a path of this machine, which is not published")
    write_yaml(folder / DECISION, content)
