"""Scores of several runs in one table; runs that differ only in their seed are averaged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coleaf_framework.metrics import ALL_KEYS, over_seeds
from coleaf_framework.storage import CONFIG, WEIGHTS, file_digest, read_yaml
from coleaf_framework.training.caveats import caveats_of_run, together
from coleaf_framework.training.config import RunConfig
from coleaf_framework.training.experiment import Digests, caveats_of_data, data_of, load_run, open_split
from coleaf_framework.training.provenance import identity
from coleaf_framework.training.selection import load_decision
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
            `CoLeaFTrainer.evaluate` do.
    """
    groups: dict[str, list[_Scored]] = {}
    scored, evaluated = {}, set()
    caveats, known = {}, Digests()
    if len({run.resolve() for run in runs}) < len(runs):
        raise ValueError("a run is named twice")
    for run in runs:
        config, trainer = load_run(run, settings, trust=trust)
        where = data_of(run, config, data)
        told = use_decision(trainer, run, decision, settings)
        evaluation = trainer.evaluate(open_split(where, split))
        caveats[str(run)] = [
            *evaluation.caveats,
            *told,
            *caveats_of_run(run, split),
            *caveats_of_data(run, where, known),
        ]
        evaluated.add((evaluation.data, evaluation.videos, str(where.root and Path(where.root).resolve())))
        if len(evaluated) > 1:
            raise ValueError(f"{run}: its data {evaluation.data!r} differ from the other runs': pass --data for all")
        # An imported checkpoint says nothing of its training, so no two are seeds of one.
        about = read_yaml(run / CONFIG)
        kind = all_but_seed(config) + json.dumps(identity(about.get("made_of"))) if "train" in about else str(run)
        one = _Scored(evaluation.name, run, config.trainer.seed, dict(evaluation.scores))
        groups.setdefault(kind, []).append(one)
        scored[str(run)] = one.scores
    rows, deviations = {}, {}
    for members in groups.values():
        _require_other_seeds(members)
        name = members[0].parser + (f" ({len(members)} seeds)" if len(members) > 1 else "")
        if sum(other[0].parser == members[0].parser for other in groups.values()) > 1:
            name += f" {members[0].run.name}"  # the same network, trained in another way
        if name in rows:  # folders of one name
            name = f"{name} ({members[0].run})"
        by_seed = torch.tensor([[one.scores[column] for column in ALL_KEYS] for one in members], dtype=torch.float64)
        rows[name], spread = over_seeds(by_seed)
        if spread is not None:
            deviations[name] = spread
    rows |= {name: dict(scores) for name, scores in list(evaluation.rows().items())[1:]}
    title = f"{evaluation.data}, {evaluation.videos} videos, F-scores in percent"
    if deviations:
        title += ", mean ± standard deviation over seeds"
    return ScoredRuns(rows, deviations, title, scored, together(caveats))


@dataclass(frozen=True)
class _Scored:
    """A run's scores. parser: what tables call it. seed: of its training."""

    parser: str
    run: Path
    seed: int
    scores: dict[str, float]


def _require_other_seeds(members: Sequence[_Scored]) -> None:
    first: dict[int, Path] = {}
    for one in members:
        if one.seed in first:
            raise ValueError(
                f"{first[one.seed]} and {one.run} are the same training from the same seed {one.seed}: name one of them"
            )
        first[one.seed] = one.run


def all_but_seed(config: RunConfig) -> str:
    """What two runs have in common that differ in their seed alone, wherever they ran."""
    content = config.model_dump(mode="json", exclude={"data": {"cache"}})
    content["data"]["root"] = config.data.root and str(Path(config.data.root).resolve())
    for key in ("seed", "device", "workers", "tensorboard"):
        del content["trainer"][key]
    return json.dumps(content)


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
        decision.require_classes(trainer.model.num_classes, trainer.model.description.get("model", {}).get("classes"))
    except ValueError as problem:
        raise ValueError(f"{path} does not fit {run}: {problem}") from problem
    trainer.decision = decision
    if chosen.get("weights") in (None, file_digest(run / WEIGHTS)):
        return []
    return ["the thresholds were chosen for other weights than these"]
