"""The answers as OpenAPI describes them. Nothing is checked by them: `results.events_file` writes the events."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class EventAnswer(BaseModel):
    """An event."""

    label: str = Field(description="class")
    modality: Literal["audible-only", "visible-only", "audible-visible"]
    onset: float = Field(description="seconds from the video's start")
    offset: float = Field(description="seconds from the video's start")
    confidence: float = Field(description="mean segment probability over the event, in [0,1]")


class VideoAnswer(BaseModel):
    """The events of a video."""

    seconds: float
    events: list[EventAnswer]
    ground_truth: None = Field(description="none is known")


class EventsAnswer(BaseModel):
    """The events of the uploaded video; the same form as `coleaf parse` and `coleaf predict` write."""

    parser: str = Field(description="name of the network")
    data: str
    split: str
    notes: list[str] = Field(description="sentences to be shown with the events")
    videos: dict[str, VideoAnswer] = Field(
        description="the id that `coleaf parse` gives the uploaded file -> its events"
    )


class HealthAnswer(BaseModel):
    """The service's state."""

    status: Literal["ready", "starting"] = Field(description="of the worker")
    parser: str = Field(description="network and recipe of features")
    inside: int = Field(description="requests that are parsed or wait")


class ErrorAnswer(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="one sentence")


_WHY = {
    400: "the form is malformed",
    403: "a page of another origin sent it",
    408: "the upload took too long",
    413: "the video is too large",
    415: "no form, or no media file that is taken",
    422: "no file or another field in the form, a damaged video, or one that is too long",
    429: "the queue is full; Retry-After says when to come again",
    500: "a fault of the service, whose log tells more",
    503: "the worker ended, most likely for lack of memory",
    504: "parsing took too long",
    507: "the video needs more memory or disk than there is",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": why} for status, why in _WHY.items()
}
HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}}, "description": "the page"}}
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["video"],
                    "properties": {"video": {"type": "string", "format": "binary", "description": "media file"}},
                }
            }
        },
    }
}
