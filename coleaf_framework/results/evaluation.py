"""Scores of a model together with those of the trivial parsers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coleaf_framework.results.tables import further_table, score_table


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a split, with those of two trivial parsers.

    `evaluation["segment/Ao"]` is a column in percent, `evaluation["support/segment/Ao"]` its support-only version,
    and `print(evaluation)` shows the table.

    Args:
        name: name of the model in the table.
        data: name of the data set and split.
        videos: number of scored videos.
        scores: column -> percent, of the model.
        empty: column -> percent, of the parser that predicts nothing.
        video_label: column -> percent, of the parser that spreads the true video labels over all segments and both
            modalities.
        caveats: sentences shown below the table.
        further: name of a row -> name of a score of the data set's own -> percent; empty where it defines none.
    """

    name: str
    data: str
    videos: int
    scores: Mapping[str, float]
    empty: Mapping[str, float]
    video_label: Mapping[str, float]
    caveats: tuple[str, ...] = ()
    further: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __getitem__(self, column: str) -> float:
        if column not in self.scores:
            raise KeyError(f"{self.data} has no column {column!r}; it has {', '.join(self.scores)}")
        return self.scores[column]

    def rows(self) -> dict[str, Mapping[str, float]]:
        """Name of a row -> column -> percent, the trivial parsers last."""
        return {self.name: self.scores, "empty parser": self.empty, "video-label parser": self.video_label}

    def __str__(self) -> str:
        table = score_table(self.rows(), f"{self.data}, {self.videos} videos, F-scores in percent")
        more = [further_table(self.further)] if self.further else []
        return "\n".join([table, *more, *(f"NOTE: {caveat}" for caveat in self.caveats)])
