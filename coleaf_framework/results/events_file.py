"""Read and write `predictions.json`: the events of every video.

    {"parser": "...", "data": "...", "split": "...", "notes": [CAVEAT, ...],
     "videos": {ID: {"seconds": 10.0, "events": [EVENT, ...], "ground_truth": [EVENT, ...] or null}}}

with EVENT = {"label", "modality", "onset", "offset", "confidence"}, times in seconds, and CAVEAT a sentence.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from coleaf_framework._config import nearest
from coleaf_framework.metrics import Event
from coleaf_framework.storage import require_file, to_json, write_atomically

MEDIA_FILES = "media files"
"""In place of a data set's name, in a file of `coleaf parse`; its split means nothing."""


@dataclass(frozen=True)
class VideoEvents:
    """Predicted and annotated events of one video.

    Args:
        id: of the video.
        seconds: its length.
        events: predicted events, in order of onset.
        ground_truth: annotated events; None where the split has none.
    """

    id: str
    seconds: float
    events: list[Event]
    ground_truth: list[Event] | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Event(_Strict):
    """An event in the file."""

    label: str
    modality: Literal["audible-only", "visible-only", "audible-visible"]
    onset: float = Field(ge=0)
    offset: float
    confidence: float | None = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _has_a_length(self) -> _Event:
        if self.offset <= self.onset:
            raise ValueError(f"offset {self.offset} is not after onset {self.onset}")
        return self


class _Video(_Strict):
    """A video in the file."""

    seconds: float = Field(gt=0, le=1e6)
    events: list[_Event]
    ground_truth: list[_Event] | None

    @model_validator(mode="after")
    def _holds_its_events(self) -> _Video:
        for event in (*self.events, *(self.ground_truth or ())):
            if event.offset > self.seconds:
                raise ValueError(f"an event ends at {event.offset}, after the video's {self.seconds} seconds")
        return self


class _File(BaseModel):
    """The whole file, with unchecked videos; only the requested video is checked."""

    model_config = ConfigDict(strict=True)

    parser: str
    videos: dict[str, Any]


_Checked = TypeVar("_Checked", _File, _Video)


def events_text(parser: str, data: str, split: str, videos: Sequence[VideoEvents], notes: Sequence[str] = ()) -> str:
    """The events of every video as JSON; the arguments are those of `write_events`."""

    def plain(video: VideoEvents) -> dict[str, Any]:
        return {key: value for key, value in asdict(video).items() if key != "id"}

    content: dict[str, Any] = {"parser": parser, "data": data, "split": split, "notes": list(notes)}
    content["videos"] = {v.id: plain(v) for v in videos}
    return to_json(content, indent=1)


def write_events(
    path: Path, parser: str, data: str, split: str, videos: Sequence[VideoEvents], notes: Sequence[str] = ()
) -> None:
    """Write the events of every video as JSON, atomically.

    Args:
        path: the file to write.
        parser: name of the model.
        data: name of the data set.
        split: name of the split.
        videos: their events.
        notes: the caveats.
    """
    text = events_text(parser, data, split, videos, notes)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def read_video_events(path: Path, video: str) -> tuple[str, VideoEvents]:
    """The name of the model and the events of one video, from a `predictions.json`.

    Args:
        path: the file.
        video: id of the video.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or has no such video; names the closest match.
    """
    require_file(path)
    what = f"{path}: not a file that `coleaf predict` wrote"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ValueError(f"{what}: {problem}") from problem
    except RecursionError:
        raise ValueError(f"{what}: nested too deeply") from None
    file = _checked(_File, content, what)
    if video not in file.videos:
        raise ValueError(f"{path}: no video {video!r} among its {len(file.videos)}.{nearest(video, file.videos)}")
    checked = _checked(_Video, file.videos[video], f"{what}: video {video!r}")

    def as_events(raw: list[_Event]) -> list[Event]:
        return [Event(**dict(event)) for event in raw]

    truth = checked.ground_truth
    return file.parser, VideoEvents(
        video, checked.seconds, as_events(checked.events), None if truth is None else as_events(truth)
    )


def _checked(kind: type[_Checked], content: Any, what: str) -> _Checked:
    try:
        return kind.model_validate(content)
    except ValidationError as problem:
        error = problem.errors()[0]
        where = ".".join(map(str, error["loc"]))
        message = "expected a mapping" if error["type"] == "model_type" else error["msg"].removeprefix("Value error, ")
        given = "" if error["type"] in ("missing", "value_error") else f", got {reprlib.repr(error['input'])}"
        raise ValueError(f"{what}: {where + ': ' if where else ''}{message}{given}") from None
