"""What must be said beside a run's scores: sentences that are kept with its answers and shown wherever they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import caveats_of
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.record.log import LOG, read_log
from coleaf_framework.record.run_record import read_record

_NAMED = 3


def caveats_of_answers(decision: DecisionConfig, data: AVVPDataset) -> list[str]:
    """Of answers to a split, whoever gave them: how the thresholds were chosen, and what the data set says."""
    found = []
    if decision.chosen_on == data.split:
        found.append(
            f"the thresholds were chosen on the split {data.split!r}, which is scored: these are no test scores"
        )
    return [*found, *caveats_of(data)]


def caveats_of_run(run: Path, split: str) -> list[str]:
    """Of how a run was trained, for scores on `split`.

    Raises:
        FileNotFoundError, ValueError: its files cannot be read.
    """
    record = read_record(run)
    if record.train is None:
        return []  # an imported checkpoint, of whose training nothing is known
    epochs = record.trainer.epochs if record.trainer is not None else None
    log = read_log(run / LOG)
    found = []
    if epochs is not None and 0 < len(log) < epochs:  # a model that was saved or handed on has no log
        found.append(f"it was trained for {len(log)} of {epochs} epochs")
    if split == "val" and any("monitor" in entry for entry in log):
        found.append("the best epoch was chosen on the very split that is scored: trainer.monitor=[] keeps the last")
    return [*found, *(record.made_of.accepted if record.made_of is not None else ())]


def together(caveats: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The caveats of several runs, each once, with the runs that it is of.

    Args:
        caveats: name of a run -> its sentences.
    """
    of: dict[str, list[str]] = {}
    for run, sentences in caveats.items():
        for sentence in sentences:
            of.setdefault(sentence, []).append(run)
    told = []
    for sentence, runs in of.items():
        more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
        told.append(sentence if len(runs) == len(caveats) else f"{', '.join(runs[:_NAMED])}{more}: {sentence}")
    return tuple(told)
