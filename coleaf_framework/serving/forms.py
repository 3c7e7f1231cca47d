"""What the service answers of a parsed video: JSON or a page."""

from __future__ import annotations

from pathlib import Path

from coleaf_framework.report.player import embedded, make_player
from coleaf_framework.results.events_file import MEDIA_FILES, events_text
from coleaf_framework.results.parsed_video import ParsedVideo


def as_events(video: ParsedVideo) -> str:
    """The JSON that `coleaf parse` writes."""
    return events_text(video.parser, MEDIA_FILES, "test", [video.as_video_events()], video.notes)


def as_page(video: ParsedVideo, path: Path) -> str:
    """The page that `coleaf parse --html --embed` writes.

    Args:
        video: The parsed video.
        path: The media file.
    """
    return make_player(video.file.name, [video], {video.id: embedded(path)})
