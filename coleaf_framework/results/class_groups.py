"""Open vocabulary: the columns over seen and over unseen classes apart. Shape letters: see `protocol.py`; N videos.

The scores of a group are those of the data set that has the group's classes alone: predictions and truth of the other
classes are left out. A video then has fewer events, so that more videos count 100 in the published columns.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from coleaf_framework._config import nearest
from coleaf_framework.results.certain import certain_fields
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.rows import Member, Row
from coleaf_framework.results.tables import plain_table, score_table

_SHOWN = 12


@dataclass(frozen=True)
class GroupScores:
    """The scores over a group of classes.

    Args:
        name: "seen" or "unseen".
        classes: its classes.
        rows: one per row of the whole table.
        trivial: name of a trivial parser -> column -> percent.
        videos: number of videos, N.
        with_events: number of videos that have an event of the group.
    """

    name: str
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    trivial: Mapping[str, Mapping[str, float]]
    videos: int
    with_events: int

    @property
    def title(self) -> str:
        """The heading of its table."""
        more = f" and {len(self.classes) - _SHOWN} more" if len(self.classes) > _SHOWN else ""
        return (
            f"{len(self.classes)} {self.name} classes ({', '.join(self.classes[:_SHOWN])}{more}), of which "
            f"{self.with_events} of {self.videos} videos have an event; F-scores in percent"
        )

    def table(self, *, markdown: bool = False) -> str:
        """Its table, as of all classes."""
        deviations = {row.name: found for row in self.rows if (found := row.deviations()) is not None}
        scores = {row.name: row.means() for row in self.rows} | dict(self.trivial)
        return score_table(scores, self.title, deviations, markdown=markdown, legend=False)


@dataclass(frozen=True)
class OpenVocabulary:
    """Scores over seen and unseen classes.

    Args:
        seen: of the classes that are not unseen.
        unseen: of those that are.
        column: the column of the harmonic mean.
    """

    seen: GroupScores
    unseen: GroupScores
    column: str

    def harmonic(self) -> dict[str, tuple[float, float, float]]:
        """Row -> its column over seen classes, over unseen ones, and their harmonic mean, in percent.

        Of a row of several seeds, the harmonic mean is the mean of each seed's.
        """
        found = {}
        for seen, unseen in zip(self.seen.rows, self.unseen.rows, strict=True):
            pairs = [
                (one[self.column], other[self.column])
                for one, other in zip(seen.by_run().values(), unseen.by_run().values(), strict=True)
            ]
            means = [harmonic_mean(*pair) for pair in pairs]
            found[seen.name] = (seen.means()[self.column], unseen.means()[self.column], sum(means) / len(means))
        for name, scores in self.seen.trivial.items():
            pair = scores[self.column], self.unseen.trivial[name][self.column]
            found[name] = (*pair, harmonic_mean(*pair))
        return found

    def table(self, *, markdown: bool = False) -> str:
        """The tables of both groups, and the harmonic means."""
        body = [
            [name, *("-" if math.isnan(x) else f"{x:.1f}" for x in values)] for name, values in self.harmonic().items()
        ]
        heads = ["", "seen", "unseen", "harmonic mean"]
        means = plain_table(heads, body, f"{self.column} over seen and unseen classes", markdown=markdown)
        return "\n\n".join([self.seen.table(markdown=markdown), self.unseen.table(markdown=markdown), means, LEGEND])

    def as_json(self) -> dict[str, object]:
        """The scores of both groups as plain values."""
        content: dict[str, object] = {
            group.name: {
                "classes": list(group.classes),
                "videos_with_events": group.with_events,
                "runs": {run: scores for row in group.rows for run, scores in row.by_run().items()},
                "trivial": dict(group.trivial),
            }
            for group in (self.seen, self.unseen)
        }
        means = {name: dict(zip(("seen", "unseen", "mean"), x, strict=True)) for name, x in self.harmonic().items()}
        return content | {"harmonic": {"column": self.column, "rows": means}}


LEGEND = (
    "A group's scores are those of the data with its classes alone. A video without events of the group, and without "
    "predictions of them, counts 100 in the published columns, which are the higher the fewer classes a group has: "
    "compare groups by the support-only columns."
)


def harmonic_mean(seen: float, unseen: float) -> float:
    """The harmonic mean of two scores: 0 where both are, NaN where one is.

    Example:
        >>> harmonic_mean(60.0, 20.0)
        30.0
    """
    return 0.0 if seen == unseen == 0 else 2 * seen * unseen / (seen + unseen)


def over_classes(predictions: Predictions, classes: Sequence[str]) -> Predictions:
    """Restrict decisions and ground truth to some of the classes.

    Args:
        predictions: of a split with ground truth.
        classes: some of its classes.
    """
    index = [predictions.classes.index(name) for name in classes]
    return replace(
        predictions,
        classes=tuple(classes),
        truth=predictions.known_truth[..., index],
        labels=predictions.labels[:, index],
        **certain_fields(predictions.decided()[..., index]),
    )


def open_vocabulary(groups: Mapping[str, Sequence[Member]], unseen: Sequence[str], column: str) -> OpenVocabulary:
    """Score rows over seen and over unseen classes.

    Args:
        groups: name of a row -> its runs, all on the same videos.
        unseen: the unseen classes; see `read_unseen`.
        column: the column of the harmonic mean.
    """
    first = next(iter(groups.values()))[0].predictions
    parts = {
        "seen": tuple(name for name in first.classes if name not in unseen),
        "unseen": tuple(name for name in first.classes if name in unseen),
    }
    scored = {}
    for part, classes in parts.items():
        rows = [
            Row.of(name, [replace(x, predictions=over_classes(x.predictions, classes)) for x in members])
            for name, members in groups.items()
        ]
        of_first = over_classes(first, classes)
        have = int(of_first.known_truth.any((1, 2, 3)).sum())
        scored[part] = GroupScores(part, classes, tuple(rows), of_first.trivial_scores(), len(first.ids), have)
    return OpenVocabulary(scored["seen"], scored["unseen"], column)


def read_unseen(asked: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that `--unseen` names.

    Args:
        asked: class names with commas between, or a text file with one name a line.
        classes: those of the data.

    Raises:
        ValueError: a name is of no class, stands there twice, or no class is left to be seen; names it.
    """
    names = [name.strip() for name in asked.split(",") if name.strip()]
    source = "--unseen"
    if not all(name in classes for name in names) and os.path.isfile(asked):  # of a long list, Path's would raise
        source = f"--unseen {asked}"
        try:
            lines = Path(asked).read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as problem:
            raise ValueError(f"{source}: not a UTF-8 text file: {problem}") from None
        names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ValueError(f"{source}: names no class")
    for i, name in enumerate(names):
        if name not in classes:
            raise ValueError(f"{source}: {name!r} is no class of the data, nor a file.{nearest(name, classes)}")
        if name in names[:i]:
            raise ValueError(f"{source}: {name!r} stands there twice")
    if len(names) == len(classes):
        raise ValueError(f"{source}: names all {len(classes)} classes of the data, so that none is seen")
    return tuple(names)
