"""The report: one self-contained HTML page with tables, figures, and timelines that follow adjustable thresholds."""

from __future__ import annotations

import base64
import html
import json
import math
import string
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from coleaf_framework.metrics import ALL_KEYS, COLUMNS
from coleaf_framework.metrics.analysis import SEGMENT_TYPES
from coleaf_framework.metrics.decision import ModalityThresholds
from coleaf_framework.results.comparison import LESS, Comparison
from coleaf_framework.results.event_types import true_types
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.tables import BLOCKS, heads_of, legend_of

LARGEST = 5_000_000
"""Maximal size of a page in bytes."""
STEPS = 100
"""The sliders' thresholds are i / STEPS, for i from 0 to STEPS."""


def make_page(
    title: str, comparison: Comparison, live: Mapping[str, Predictions], figures: Mapping[str, tuple[str, bytes]]
) -> str:
    """The page as HTML text.

    Args:
        title: heading of the page.
        comparison: of all runs.
        live: name -> predictions of the runs whose events the page draws and scores, all of the same videos.
        figures: name, any of "differences", "classes", "reliability", "losses" and "theta" -> caption, and SVG.

    Raises:
        ValueError: the page would be larger than `LARGEST`.
    """
    parts = resources.files(__package__)
    template = string.Template((parts / "page.html").read_text(encoding="utf-8"))
    notes = [f"Note: {note}." for note in comparison.notes]
    legend = [f"{comparison.title}.", legend_of(comparison.columns), *([LESS] if comparison.pairs else []), *notes]
    shown = {name: _figure(*figures[name]) if name in figures else "" for name in _FIGURES}
    page = template.substitute(
        title=html.escape(title),
        conclusion=html.escape(comparison.conclusion),
        legend=html.escape(" ".join(legend)),
        tables="\n".join(_score_table(comparison, block, prefix) for block, prefix in BLOCKS),
        differences=shown["differences"],
        live=html.escape(_thresholds_note(live)),
        classes=shown["classes"] + shown["reliability"],
        training=(shown["losses"] + shown["theta"]) or "<p>These runs keep no log of their training.</p>",
        data=json.dumps(_data(comparison, live)).replace("<", "\\u003c"),
        css=(parts / "page.css").read_text(encoding="utf-8"),
        js=(parts / "page.js").read_text(encoding="utf-8"),
    )
    size = len(page.encode())
    if size > LARGEST:
        raise ValueError(
            f"the page would have {size / 1e6:.1f} MB, at most {LARGEST / 1e6:.0f} are allowed: name fewer runs"
        )
    return page


_FIGURES = ("differences", "classes", "reliability", "losses", "theta")


def _thresholds_note(live: Mapping[str, Predictions]) -> str:
    gates = {name: predictions.decision.gate for name, predictions in live.items()}
    return (
        f"Of {', '.join(live)}. An event is predicted where its segment probability and its gate both reach their "
        "thresholds; the gate is on "
        + "; ".join(f"{gate} probabilities ({name})" for name, gate in gates.items())
        + ". Thresholds chosen on the videos that they are scored on flatter every score."
    )


def _figure(caption: str, svg: bytes) -> str:
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    text = html.escape(caption)
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>\n'


def _score_table(comparison: Comparison, block: str, prefix: str) -> str:
    """One block of the columns that exist, as in `results.tables.score_table`."""
    names = heads_of(comparison.columns)
    wanted = [prefix + column for column in names]
    rows = []
    for name, cells, kind in comparison.cells():
        values = "".join(f"<td>{html.escape(cells[key])}</td>" for key in wanted)
        rows.append(f'<tr class="{kind}"><th scope="row">{html.escape(name)}</th>{values}</tr>')
    heads = "".join(f'<th scope="col">{column}</th>' for column in names)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{block}"><table><caption>{block}</caption>'
        f'<thead><tr><th scope="col">F, percent</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _data(comparison: Comparison, live: Mapping[str, Predictions]) -> dict[str, Any]:
    """The data that the page's script reads; tensors as zlib-compressed bytes in base64."""
    first = next(iter(live.values()))
    return {
        "classes": list(first.classes),
        "ids": list(first.ids),
        "segments": first.mask.shape[1],
        "seconds": first.segment_seconds,
        "columns": list(heads_of(comparison.columns)),
        "kept": [COLUMNS.index(column) for column in heads_of(comparison.columns)],
        "true_types": [SEGMENT_TYPES.index(kind) for kind in true_types(first)],
        "mask": _packed(first.mask),
        "truth": _packed(first.known_truth),
        "trivial": [
            {"name": name, "columns": [_or_null(scores.get(key, math.nan)) for key in ALL_KEYS]}
            for name, scores in comparison.trivial.items()
        ],
        "runs": [
            {
                "name": name,
                "own": _packed(predictions.decided()),
                "levels": _packed(levels(predictions.segment_probs)),
                "gates": _packed(levels(_gate(predictions))),
            }
            for name, predictions in live.items()
        ],
        "start": _sliders(first),
    }


def levels(probs: Tensor) -> Tensor:
    """The highest step of a slider that each probability reaches: the largest i with p >= i / STEPS, as uint8.

    The comparison is that of `metrics.decide`, so at every step the page makes exactly the same decisions.
    """
    steps = probs.new_tensor([i / STEPS for i in range(1, STEPS + 1)])
    return torch.bucketize(probs.contiguous(), steps, right=True).to(torch.uint8)


def _gate(predictions: Predictions) -> Tensor:
    """The probabilities that a run's gate is on, (N,M,C)."""
    if predictions.decision.gate == "modality":
        return predictions.modality_probs
    return predictions.video_probs[:, None].expand(-1, 2, -1)


def _sliders(predictions: Predictions) -> dict[str, int]:
    """Initial positions of the sliders: a run's thresholds rounded to a step, or the mean of thresholds per class."""
    gate = predictions.decision.gate_threshold
    audio, visual = (gate.audio, gate.visual) if isinstance(gate, ModalityThresholds) else (gate, gate)
    values = {"segment": predictions.decision.segment_threshold, "audio": audio, "visual": visual}
    return {
        name: round(STEPS * (sum(value) / len(value) if isinstance(value, Sequence) else value))
        for name, value in values.items()
    }


def _packed(x: Tensor) -> str:
    return base64.b64encode(zlib.compress(x.to(torch.uint8).contiguous().numpy().tobytes(), 9)).decode()


def _or_null(x: float) -> float | None:
    return None if x != x else x
