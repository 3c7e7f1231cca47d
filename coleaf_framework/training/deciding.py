"""The thresholds that apply when a run is used."""

from __future__ import annotations

from pathlib import Path

from coleaf_framework.model.coleaf import require_record
from coleaf_framework.results.selection import load_decision
from coleaf_framework.storage import WEIGHTS, file_digest
from coleaf_framework.training.trainer import CoLeaFTrainer


def use_decision(trainer: CoLeaFTrainer, run: Path, path: Path | None, settings: tuple[str, ...] = ()) -> list[str]:
    """Set the thresholds of a run's trainer from a decision file, if there is one.

    Args:
        trainer: of the run.
        run: its folder.
        path: a file written by `coleaf thresholds`, or None.
        settings: the user's settings, which must not set the decision too.

    Returns:
        Caveats of the thresholds.

    Raises:
        FileNotFoundError, ValueError: as `load_decision` does; or the thresholds are for other classes, or `settings`
            set the decision too.
    """
    if path is None:
        return []
    conflicting = [setting for setting in settings if setting.startswith("decision.")]
    if conflicting:
        raise ValueError(f"--decision {path} and --set {conflicting[0]} exclude each other")
    decision, chosen = load_decision(path)
    try:
        decision.require_classes(trainer.model.num_classes, require_record(trainer.model).model.classes)
    except ValueError as problem:
        raise ValueError(f"{path} does not fit {run}: {problem}") from problem
    trainer.decision = decision
    if chosen.get("weights") in (None, file_digest(run / WEIGHTS)):
        return []
    return ["the thresholds were chosen for other weights than these"]
