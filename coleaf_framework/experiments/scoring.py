"""Score several runs in one table, averaging runs that differ only in their seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coleaf_framework.record.hub import find_run
from coleaf_framework.results.caveats import caveats_of_run, merge_caveats
from coleaf_framework.results.grouping import group_seeds, require_named_once
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.rows import Row
from coleaf_framework.training.deciding import use_decision
from coleaf_framework.training.experiment import Digests, caveats_of_data, data_of, load_run, open_split


@dataclass(frozen=True)
class ScoredRuns:
    """Result of `score_runs`.

    Args:
        rows: name of a row -> column -> percent; the trivial parsers last.
        deviations: name of a row -> column -> standard deviation over seeds, for rows of several seeds.
        title: heading of the table.
        by_run: run folder -> column -> percent.
        notes: the caveats.
        further: name of a row -> name of a score of the data set's own -> percent; empty where it defines none.
        further_deviations: the same -> standard deviation over seeds, for rows of several seeds.
        further_by_run: run folder -> the same scores.
    """

    rows: Mapping[str, Mapping[str, float]]
    deviations: Mapping[str, Mapping[str, float]]
    title: str
    by_run: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    further: Mapping[str, Mapping[str, float]]
    further_deviations: Mapping[str, Mapping[str, float]]
    further_by_run: Mapping[str, Mapping[str, float]]


def score_runs(
    runs: Sequence[Path],
    data: Path | None,
    split: str,
    settings: tuple[str, ...],
    decision: Path | None,
    *,
    trust: bool = False,
    declaration: Path | None = None,
) -> ScoredRuns:
    """Score runs on a split.

    Args:
        runs: the run folders, or repositories of the Hub; see `record.hub.find_run`.
        data: folder in LLP's layout; with None, the data that the runs were trained on, which must be the same for all.
        split: "train", "val" or "test".
        settings: as for `load_run`.
        decision: a file written by `coleaf thresholds`, for all runs; with None, each run's own thresholds.
        trust: as for `load_run`.
        declaration: as for `load_run`, for all runs.

    Raises:
        ValueError: a run is given twice or is a copy of another, or their data differ; or as `load_run` and
            `CoLeaFTrainer.predict` do.
    """
    found = [find_run(run) for run in runs]
    require_named_once([each.folder for each in found])
    predicted: list[tuple[Path, Predictions]] = []
    caveats, evaluated, known = {}, set(), Digests()
    for name, each in zip(runs, found, strict=True):
        run = each.folder
        config, trainer = load_run(run, settings, trust=trust, declaration=declaration)
        where = data_of(run, config, data)
        of_decision = use_decision(trainer, run, decision, settings)
        predictions = trainer.predict(open_split(where, split), truth=True)
        predicted.append((run, predictions))
        of_run = [*each.notes, *caveats_of_run(run, split), *caveats_of_data(run, where, known)]
        caveats[str(name)] = [*predictions.caveats, *of_decision, *of_run]
        evaluated.add((predictions.data, len(predictions.ids), str(where.root and Path(where.root).resolve())))
        if len(evaluated) > 1:
            raise ValueError(f"{name}: its data {predictions.data!r} differ from the other runs': pass --data for all")
    rows, deviations = {}, {}
    further: dict[str, Mapping[str, float]] = {}
    further_deviations: dict[str, Mapping[str, float]] = {}
    by_run: dict[str, dict[str, float]] = {}
    for row_name, members in group_seeds(predicted).items():
        by_run |= {member.run: member.predictions.scores() for member in members}
        row = Row.of(row_name if len(members) == 1 else f"{row_name} ({len(members)} seeds)", members)
        rows[row.name] = row.means()
        if (row_deviations := row.deviations()) is not None:
            deviations[row.name] = row_deviations
        if predictions.further:
            further[row.name], spread = over_runs([member.predictions.further for member in members])
            if spread is not None:
                further_deviations[row.name] = spread
    rows |= predictions.trivial_scores()
    further |= predictions.trivial_further
    title = f"{predictions.data} {predictions.split}, {len(predictions.ids)} videos, F-scores in percent"
    if deviations:
        title += ", mean ± standard deviation over seeds"
    return ScoredRuns(
        rows,
        deviations,
        title,
        {str(name): by_run[str(each.folder)] for name, each in zip(runs, found, strict=True)},
        merge_caveats(caveats),
        further,
        further_deviations,
        {str(name): x.further for name, (_, x) in zip(runs, predicted, strict=True) if x.further},
    )


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
