"""The model card of a run folder: what its record says, and the scores of the predictions that it keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from coleaf_framework._text import without_folders
from coleaf_framework.metrics import LEVELS, SUPPORT
from coleaf_framework.record.card import Measured, escaped, model_card
from coleaf_framework.record.log import LOG, read_log
from coleaf_framework.record.publishing import publishable
from coleaf_framework.record.run_record import read_record
from coleaf_framework.results.caveats import caveats_of_run
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.predictions_file import has_predictions, read_predictions
from coleaf_framework.results.rows import Member, Row
from coleaf_framework.results.tables import JOINT_LEGEND, SUPPORT_ONLY, further_table, heads_of, plain_table
from coleaf_framework.storage import DECISION

_HEADLINES = ("Type@AVo", "Event@AVo", "AV")


def card_of_run(run: Path, repo_id: str, *, licence: str | None = None) -> str:
    """The card of a run.

    Args:
        run: its folder; the scores are of the predictions of its test and validation split that it keeps.
        repo_id: "user/name".
        licence: as for `record.card.model_card`.

    Raises:
        FileNotFoundError, ValueError: the run's files cannot be read, or its predictions are of other weights.
        ImportError: huggingface_hub is not installed.
    """
    record = publishable(read_record(run))
    measured, caveats = [], list(caveats_of_run(run, "test"))
    for split in ("test", "val"):
        if not has_predictions(run, split):
            continue
        predictions = read_predictions(run, split)
        if predictions.truth is not None:
            measured.append(_measured(predictions, record.trainer.seed if record.trainer is not None else 0))
            if record.decision not in (None, predictions.decision):
                caveats.append(f"the scores on {split} are by other thresholds than those of its config.yaml")
            caveats += [x if split == "test" else f"on {split}: {x}" for x in predictions.caveats if x not in caveats]
    return model_card(
        record,
        repo_id,
        licence=licence,
        measured=measured,
        caveats=[without_folders(caveat) for caveat in caveats],
        epochs_done=len(read_log(run / LOG)) or None,
        has_decision=(run / DECISION).is_file(),
    )


def _measured(predictions: Predictions, seed: int) -> Measured:
    """A split's scores with 95 % intervals over its videos, beside the two trivial parsers'."""
    row = Row.of("this run", [Member("this run", seed, predictions)])
    means, intervals = row.means(), row.intervals()
    trivial = predictions.trivial_scores()
    heads = heads_of(predictions.columns)
    tables = []
    for prefix, title in (("", "All videos"), (SUPPORT, "Support-only")):
        columns = ["this run", *trivial]
        body = []
        for head in heads:
            cells = [head]
            for level in LEVELS:
                column = f"{prefix}{level}/{head}"
                cells.append(_cell(means[column], intervals[column]))
                cells += [_cell(scores[column]) for scores in trivial.values()]
            body.append(cells)
        names = ["", *(f"{level}: {name}" for level in LEVELS for name in columns)]
        tables.append(plain_table(names, body, title, markdown=True))
    legend = JOINT_LEGEND if predictions.truth_kind == "joint" else SUPPORT_ONLY
    head = (
        f"### {escaped(predictions.data)}, {predictions.split}\n\nF-scores in percent on {len(predictions.ids):,} "
        "videos, with 95 % intervals over videos: of other videos of this kind, for these very weights; another seed "
        f"gives others. {legend}"
    )
    further = [_further(predictions)] if predictions.further else []
    shown = [f"{prefix}{level}/{x}" for prefix in ("", SUPPORT) for level in LEVELS for x in _HEADLINES if x in heads]
    scores = {column: means[column] for column in shown if not math.isnan(means[column])}
    return Measured(predictions.data, predictions.split, scores, "\n\n".join([head, *tables, *further]))


def _cell(value: float, interval: tuple[float, float] | None = None) -> str:
    if math.isnan(value):
        return "-"
    if interval is None:
        return f"{value:.1f}"
    low, high = interval
    return f"{value:.1f}" if math.isnan(low) or math.isnan(high) else f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _further(predictions: Predictions) -> str:
    rows: dict[str, Mapping[str, float]] = {"this run": predictions.further, **predictions.trivial_further}
    return further_table(rows, markdown=True)
