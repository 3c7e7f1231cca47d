"""Figures of scores by class and event type, calibration, differences and training. Needs matplotlib, the extra `plot`.

Each function returns a figure; `pictures.save` writes it. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from coleaf_framework._text import one_line, printable
from coleaf_framework.metrics.analysis import CLASS_COLUMNS, SEGMENT_TYPES, Calibration
from coleaf_framework.report.pictures import COLOURS, pyplot


def _style(axis: Any, title: str, x: str = "", y: str = "", grid: str = "both") -> None:
    axis.set_title(printable(title), loc="left", fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(axis=grid, color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)


def theta_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """The mean weights theta (eq. 9-11) over the epochs: the share of audible-only or visible-only events.

    Args:
        histories: name of a run -> its epochs, as `CoLeaFTrainer.fit` returns them; epochs without "theta" are skipped.
    """
    figure, axis = pyplot().subplots(figsize=(6.4, 3.4), layout="constrained")
    for i, (run, history) in enumerate(histories.items()):
        for modality, style in (("audio", "-"), ("visual", "--")):
            points = [(entry["epoch"], entry["theta"][modality]) for entry in history if "theta" in entry]
            axis.plot(
                *zip(*points, strict=True),
                style,
                marker=".",
                color=COLOURS[i % len(COLOURS)],
                label=f"{one_line(run)}, {modality}",
            )
    _style(axis, "theta, mean over training videos", "epoch", "unaligned share")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    return figure


def class_bars(
    scores: Mapping[str, Tensor],
    classes: Sequence[str],
    columns: Sequence[str] = ("Ao", "Vo", "AV"),
    measured: Sequence[str] = CLASS_COLUMNS,
) -> Any:
    """F-score of each class, one panel per event type.

    Args:
        scores: name of a row -> (K,C) in percent, rows of `metrics.analysis.class_scores`; no bar for NaN.
        classes: C names.
        columns: the panels, some of `measured`.
        measured: K names, of the rows of `scores`.
    """
    height = 0.8 / len(scores)
    figure, axes = pyplot().subplots(
        1,
        len(columns),
        figsize=(10, 1.2 + len(classes) * max(0.2, 0.11 * len(scores))),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    axes = axes[0]
    for axis, column in zip(axes, columns, strict=True):
        for i, (row, values) in enumerate(scores.items()):
            at = [c - 0.4 + height * (i + 0.5) for c in range(len(classes))]
            widths = [0.0 if math.isnan(x) else x for x in values[measured.index(column)].tolist()]
            axis.barh(at, widths, height=0.9 * height, color=COLOURS[i % len(COLOURS)], label=one_line(row))
        _style(axis, column, "F, percent, segments of all videos", grid="x")
        axis.set_xlim(0, 100)
    axes[0].set_yticks(range(len(classes)), list(map(one_line, classes)), fontsize=8)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def type_tables(tables: Mapping[str, Tensor], true: Sequence[str] = SEGMENT_TYPES) -> Any:
    """Confusion matrices of event types, in percent of each true type.

    Args:
        tables: name of a row -> counts, rows of `metrics.analysis.type_table`.
        true: the true types, one per row of the counts.
    """
    across = min(len(tables), 3)
    down = -(-len(tables) // across)
    figure, axes = pyplot().subplots(
        down, across, figsize=(3.9 * across, 3.5 * down), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(tables) :]:
        axis.set_visible(False)
    for axis, (name, table) in zip(axes.flat, tables.items(), strict=False):
        shares = (100 * table.double() / table.sum(1, keepdim=True)).tolist()
        axis.imshow([[0 if math.isnan(x) else x for x in row] for row in shares], cmap="Blues", vmin=0, vmax=100)
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                text = "-" if math.isnan(share) else f"{share:.1f}"
                axis.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if share > 60 else "black")
        predicted, rows = (
            [kind.replace("audible-visible", "audible-\nvisible") for kind in kinds] for kinds in (SEGMENT_TYPES, true)
        )
        axis.set_xticks(range(len(predicted)), predicted, fontsize=7)
        axis.set_yticks(range(len(rows)), rows, fontsize=7)
        axis.set_title(one_line(name), loc="left", fontsize=10)
        axis.set_xlabel("predicted", fontsize=8)
        axis.set_ylabel("true", fontsize=8)
    return figure


def reliability(curves: Mapping[str, Mapping[str, Calibration]]) -> Any:
    """Reliability curves: predicted probability against observed frequency, one panel per modality.

    Args:
        curves: name of a row -> modality -> its calibration, from `metrics.analysis.calibration`.
    """
    modalities = list(next(iter(curves.values())))
    figure, axes = pyplot().subplots(
        1, len(modalities), figsize=(4.2 * len(modalities), 3.8), layout="constrained", squeeze=False
    )
    for axis, modality in zip(axes[0], modalities, strict=True):
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
        for i, (row, by_modality) in enumerate(curves.items()):
            curve = by_modality[modality]
            points = [
                (predicted, observed)
                for predicted, observed in zip(curve.said.tolist(), curve.occurred.tolist(), strict=True)
                if not math.isnan(predicted)
            ]
            label = f"{one_line(row)}: calibration error {curve.error:.1f} %"
            axis.plot(*zip(*points, strict=True), marker=".", color=COLOURS[i % len(COLOURS)], label=label)
        _style(axis, f"{modality} segments", "predicted probability", "observed frequency")
        axis.legend(frameon=False, fontsize=8)
    return figure


def intervals(differences: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Any:
    """Differences with their intervals, one panel per pair.

    Args:
        differences: name of a pair -> column -> (value, low, high) in percentage points; NaN is not drawn.
    """
    columns = list(next(iter(differences.values())))
    figure, axes = pyplot().subplots(
        1,
        len(differences),
        figsize=(1.5 + 3.6 * len(differences), 1.2 + 0.24 * len(columns)),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axis, (name, by_column) in zip(axes[0], differences.items(), strict=True):
        axis.axvline(0, color="0.5", linewidth=0.8)
        for y, (value, low, high) in enumerate(by_column.values()):
            if not math.isnan(value):
                excludes_zero = low > 0 or high < 0
                axis.plot([low, high], [y, y], color=COLOURS[0] if excludes_zero else "0.6", linewidth=1.5)
                axis.plot([value], [y], "o", markersize=4, color=COLOURS[0] if excludes_zero else "0.6")
        _style(axis, "\n".join(textwrap.wrap(name, 34)), "points, 95 % interval", grid="x")
        axis.title.set_fontsize(8)
    axes[0][0].set_yticks(range(len(columns)), columns, fontsize=8)
    axes[0][0].invert_yaxis()
    return figure
