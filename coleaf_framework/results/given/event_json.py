"""Files of events as JSON, as `coleaf predict` and `coleaf parse` write them; only these keys are required:

{"videos": {ID: {"events": [{"label", "modality", "onset", "offset"}, ...]}}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from coleaf_framework._config import StrictConfig, shown, validated
from coleaf_framework.results.events_file import MEDIA_FILES
from coleaf_framework.results.given.events import GivenEvent, GivenEvents, modalities_at


class EventEntry(StrictConfig):
    """An event in the file."""

    model_config = ConfigDict(strict=True)

    label: str = Field(min_length=1)
    modality: str
    onset: float
    offset: float
    confidence: float | None = Field(None, ge=0, le=1)


class VideoEntry(StrictConfig):
    """A video in the file."""

    seconds: float | None = Field(None, gt=0, strict=True)
    events: tuple[EventEntry, ...]
    ground_truth: tuple[EventEntry, ...] | None = None


class _File(BaseModel):
    """The whole file; further keys, such as a model's version, are ignored."""

    model_config = ConfigDict(strict=True)

    parser: str | None = None
    data: str | None = None
    split: str | None = None
    notes: list[str] = []
    videos: dict[str, Any]


def events_of_json(path: Path, text: str) -> GivenEvents:
    """The events of a JSON file.

    Raises:
        ValueError: it is no JSON, a key stands in it twice, or a field is wrong; names the file, the video and the
            field.
    """
    try:
        content = json.loads(text, object_pairs_hook=_each_once)
    except ValueError as problem:
        raise ValueError(f"{path}: not JSON: {problem}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    if not isinstance(content, dict) or "videos" not in content:
        found = f"the keys {shown(sorted(content))}" if isinstance(content, dict) else shown(content)
        raise ValueError(
            f'{path}: expected {{"videos": {{ID: {{"events": [{{"label", "modality", "onset", "offset"}}]}}}}}}, '
            f"found {found}"
        )
    file = validated(_File, content, str(path))
    videos: dict[str, list[GivenEvent]] = {}
    seconds, truth = {}, {}
    for name, raw in file.videos.items():
        where = f"{path}: video {name!r}"
        video = validated(VideoEntry, raw, where)
        videos[name] = _events(where, "event", video.events)
        if video.seconds is not None:
            seconds[name] = video.seconds
        if video.ground_truth is not None:
            truth[name] = _events(where, "ground truth", video.ground_truth)
    of_files = file.data == MEDIA_FILES  # `coleaf parse` knows of no split
    return GivenEvents(
        str(path), (file.parser or "").strip() or path.stem, "JSON of events", videos, dict.fromkeys(videos, f"{path}"),
        seconds, truth, None if of_files else file.data, None if of_files else file.split, tuple(file.notes),
        in_segments=True,
    )  # fmt: skip


def _events(where: str, what: str, events: Iterable[EventEntry]) -> list[GivenEvent]:
    found = []
    for i, event in enumerate(events):
        at = f"{where}, {what} {i}"
        modalities, only = modalities_at(at, event.modality)
        found.append(GivenEvent(at, event.label, modalities, event.onset, event.offset, only))
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file whose keys must differ, since Python would silently keep the last of two equal ones."""
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return content
