"""The player: one self-contained HTML page on which parsed videos play beside the timelines of their events."""

from __future__ import annotations

import base64
import html
import json
import os
import string
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor

from coleaf_framework._text import one_line
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.metrics.decision import ModalityThresholds
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.results.parsed_video import ParsedVideo
from coleaf_framework.storage import require_file

LARGEST = 300_000_000
"""Maximal size of a page in bytes; browsers hold no text that is much longer."""
LARGEST_EMBEDDED = 200_000_000
"""Maximal size in bytes of a media file that is embedded."""
STEPS = 100
"""The sliders' thresholds are i / STEPS, for i from 0 to STEPS."""
PERCEIVED = {"audible-only": "heard", "visible-only": "seen", "audible-visible": "both"}
"""Types of events in the words of pages and terminals."""

_SCRIPTS = ("events.js", "exports.js", "player.js", "start.js")
_AUDIO = {"aac": "aac", "flac": "flac", "m4a": "mp4", "mp3": "mpeg", "oga": "ogg", "ogg": "ogg", "opus": "ogg",
          "wav": "wav", "weba": "webm"}  # fmt: skip
_VIDEO = {"3gp": "3gpp", "avi": "x-msvideo", "m4v": "mp4", "mkv": "x-matroska", "mov": "quicktime", "mp4": "mp4",
          "mpeg": "mpeg", "mpg": "mpeg", "ogv": "ogg", "ts": "mp2t", "webm": "webm"}  # fmt: skip
_TYPES = {**{k: f"audio/{v}" for k, v in _AUDIO.items()}, **{k: f"video/{v}" for k, v in _VIDEO.items()}}


def make_player(title: str, videos: Sequence[ParsedVideo], sources: Mapping[str, str]) -> str:
    """The page as HTML text. It computes events from the embedded probabilities as `metrics` does, to the last digit.

    Args:
        title: Heading of the page.
        videos: The parsed files, at least one, with different ids.
        sources: Id of a video -> URL of its media: `linked`, `embedded`, or one on the server that serves the page.

    Returns:
        HTML with its own style, scripts and data, at most `LARGEST` bytes in UTF-8.

    Raises:
        ValueError: there are no videos, two have the same id, one has no source, or the page would be larger than
            `LARGEST`.
    """
    ids = [video.id for video in videos]
    if not ids:
        raise ValueError("a page needs at least one parsed video, and there are none")
    for name in ids:
        if ids.count(name) > 1:
            raise ValueError(f"two videos have the id {name!r}; a page needs different ones")
        if name not in sources:
            raise ValueError(f"sources has no URL for video {name!r}")
    parts = resources.files(__package__)

    def part(name: str) -> str:
        return (parts / name).read_text(encoding="utf-8")

    page = string.Template(part("player.html")).substitute(
        title=_escaped(title),
        tables="\n".join(_static_table(video) for video in videos),
        data=json.dumps([_data(v, sources[v.id]) for v in videos], allow_nan=False).replace("<", "\\u003c"),
        css=part("player.css"),
        js="\n".join(map(part, _SCRIPTS)),
    )
    size = len(page.encode())
    if size > LARGEST:
        raise ValueError(
            f"the page would have {size / 1e6:.1f} MB, at most {LARGEST / 1e6:.0f} are allowed: "
            "name fewer videos, or link them instead of embedding them"
        )
    return page


def embedded(path: Path) -> str:
    """A media file as a data: URI.

    The MIME type follows from the suffix; it is application/octet-stream, of which browsers look at the content, where
    the suffix is unknown.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is larger than `LARGEST_EMBEDDED`.
    """
    require_file(path)
    size = path.stat().st_size
    if size > LARGEST_EMBEDDED:
        raise ValueError(
            f"{path}: {size / 1e6:.1f} MB are too much to embed in a page, at most {LARGEST_EMBEDDED / 1e6:.0f} are "
            "allowed: link the file instead"
        )
    kind = _TYPES.get(path.suffix[1:].lower(), "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def linked(path: Path, page: Path) -> str:
    """The URL of a media file relative to the folder of the page that links it, percent-encoded.

    Args:
        path: The media file.
        page: The page's own file, which need not exist.

    Returns:
        A relative URL, without a scheme; a file:// URL where the two are on different drives of Windows.

    Example:
        >>> linked(Path("clips/a clip.mp4"), Path("pages/page.html"))
        '../clips/a%20clip.mp4'
    """
    try:
        relative = Path(os.path.relpath(path, page.parent))
    except ValueError:  # on another drive of Windows
        return path.absolute().as_uri()
    return quote(os.fsencode(relative.as_posix()))


def _escaped(text: str) -> str:
    return html.escape(one_line(text))


def _static_table(video: ParsedVideo) -> str:
    """The events at the own thresholds, for readers without JavaScript."""
    rows = "".join(
        f"<tr><td>{_escaped(e.label)}</td><td>{PERCEIVED[e.modality]}</td><td>{e.onset}</td><td>{e.offset}</td>"
        f"<td>{e.confidence}</td></tr>"
        for e in video.events()
    )
    notes = "".join(f"<p>{_escaped(note)}</p>" for note in video.notes)
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("class", "heard or seen", "from, s", "to, s", "confidence")
    )
    return (
        f"{notes}<table><caption>{_escaped(video.id)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows or '<tr><td colspan=5>no events</td></tr>'}</tbody></table>"
    )


def _data(video: ParsedVideo, source: str) -> dict[str, Any]:
    """What the page's script reads of a video; tensors as zlib-compressed bytes in base64."""
    names = sorted(set(video.classes))
    return {
        "id": video.id,
        "file": video.file.name,
        "source": source,
        "parser": video.parser,
        "classes": video.classes,
        "order": [names.index(name) for name in video.classes],  # Python's: JavaScript sorts by UTF-16 units
        "segment": video.segment_seconds,
        "segments": len(video.decided),
        "seconds": video.seconds,
        "absent": None if video.absent is None else MODALITIES.index(video.absent),
        "notes": video.notes,
        "events": [asdict(event) for event in video.events()],
        "probs": _packed(video.segment_probs),
        "gates": _packed(video.gate_probs),
        "own": _own(video.decision),
        "start": _sliders(video.decision),
    }


def _thresholds(decision: DecisionConfig) -> dict[str, float | tuple[float, ...]]:
    """The thresholds by the names of the page's sliders."""
    gate = decision.gate_threshold
    audio, visual = (gate.audio, gate.visual) if isinstance(gate, ModalityThresholds) else (gate, gate)
    return {"segment": decision.segment_threshold, "audio": audio, "visual": visual}


def _own(decision: DecisionConfig) -> dict[str, str]:
    """The thresholds in words."""
    return {
        name: "one per class" if isinstance(value, tuple) else str(value)
        for name, value in _thresholds(decision).items()
    } | {"gate": f"{decision.gate} probabilities"}


def _sliders(decision: DecisionConfig) -> dict[str, int]:
    """Initial positions of the sliders: the thresholds rounded to a step; of thresholds per class, their mean."""
    return {
        name: round(STEPS * (sum(value) / len(value) if isinstance(value, tuple) else value))
        for name, value in _thresholds(decision).items()
    }


def _packed(x: Tensor) -> str:
    values = x.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4")
    return base64.b64encode(zlib.compress(values.tobytes(), 6)).decode()
