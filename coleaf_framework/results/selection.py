"""Thresholds chosen on a validation split, kept beside the run, and used when it is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coleaf_framework._config import validated
from coleaf_framework.metrics import ChosenGates, DecisionConfig, ModalityThresholds, choose_gates
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.storage import file_digest, read_yaml, write_yaml


@dataclass(frozen=True)
class Selection:
    """A decision with chosen gates, and how it was chosen.

    Args:
        decision: the thresholds.
        chosen: gates (M,C) and the column before and after.
        about: what the file says of it: data, split, column, search, and whether the test split was forced.
    """

    decision: DecisionConfig
    chosen: ChosenGates
    about: Mapping[str, Any]

    def save(self, path: Path, weights: Path | None = None) -> None:
        """Write a file that `load_decision` reads, atomically; `weights` is the file that it was chosen for."""
        about = dict(self.about) | ({"weights": file_digest(weights)} if weights is not None else {})
        write_yaml(path, {"decision": self.decision.model_dump(mode="json"), "chosen": about})


def select_thresholds(predictions: Predictions, *, force: bool = False, **how: Any) -> Selection:
    """Choose gates per class from a trained model's predictions; see `metrics.choose_gates`.

    Args:
        predictions: of a validation split with ground truth; their decision is the one to begin with.
        force: allow the test split, whose scores then are no test any more.
        how: column, modalities, search and grid, as for `choose_gates`.

    Raises:
        ValueError: it is the test split, or it has only weak labels, or as `choose_gates` does.
    """
    require_choosable(predictions.split, force=force)
    truth = predictions.known_truth
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
    """Check that thresholds may be chosen on a split: its scores are no test afterwards.

    Raises:
        ValueError: it is the test split, and `force` is False.
    """
    if split == "test" and not force:
        raise ValueError(
            "thresholds chosen on the test split make its scores worthless: take --split val, or --force, which says so"
        )


def load_decision(path: Path) -> tuple[DecisionConfig, Mapping[str, Any]]:
    """The decision that `Selection.save` wrote, and how it was chosen.

    Raises:
        FileNotFoundError, ValueError: no such file, or it is another one, or does not name its classes.
    """
    content = read_yaml(path)
    decision, chosen = (content.get(key) for key in ("decision", "chosen"))
    if not isinstance(decision, Mapping) or not isinstance(chosen, Mapping):
        raise ValueError(f"{path}: not a file that `coleaf thresholds` wrote: it has {sorted(map(str, content))}")
    # Older files have these two beside how it was chosen.
    older = {key: chosen[name] for key, name in (("classes", "classes"), ("chosen_on", "split")) if name in chosen}
    found = validated(DecisionConfig, older | dict(decision), f"{path}: not a decision")
    if found.per_class() and found.classes is None:
        raise ValueError(f"{path}: its thresholds per class lack the names of the classes: choose them again")
    return found, chosen
