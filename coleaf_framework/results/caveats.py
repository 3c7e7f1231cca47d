"""Caveats of a run's scores: sentences that are stored with its predictions and shown in every table and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import caveats_of
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.record.log import LOG, read_log
from coleaf_framework.record.run_record import read_record

_MOST_RUNS_NAMED = 3


def caveats_of_scoring(decision: DecisionConfig, data: AVVPDataset) -> list[str]:
    """Caveats of scores on a split with given thresholds: thresholds chosen on that split, and those of the data set.

    Args:
        decision: the thresholds.
        data: the scored split.
    """
    caveats = []
    if decision.chosen_on == data.split:
        caveats.append(
            f"the thresholds were chosen on the split {data.split!r}, which is scored: these are no test scores"
        )
    return [*caveats, *caveats_of(data)]


def caveats_of_run(run: Path, split: str) -> list[str]:
    """Caveats of how a run was trained, for its scores on a split.

    Args:
        run: its folder.
        split: the scored split.

    Raises:
        FileNotFoundError, ValueError: the run's files cannot be read.
    """
    record = read_record(run)
    if record.train is None:
        return []  # an imported checkpoint, of whose training nothing is known
    epochs = record.trainer.epochs if record.trainer is not None else None
    log = read_log(run / LOG)
    caveats = []
    if epochs is not None and 0 < len(log) < epochs:  # a model that was saved or handed on has no log
        caveats.append(f"it was trained for {len(log)} of {epochs} epochs")
    if split == "val" and any("monitor" in entry for entry in log):
        caveats.append("the best epoch was chosen on the very split that is scored: trainer.monitor=[] keeps the last")
    return [*caveats, *(record.made_of.accepted if record.made_of is not None else ())]


def merge_caveats(caveats: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Merge the caveats of several runs: each sentence once, with the runs it applies to unless it applies to all.

    Args:
        caveats: name of a run -> its caveats.
    """
    runs_of: dict[str, list[str]] = {}
    for run, sentences in caveats.items():
        for sentence in sentences:
            runs_of.setdefault(sentence, []).append(run)
    merged = []
    for sentence, runs in runs_of.items():
        more = f" and {len(runs) - _MOST_RUNS_NAMED} more" if len(runs) > _MOST_RUNS_NAMED else ""
        names = f"{', '.join(runs[:_MOST_RUNS_NAMED])}{more}"
        merged.append(sentence if len(runs) == len(caveats) else f"{names}: {sentence}")
    return tuple(merged)
