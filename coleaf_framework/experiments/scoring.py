"""Scores of several runs in one table; runs that differ only in their seed are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coleaf_framework.model.coleaf import require_record
from coleaf_framework.results.caveats import caveats_of_run, together
from coleaf_framework.results.grouping import group_seeds, require_named_once
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.rows import Row
from coleaf_framework.results.selection import load_decision
from coleaf_framework.storage import WEIGHTS, file_digest
from coleaf_framework.training.experiment import Digests, caveats_of_data, data_of, load_run, open_split
from coleaf_framework.training.trainer import CoLeaFTrainer


@dataclass(frozen=True)
class ScoredRuns:
    """What `score_runs` found.

    Args:
        rows: name -> column -> percent; the trivial parsers last.
        deviations: name -> column -> standard deviation over seeds, where there are several.
        title: of the table.
        by_run: run folder -> column -> percent.
        notes: what must be said beside the table.
    """

    rows: Mapping[str, Mapping[str, float]]
    deviations: Mapping[str, Mapping[str, float]]
    title: str
    by_run: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]


def score_runs(
    runs: Sequence[Path],
    data: Path | None,
    split: str,
    settings: tuple[str, ...],
    decision: Path | None,
    *,
    trust: bool = False,
) -> ScoredRuns:
    """Score runs on a split.

    Args:
        runs: their folders.
        data: folder in LLP's layout; where None, what each was trained on, which must be the same.
        split: "train", "val" or "test".
        settings: as for `load_run`.
        decision: a file that `coleaf thresholds` wrote, for all runs.
        trust: as in `load_run`.

    Raises:
        ValueError: a run is named twice or is a copy of another, or their data differ; or as `load_run` and
            `CoLeaFTrainer.predict` do.
    """
    require_named_once(runs)
    predicted: list[tuple[Path, Predictions]] = []
    caveats, evaluated, known = {}, set(), Digests()
    for run in runs:
        config, trainer = load_run(run, settings, trust=trust)
        where = data_of(run, config, data)
        told = use_decision(trainer, run, decision, settings)
        one = trainer.predict(open_split(where, split), truth=True)
        predicted.append((run, one))
        caveats[str(run)] = [*one.caveats, *told, *caveats_of_run(run, split), *caveats_of_data(run, where, known)]
        evaluated.add((one.data, len(one.ids), str(where.root and Path(where.root).resolve())))
        if len(evaluated) > 1:
            raise ValueError(f"{run}: its data {one.data!r} differ from the other runs': pass --data for all")
    rows, deviations = {}, {}
    by_run: dict[str, dict[str, float]] = {}
    for name, members in group_seeds(predicted).items():
        by_run |= {member.run: member.predictions.scores() for member in members}
        row = Row.of(name if len(members) == 1 else f"{name} ({len(members)} seeds)", members)
        rows[row.name] = row.means()
        if (spread := row.deviations()) is not None:
            deviations[row.name] = spread
    evaluation = one.evaluation()
    rows |= {name: dict(scores) for name, scores in list(evaluation.rows().items())[1:]}
    title = f"{evaluation.data}, {evaluation.videos} videos, F-scores in percent"
    if deviations:
        title += ", mean ± standard deviation over seeds"
    return ScoredRuns(rows, deviations, title, {str(run): by_run[str(run)] for run in runs}, together(caveats))


def use_decision(trainer: CoLeaFTrainer, run: Path, path: Path | None, settings: tuple[str, ...] = ()) -> list[str]:
    """Give the trainer of a run chosen thresholds, if there are any; returns what must be said beside its scores.

    Raises:
        FileNotFoundError, ValueError: as `load_decision` does, or they are for other classes than the run's, or
            settings say something of the decision too.
    """
    if path is None:
        return []
    said = [setting for setting in settings if setting.startswith("decision.")]
    if said:
        raise ValueError(f"--decision {path} and --set {said[0]} exclude each other")
    decision, chosen = load_decision(path)
    try:
        decision.require_classes(trainer.model.num_classes, require_record(trainer.model).model.classes)
    except ValueError as problem:
        raise ValueError(f"{path} does not fit {run}: {problem}") from problem
    trainer.decision = decision
    if chosen.get("weights") in (None, file_digest(run / WEIGHTS)):
        return []
    return ["the thresholds were chosen for other weights than these"]
