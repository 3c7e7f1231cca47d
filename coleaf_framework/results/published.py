"""F-scores published for LLP's test split, with their sources, to be shown beside measured ones.

They are from Tables 6 and 7 of CoLeaF (ECCV 2024), without its "selected thresholds", and from the README files of two
repositories where these print other numbers for the same system. Each is one number, without an interval; the systems'
decision rules differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coleaf_framework.metrics import KEYS

TEST_VIDEOS = 1200
"""Number of videos in LLP's test split."""
SOURCES = {
    "T6": "CoLeaF, Table 6",
    "T7": "CoLeaF, Table 7: trained with labels from CLIP and CLAP too",
    "DHHN": "the README of DHHN's repository",
    "JoMoLD": "the README of JoMoLD's repository",
}
"""Abbreviation of a source, as it stands behind a system's name -> what it is."""
# The columns of `COLUMNS`, segment level and then event level; "-" where nothing is published.
_TABLE = """
T6     AVE        47.2 -    37.1 -    35.4 39.9 -    41.6 -    40.4 -    34.7 -    31.6 35.5 -    36.5 -
JoMoLD AVE        49.9 -    37.3 -    37.0 41.4 -    43.6 -    43.6 -    32.4 -    32.6 36.2 -    37.4 -
T6     AVSDN      47.8 -    52.0 -    37.1 45.7 -    50.8 -    34.1 -    46.3 -    26.5 35.6 -    37.7 -
T6     CVCMS      59.2 -    59.9 -    53.4 57.5 -    58.1 -    51.3 -    55.5 -    46.2 51.0 -    49.7 -
DHHN   CVCMS      60.8 -    63.5 -    57.0 60.5 -    59.5 -    53.8 -    58.9 -    49.5 54.0 -    52.1 -
T6     MM-Pyramid 60.9 -    54.4 -    50.0 55.1 -    57.6 -    52.7 -    51.8 -    44.4 49.9 -    50.5 -
DHHN   MM-Pyramid 61.1 -    60.3 -    55.8 59.7 -    59.1 -    53.8 -    56.7 -    49.4 54.1 -    51.2 -
T6     DHHN       61.3 -    58.3 -    52.9 57.5 -    58.1 -    54.0 -    55.1 -    47.3 51.5 -    51.5 -
DHHN   DHHN       61.4 -    63.4 -    56.8 60.5 -    59.5 -    54.6 -    60.8 -    51.1 55.5 -    53.3 -
T6     MGN        60.8 -    55.4 -    50.0 55.5 -    57.2 -    51.1 -    52.4 -    44.4 49.3 -    49.1 -
T6     HAN        60.1 33.1 52.9 50.7 48.9 54.0 44.3 55.4 24.1 51.3 31.0 48.9 50.1 43.0 47.7 41.4 48.0 22.0
T6     MA         60.3 43.5 60.0 53.6 55.1 58.9 50.8 57.9 32.0 53.6 38.8 56.4 52.4 49.0 53.0 46.8 50.6 27.8
T6     JoMoLD     61.3 46.2 63.8 58.8 57.2 60.8 54.4 59.9 35.4 53.9 40.9 59.9 59.0 49.6 54.5 50.3 52.5 31.1
T6     CMPAE      63.9 48.2 63.3 57.9 57.5 61.2 54.2 62.1 35.7 57.1 43.6 60.6 57.5 49.6 55.8 50.3 55.6 32.0
T6     CoLeaF     63.5 49.3 64.5 62.4 58.6 62.1 56.7 61.8 37.7 56.2 44.1 62.0 62.2 52.1 56.7 52.7 54.5 33.4
T7     JoMoLD     61.5 46.3 64.7 64.8 58.3 61.5 56.5 60.3 38.0 54.7 41.5 61.5 63.5 52.4 56.2 52.5 53.1 33.6
T7     CMPAE      64.1 48.5 64.3 66.9 58.9 62.4 58.1 62.0 40.0 57.0 42.7 62.1 66.0 53.5 57.6 54.1 55.0 35.1
T7     VALOR      61.8 49.0 65.9 66.7 58.4 62.0 57.9 61.5 40.8 55.4 44.2 62.6 65.0 52.2 56.7 53.8 54.2 35.8
T7     CoLeaF     64.2 51.2 64.4 67.7 59.3 62.6 59.4 62.5 41.3 57.6 45.5 63.2 67.0 54.2 57.9 55.6 55.6 36.4
"""


@dataclass(frozen=True)
class PublishedScores:
    """The published F-scores of one system, from one source.

    Args:
        system: its name.
        source: a key of `SOURCES`.
        scores: column, some of `metrics.KEYS` -> percent; what is not published is absent.
    """

    system: str
    source: str
    scores: Mapping[str, float]

    @property
    def name(self) -> str:
        """Its name in a table."""
        return f"PUBLISHED {self.system} [{self.source}]"


def _parsed(line: str) -> PublishedScores:
    source, system, *values = line.split()
    if system == "CoLeaF":  # as the paper calls it
        system = "CMPAE in CoLeaF"
    return PublishedScores(system, source, {key: float(x) for key, x in zip(KEYS, values, strict=True) if x != "-"})


PUBLISHED = tuple(_parsed(line) for line in _TABLE.strip().splitlines())
"""Two rows of one system where two sources print different numbers."""


def is_published_split(data: str, split: str, videos: int) -> bool:
    """Whether scores are on the videos of the published ones: LLP's whole test split, with real features.

    Args:
        data: name of the data set.
        split: name of the split.
        videos: number of scored videos.
    """
    return (data, split, videos) == ("LLP", "test", TEST_VIDEOS)
