"""From run folders to figures and one page."""

from __future__ import annotations

import io
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from coleaf_framework._text import one_line
from coleaf_framework.metrics import COLUMNS, SUPPORT
from coleaf_framework.metrics.analysis import CLASS_COLUMNS, SEGMENT_TYPES, calibration, class_scores, type_table
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.record.log import LOG, read_log
from coleaf_framework.report import figures
from coleaf_framework.report.page import make_page
from coleaf_framework.report.pictures import loss_curves, pyplot, save
from coleaf_framework.results.comparison import Comparison, compare_runs
from coleaf_framework.results.event_types import types_table
from coleaf_framework.results.grouping import group_seeds, require_named_once
from coleaf_framework.results.predictions_file import read_predictions
from coleaf_framework.results.rows import Member
from coleaf_framework.storage import to_json, write_text

_ENDINGS = ("png", "svg")


class Report:
    """Runs side by side: their scores, where they are right, and how they were trained.

    Runs that differ only in their seed share a row. Which rows are compared: see `comparison.compare_runs`.

    Args:
        runs: their folders, each with predictions of the split (`coleaf predict`).
        split: which.

    Raises:
        FileNotFoundError: a run is missing or has no predictions of the split.
        ValueError: a run is named twice, or the runs' videos, classes or ground truth differ.
    """

    def __init__(self, runs: Sequence[Path], split: str) -> None:
        require_named_once(runs)
        self.rows: dict[str, list[Member]] = group_seeds([(run, read_predictions(run, split)) for run in runs])
        self.comparison: Comparison = compare_runs(f"{len(runs)} runs", self.rows)

    @cached_property
    def numbers(self) -> dict[str, dict[str, Any]]:
        """What the figures show, of each row's first run: row -> kind -> values.

        "class_scores" (5,C), "type_table" (4,4) and "calibration" (modality -> see there), as in `metrics.analysis`;
        "history", means over the row's seeds.
        """
        found: dict[str, dict[str, Any]] = {}
        for name, members in self.rows.items():
            x = members[0].predictions
            truth = x.known_truth
            decided = x.decided()
            found[name] = {
                "class_scores": class_scores(decided, truth),
                "type_table": type_table(decided, truth, x.mask),
                "calibration": {
                    modality: calibration(x.segment_probs[:, :, m], truth[:, :, m], x.mask)
                    for m, modality in enumerate(MODALITIES)
                },
                "history": mean_history([Path(member.run) for member in members]),
            }
        return found

    def types_found(self, *, markdown: bool = False) -> str:
        """What segments of each true type were taken for, as a table; see `results.event_types`."""
        rows = {name: [member.predictions for member in members] for name, members in self.rows.items()}
        return types_table(rows, markdown=markdown)

    def figures(self) -> dict[str, tuple[str, Callable[[], Any]]]:
        """Name -> what it shows, and a function that draws it."""
        seeds = " Of each row's first run." if any(len(members) > 1 for members in self.rows.values()) else ""
        classes = next(iter(self.rows.values()))[0].predictions.classes

        def of(kind: str) -> dict[str, Any]:
            return {name: each[kind] for name, each in self.numbers.items()}

        found: dict[str, tuple[str, Callable[[], Any]]] = {
            "classes": (
                f"F of each class over the segments of all videos, by type of event.{seeds}",
                lambda: figures.class_bars(of("class_scores"), classes),
            ),
            "types": (
                f"True type of event by predicted type, percent of each true type.{seeds}",
                lambda: figures.type_tables(of("type_table")),
            ),
            "reliability": (
                f"Calibration: how often what is said with some probability is so.{seeds}",
                lambda: figures.reliability(of("calibration")),
            ),
        }
        columns = [f"{SUPPORT}{level}/{column}" for level in ("segment", "event") for column in COLUMNS]
        differences = {
            pair.name: {column.removeprefix(SUPPORT): pair.difference.at(column) for column in columns}
            for pair in self.comparison.pairs
        }
        if differences:
            found["differences"] = (
                "Paired differences in the support-only columns, with 95 % intervals over videos and seeds.",
                lambda: figures.intervals(differences),
            )
        logged = {name: history for name, history in of("history").items() if history}
        if logged:
            found["losses"] = ("Loss terms over the epochs, means over seeds.", lambda: loss_curves(logged))
        weighed = {name: history for name, history in logged.items() if any("theta" in entry for entry in history)}
        if weighed:
            found["theta"] = (
                "The weights theta of the event-aware contrast over the epochs, means over seeds.",
                lambda: figures.theta_curves(weighed),
            )
        return found

    def write_figures(self, folder: Path) -> None:
        """Write every figure as PNG and SVG, and what they show as `numbers.json`.

        Raises:
            ImportError: matplotlib is not installed.
        """
        for name, (_, draw) in self.figures().items():
            for ending in _ENDINGS:
                save(self._noted(draw()), folder / f"{name}.{ending}")
        classes = next(iter(self.rows.values()))[0].predictions.classes
        content = {"classes": classes, "class_columns": CLASS_COLUMNS, "types": SEGMENT_TYPES, "rows": self.numbers}
        content["notes"] = self.comparison.notes
        write_text(folder / "numbers.json", to_json(_plain(content), indent=1) + "\n")

    def _noted(self, figure: Any) -> Any:
        """A figure with what must be said beside it."""
        if self.comparison.notes:
            notes = "\n".join(textwrap.fill(f"NOTE: {note}", 100) for note in self.comparison.notes)
            figure.supxlabel(notes, fontsize=7)
        return figure

    def write_page(self, path: Path) -> int:
        """Write the page, atomically; returns its size in bytes.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: it would be too large.
        """
        live = {}
        for name, members in self.rows.items():
            first_run = Path(members[0].run).name
            live[name if len(members) == 1 else one_line(f"{name}, {first_run}")] = members[0].predictions
        drawn = {name: (caption, _svg(self._noted(draw()))) for name, (caption, draw) in self.figures().items()}
        first = next(iter(live.values()))
        page = make_page(one_line(f"{', '.join(self.rows)}: {first.data} {first.split}"), self.comparison, live, drawn)
        write_text(path, page)
        return len(page.encode())


def _plain(x: Any) -> Any:
    """Tensors and dataclasses as lists and mappings."""
    if isinstance(x, Tensor):
        return x.tolist()
    if is_dataclass(x):
        return {field.name: _plain(getattr(x, field.name)) for field in fields(x)}
    return {key: _plain(value) for key, value in x.items()} if isinstance(x, Mapping) else x


def mean_history(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """The epochs' losses and theta weights, means over runs that have a log, as far as all of them went.

    Raises:
        ValueError: a log is damaged; names the line.
    """
    logs = [log for run in runs if (log := read_log(run / LOG))]
    epochs = []
    for entries in zip(*logs, strict=False):
        epoch: dict[str, Any] = {"epoch": entries[0]["epoch"]}
        for kind in ("losses", "theta"):
            each: list[Mapping[str, float]] = [entry[kind] for entry in entries if kind in entry]
            if len(each) == len(entries):
                names = [name for name in each[0] if all(name in one for one in each)]
                epoch[kind] = {name: statistics.fmean(one[name] for one in each) for name in names}
        epochs.append(epoch)
    return epochs


def _svg(figure: Any) -> bytes:
    plt = pyplot()
    text = io.BytesIO()
    with plt.rc_context({"svg.fonttype": "none"}):
        figure.savefig(text, format="svg")
    plt.close(figure)
    return text.getvalue()
