"""Score runs, and files of events that others wrote, in one table; runs that differ only in their seed are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from coleaf_framework._text import one_line
from coleaf_framework.record.hub import FoundRun, find_run
from coleaf_framework.results.caveats import caveats_of_run, merge_caveats
from coleaf_framework.results.class_groups import OpenVocabulary, open_vocabulary, read_unseen
from coleaf_framework.results.columns import primary_column, require_column
from coleaf_framework.results.grouping import group_seeds, require_named_once
from coleaf_framework.results.interval_table import pairs_to_first
from coleaf_framework.results.predictions import TRIVIAL, Predictions, require_same_videos
from coleaf_framework.results.rows import Member, Pair, Row
from coleaf_framework.storage import to_json
from coleaf_framework.training.deciding import use_decision
from coleaf_framework.training.experiment import Digests, caveats_of_data, data_of, load_run, open_split

_ENDS = ("value", "low", "high")


@dataclass(frozen=True)
class ScoredRuns:
    """Result of `score_runs`.

    Args:
        rows: one per group of runs, and per file, in the order in which they are named.
        pairs: their differences to the first row.
        predictions: of any row, for the ground truth.
        title: heading of the table.
        by_run: run folder, or file -> column -> percent.
        notes: the caveats.
        further: name of a row -> name of a score of the data set's own -> percent; empty where it defines none.
        further_deviations: the same -> standard deviation over seeds, for rows of several seeds.
        further_by_run: run folder -> the same scores.
        open_vocabulary: the scores over seen and unseen classes; None where all are seen.
    """

    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    predictions: Predictions
    title: str
    by_run: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    further: Mapping[str, Mapping[str, float]]
    further_deviations: Mapping[str, Mapping[str, float]]
    further_by_run: Mapping[str, Mapping[str, float]]
    open_vocabulary: OpenVocabulary | None

    def table_rows(self) -> dict[str, Mapping[str, float]]:
        """Name of a row -> column -> percent; the trivial parsers last."""
        return {**{row.name: row.means() for row in self.rows}, **self.predictions.trivial_scores()}

    def deviations(self) -> dict[str, Mapping[str, float]]:
        """Name of a row -> column -> standard deviation over seeds, for rows of several seeds."""
        return {row.name: found for row in self.rows if (found := row.deviations()) is not None}

    def as_json(self) -> str:
        """All scores, intervals and notes as JSON; runs and files by their path."""
        content: dict[str, object] = {"runs": self.by_run, "notes": self.notes}
        content["trivial"] = self.predictions.trivial_scores()
        content["intervals"] = {row.name: row.intervals() for row in self.rows}
        content["differences"] = {
            pair.name: {name: dict(zip(_ENDS, pair.difference.at(name), strict=True)) for name in pair.columns}
            for pair in self.pairs
        }
        if self.further_by_run:
            content["further"] = self.further_by_run
        if self.open_vocabulary is not None:
            content["open_vocabulary"] = self.open_vocabulary.as_json()
        return to_json(content, indent=1)


def score_runs(
    runs: Sequence[Path],
    data: Path | None,
    split: str,
    settings: tuple[str, ...],
    decision: Path | None,
    *,
    trust: bool = False,
    declaration: Path | None = None,
    given: Sequence[tuple[str, Predictions]] = (),
    order: Sequence[str] = (),
    unseen: str | None = None,
    column: str | None = None,
) -> ScoredRuns:
    """Score runs on a split, beside the files of others.

    Args:
        runs: the run folders, or repositories of the Hub; see `record.hub.find_run`.
        data: folder in LLP's layout; with None, the data that the runs were trained on, which must be the same for all.
        split: "train", "val" or "test".
        settings: as for `load_run`.
        decision: a file written by `coleaf thresholds`, for all runs; with None, each run's own thresholds.
        trust: as for `load_run`.
        declaration: as for `load_run`, for all runs.
        given: files of events and their predictions of the same split; see `results.given`.
        order: run folders and files as they were named; the first row is that of the first.
        unseen: as of `read_unseen`; with None, all classes are seen.
        column: that of the harmonic mean over seen and unseen classes; `primary_column` with None.

    Raises:
        ValueError: a run is given twice or is a copy of another, or their data differ; or as `load_run` and
            `CoLeaFTrainer.predict` do.
    """
    each = [find_run(run) for run in runs]
    require_named_once([run.folder for run in each])
    found = dict(zip(map(str, runs), each, strict=True))
    folders = {name: str(run.folder) for name, run in found.items()}
    predicted, caveats = _predict_runs(found, data, split, settings, decision, trust, declaration)
    caveats |= {source: predictions.caveats for source, predictions in given}
    if given:
        require_same_videos([*((str(run), x) for run, x in predicted), *given])
    groups = _groups(predicted, given, [folders.get(name, name) for name in order])
    first = next(iter(groups.values()))[0].predictions
    vocabulary = None
    if unseen is not None:
        column = column or primary_column(first.truth_kind)
        require_column(column, truth=first.truth_kind, where=first.where)
        vocabulary = open_vocabulary(groups, read_unseen(unseen, first.classes), column)
    rows = tuple(Row.of(name, members) for name, members in groups.items())
    pairs, unpaired = pairs_to_first(rows)
    title = f"{first.data} {first.split}, {len(first.ids)} videos, F-scores in percent"
    if any(len(row.runs) > 1 for row in rows):
        title += ", mean ± standard deviation over seeds"
    further, further_deviations = _further(groups)
    by_run = {run: scores for row in rows for run, scores in row.by_run().items()}
    sources = folders | {source: source for source, _ in given}
    return ScoredRuns(
        rows, tuple(pairs), first, title, {name: by_run[source] for name, source in sources.items()},
        (*merge_caveats(caveats), *unpaired), further, further_deviations,
        {name: x.further for name, (_, x) in zip(found, predicted, strict=True) if x.further}, vocabulary,
    )  # fmt: skip


def _predict_runs(
    runs: Mapping[str, FoundRun],
    data: Path | None,
    split: str,
    settings: tuple[str, ...],
    decision: Path | None,
    trust: bool,
    declaration: Path | None,
) -> tuple[list[tuple[Path, Predictions]], dict[str, Sequence[str]]]:
    """The runs' predictions of a split, and the caveats of each."""
    predicted: list[tuple[Path, Predictions]] = []
    caveats: dict[str, Sequence[str]] = {}
    evaluated, known = set(), Digests()
    for name, found in runs.items():
        run = found.folder
        config, trainer = load_run(run, settings, trust=trust, declaration=declaration)
        where = data_of(run, config, data)
        of_decision = use_decision(trainer, run, decision, settings)
        predictions = trainer.predict(open_split(where, split), truth=True)
        predicted.append((run, predictions))
        of_run = [*found.notes, *caveats_of_run(run, split), *caveats_of_data(run, where, known)]
        caveats[name] = [*predictions.caveats, *of_decision, *of_run]
        evaluated.add((predictions.data, len(predictions.ids), str(where.root and Path(where.root).resolve())))
        if len(evaluated) > 1:
            raise ValueError(f"{name}: its data {predictions.data!r} differ from the other runs': pass --data for all")
    return predicted, caveats


def _groups(
    predicted: Sequence[tuple[Path, Predictions]], given: Sequence[tuple[str, Predictions]], order: Sequence[str]
) -> dict[str, list[Member]]:
    """Name of a row -> its runs, or its file; the row of what is named first comes first."""
    groups = {
        name if len(members) == 1 else f"{name} ({len(members)} seeds)": members
        for name, members in group_seeds(predicted).items()
    }
    named = [(one_line(predictions.parser), source, predictions) for source, predictions in given]
    # A file may call itself as a trivial parser, whose row it must not share.
    taken = [*groups, *TRIVIAL, *(name for name, _, _ in named)]
    for parser, source, predictions in named:
        name = parser if taken.count(parser) == 1 else f"{parser} ({one_line(source)})"
        groups[name] = [Member(source, 0, replace(predictions, parser=name))]
    place = {name: i for i, name in enumerate(order)}
    first = {name: min(place.get(member.run, len(place)) for member in members) for name, members in groups.items()}
    return dict(sorted(groups.items(), key=lambda item: first[item[0]]))


def _further(
    groups: Mapping[str, Sequence[Member]],
) -> tuple[dict[str, Mapping[str, float]], dict[str, Mapping[str, float]]]:
    """The data set's own scores of the rows that have them and of the trivial parsers, and deviations over seeds."""
    further: dict[str, Mapping[str, float]] = {}
    deviations: dict[str, Mapping[str, float]] = {}
    trivial: Mapping[str, Mapping[str, float]] = {}
    for name, members in groups.items():
        if not members[0].predictions.further:
            continue
        further[name], spread = over_runs([member.predictions.further for member in members])
        if spread is not None:
            deviations[name] = spread
        trivial = members[0].predictions.trivial_further
    return further | dict(trivial), deviations


def over_runs(scores: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float] | None]:
    """Mean and standard deviation (n - 1) of a data set's own scores over the runs of a row.

    Args:
        scores: name of a score -> percent, of each run, all with the same names.

    Returns:
        Name -> mean, and name -> deviation, None with one run; NaN where a run has no value.

    Example:
        >>> over_runs([{"mAP": 40.0}, {"mAP": 42.0}])[0]
        {'mAP': 41.0}
    """
    values = torch.tensor([list(each.values()) for each in scores], dtype=torch.float64)
    means = dict(zip(scores[0], values.mean(0).tolist(), strict=True))
    return means, dict(zip(scores[0], values.std(0).tolist(), strict=True)) if len(scores) > 1 else None
