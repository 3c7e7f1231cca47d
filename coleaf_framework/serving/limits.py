"""What a service takes before it refuses."""

from __future__ import annotations

from pydantic import Field

from coleaf_framework._config import StrictConfig

MEGA = 1_000_000


class Limits(StrictConfig):
    """What a service takes before it refuses."""

    upload_megabytes: float = Field(100, gt=0, description="of a video; 1 MB is 1,000,000 bytes")
    upload_seconds: float = Field(120, gt=0, description="that an upload may take")
    page_megabytes: float = Field(32, gt=0, le=200, description="of a video that a page embeds")
    video_seconds: float = Field(600, gt=0, description="length of a video")
    parse_seconds: float = Field(300, gt=0, description="that the worker may take for a video")
    waiting: int = Field(8, ge=0, description="requests that wait for the worker; further ones are refused")
    memory_megabytes: int = Field(4096, gt=0, description="data of the worker process")

    def told(self) -> str:
        """The limits in a line."""
        return (
            f"videos of at most {self.upload_megabytes:g} MB (pages: {self.page_megabytes:g} MB) and "
            f"{self.video_seconds:g} s, {self.upload_seconds:g} s an upload, {self.parse_seconds:g} s a video, "
            f"{self.waiting} waiting, {self.memory_megabytes} MB of memory for the worker"
        )


class Refusal(Exception):
    """A request that is answered by an error.

    Args:
        status: HTTP status.
        sentence: What the client is told.
        headers: Further response headers.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}
