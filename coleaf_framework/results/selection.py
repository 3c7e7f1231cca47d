"""Choose thresholds on a validation split, and save and load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coleaf_framework._config import validated
from coleaf_framework.metrics import ChosenGates, DecisionConfig, ModalityThresholds, choose_gates
from coleaf_framework.results.columns import require_column
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.storage import file_digest, read_yaml, write_yaml


@dataclass(frozen=True)
class Selection:
    """Chosen thresholds, and how they were chosen.

    Args:
        decision: the thresholds.
        chosen: the gates (M,C), and the column before and after.
        about: what the file records: data, split, column, search, and whether the test split was forced.
    """

    decision: DecisionConfig
    chosen: ChosenGates
    about: Mapping[str, Any]

    def save(self, path: Path, weights: Path | None = None) -> None:
        """Write a file that `load_decision` reads, atomically.

        Args:
            path: the file to write.
            weights: the weights file that the thresholds were chosen for; its digest is recorded.
        """
        about = dict(self.about) | ({"weights": file_digest(weights)} if weights is not None else {})
        write_yaml(path, {"decision": self.decision.model_dump(mode="json"), "chosen": about})


def select_thresholds(
    predictions: Predictions, *, force: bool = False, column: str | None = None, **how: Any
) -> Selection:
    """Choose gates per class from a trained model's predictions; see `metrics.choose_gates`.

    Args:
        predictions: of a validation split with ground truth; the search starts from their decision.
        force: allow the test split, whose scores are then no test scores any more.
        column: what to maximise, as for `choose_gates`; where None, event/V as published, and event/AV where the ground
            truth has no V.
        how: modalities, search and grid, as for `choose_gates`.

    Returns:
        Decision with the gates (M,C), rounded to 6 decimals; the column in percent before and after; and how they were
        chosen.

    Raises:
        ValueError: it is the test split, it has only weak labels, or its ground truth has no such column; or as
            `choose_gates` does.
    """
    require_choosable(predictions.split, force=force)
    truth = predictions.known_truth
    if column is None:
        column = "event/AV" if predictions.truth_kind == "joint" else "event/V"
    elif predictions.truth_kind == "joint":  # otherwise `choose_gates` says which there are
        require_column(column, "column", predictions.truth_kind, predictions.where)
    how = {"column": column, **how}
    chosen = choose_gates(predictions.output, truth, predictions.decision, mask=predictions.mask, **how)
    audio, visual = (tuple(round(value, 6) for value in row.tolist()) for row in chosen.gates)
    changed = {
        "gate_threshold": ModalityThresholds(audio=audio, visual=visual),
        "classes": predictions.classes,
        "chosen_on": predictions.split,
    }
    about = {
        "data": predictions.data,
        "split": predictions.split,
        "videos": len(predictions.ids),
        "forced": predictions.split == "test",
        **{key: list(value) if isinstance(value, tuple) else value for key, value in how.items()},
    }
    return Selection(predictions.decision.model_copy(update=changed), chosen, about)


def require_choosable(split: str, *, force: bool = False) -> None:
    """Check that thresholds may be chosen on a split, since its scores are no test scores afterwards.

    Raises:
        ValueError: it is the test split and `force` is False.
    """
    if split == "test" and not force:
        raise ValueError(
            "thresholds chosen on the test split make its scores worthless: take --split val, or --force, which says so"
        )


def load_decision(path: Path) -> tuple[DecisionConfig, Mapping[str, Any]]:
    """Read the thresholds that `Selection.save` wrote.

    Returns:
        The decision, and the record of how it was chosen.

    Raises:
        FileNotFoundError, ValueError: there is no such file, it is not a decision file, or it lacks class names.
    """
    content = read_yaml(path)
    decision, chosen = (content.get(key) for key in ("decision", "chosen"))
    if not isinstance(decision, Mapping) or not isinstance(chosen, Mapping):
        raise ValueError(f"{path}: not a file that `coleaf thresholds` wrote: it has {sorted(map(str, content))}")
    # Older files have these two keys under "chosen".
    older = {key: chosen[name] for key, name in (("classes", "classes"), ("chosen_on", "split")) if name in chosen}
    loaded = validated(DecisionConfig, older | dict(decision), f"{path}: not a decision")
    if loaded.per_class() and loaded.classes is None:
        raise ValueError(f"{path}: its thresholds per class lack the names of the classes: choose them again")
    return loaded, chosen
