"""`predictions.json`: the events of every video, for people and programs.

    {"parser": "...", "data": "...", "split": "...",
     "videos": {ID: {"seconds": 10.0, "events": [EVENT, ...], "ground_truth": [EVENT, ...] or null}}}

with EVENT = {"label", "modality", "onset", "offset", "confidence"}, times in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coleaf_framework._config import nearest
from coleaf_framework.metrics import Event
from coleaf_framework.storage import require_file, to_json, write_atomically


@dataclass(frozen=True)
class VideoPrediction:
    """What a model sees and hears in one video.

    Args:
        id: of the video.
        seconds: its length.
        events: predicted, in order of onset.
        ground_truth: annotated events, or None where the split has none.
    """

    id: str
    seconds: float
    events: list[Event]
    ground_truth: list[Event] | None


def write_predictions(path: Path, parser: str, data: str, split: str, videos: Sequence[VideoPrediction]) -> None:
    """Write predictions as JSON, atomically."""

    def plain(video: VideoPrediction) -> dict[str, Any]:
        return {key: value for key, value in asdict(video).items() if key != "id"}

    content = {"parser": parser, "data": data, "split": split, "videos": {v.id: plain(v) for v in videos}}
    text = to_json(content, indent=1)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def read_video(path: Path, video: str) -> tuple[str, VideoPrediction]:
    """One video of a predictions file, with the name of the parser.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no predictions file, or has no such video; names the nearest.
    """
    require_file(path)
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        videos, parser = content["videos"], str(content["parser"])
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{path}: not a file that `coleaf predict` wrote: {problem!r}") from problem
    if video not in videos:
        raise ValueError(f"{path}: no video {video!r} among its {len(videos)}.{nearest(video, videos)}")
    found = videos[video]
    truth = found["ground_truth"]
    return parser, VideoPrediction(
        id=video,
        seconds=found["seconds"],
        events=[Event(**event) for event in found["events"]],
        ground_truth=None if truth is None else [Event(**event) for event in truth],
    )
