"""The content of a file of events, before it is matched to a data set."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from coleaf_framework._config import nearest
from coleaf_framework._text import counted
from coleaf_framework.protocol import MODALITIES

SPELLINGS: Mapping[str, tuple[int, ...]] = {
    "audio": (0,),
    "visual": (1,),
    "audio-visual": (0, 1),
    "audible-only": (0,),
    "visible-only": (1,),
    "audible-visible": (0, 1),
}
"""How a file may spell a modality -> the indices of `protocol.MODALITIES` that the event marks."""
KINDS = ("audible", "visible")  # events of each of `protocol.MODALITIES`, in words
_MEDIA = re.compile(r"\.(wav|flac|mp3|ogg|m4a|mp4|mkv|webm|avi|mov)$", re.IGNORECASE)


@dataclass(frozen=True)
class GivenEvent:
    """One event of a file.

    Args:
        where: its place, as FILE:LINE or FILE and video, for messages.
        label: class name, as the file spells it.
        modalities: indices of `protocol.MODALITIES` that it marks, some of (0,), (1,) and (0, 1).
        onset: in seconds from the video's start, at least 0.
        offset: in seconds, above `onset`.
        only: whether the file says that it is heard alone, or seen alone.

    Raises:
        ValueError: the times are none; names the place.
    """

    where: str
    label: str
    modalities: tuple[int, ...]
    onset: float
    offset: float
    only: bool = False

    def __post_init__(self) -> None:
        for name, value in (("onset", self.onset), ("offset", self.offset)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"{self.where}: {name} is {value:g}, where seconds from the video's start were expected"
                )
        if self.offset <= self.onset:
            raise ValueError(f"{self.where}: offset {self.offset:g} is not after onset {self.onset:g}")


@dataclass(frozen=True)
class GivenEvents:
    """The content of a file, with videos as the file names them.

    Args:
        source: the file, or the two files, for messages.
        name: what tables call the parser.
        form: what kind of file it is, in words.
        videos: name of a video -> its events; a video without events is named where the file says so.
        where: name of a video -> where the file names it first.
        seconds: name of a video -> its length, where the file has it.
        truth: name of a video -> the ground truth that the file holds.
        data: name of the data set that the file gives; None if it gives none.
        split: name of the split that the file gives.
        notes: the caveats that the file holds.
        in_segments: whether times are the number of segments times their length, as `coleaf predict` writes them;
            False for the time of the media.
        untold: of two files, name of a video that only one names -> "audible" or "visible", the kind of events in the
            other; see `joined`.
    """

    source: str
    name: str
    form: str
    videos: Mapping[str, list[GivenEvent]]
    where: Mapping[str, str]
    seconds: Mapping[str, float] = field(default_factory=dict)
    truth: Mapping[str, list[GivenEvent]] = field(default_factory=dict)
    data: str | None = None
    split: str | None = None
    notes: tuple[str, ...] = ()
    in_segments: bool = False
    untold: Mapping[str, str] = field(default_factory=dict)

    @property
    def read_as(self) -> str:
        """A sentence that names the form that the file was read as."""
        events = sum(map(len, self.videos.values()))
        return f"{self.source}: read as {self.form}, {counted(events, 'event')} in {counted(len(self.videos), 'video')}"


def modalities_at(where: str, spelt: str) -> tuple[tuple[int, ...], bool]:
    """The modalities that a file's word means, and whether it means one alone.

    Raises:
        ValueError: it is none of `SPELLINGS`; names the place and the nearest.
    """
    if spelt not in SPELLINGS:
        raise ValueError(
            f"{where}: modality {spelt!r} is none of {', '.join(SPELLINGS)}.{nearest(str(spelt), SPELLINGS)}"
        )
    return SPELLINGS[spelt], spelt.endswith("-only")


def without_ending(name: str) -> str:
    """The name of a video without the ending of a media file."""
    return _MEDIA.sub("", name)


def joined(audio: GivenEvents, visual: GivenEvents) -> GivenEvents:
    """One parser's answers from a file of its audible and a file of its visible events.

    `v.wav` in the one and `v.mp4` in the other are one video, if neither file has two names of it. A video may be in
    one of the files alone: it then has no events in the other modality.
    """
    heard = {without_ending(name): name for name in audio.videos}
    named = Counter(map(without_ending, visual.videos))
    seen = {}
    for name, events in visual.videos.items():
        stem = without_ending(name)
        seen[name if name in audio.videos or named[stem] > 1 else heard.get(stem, name)] = events
    names = dict.fromkeys((*audio.videos, *seen))
    alone = ((KINDS[1], audio.videos, seen), (KINDS[0], seen, audio.videos))
    return replace(
        audio,
        source=f"{audio.source} and {visual.source}",
        name=f"{audio.name} + {visual.name}",
        videos={name: [*audio.videos.get(name, ()), *seen.get(name, ())] for name in names},
        where={**visual.where, **audio.where},
        untold={name: kind for kind, there, other in alone for name in there if name not in other},
    )


def of_one_modality(given: GivenEvents, modality: int) -> GivenEvents:
    """A file of one modality without one of the other; the caveat says which columns are left."""
    kind, other = KINDS[modality], KINDS[1 - modality]
    column = "AV"[modality]
    told = (
        f"only its {kind} events were given ({MODALITIES[modality]}), so that nothing counts as {other}: the columns "
        f"{column} alone say something of it"
    )
    return replace(given, notes=(*given.notes, told))
