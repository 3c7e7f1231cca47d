"""The report on run folders: figures and the HTML page."""

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
from coleaf_framework.metrics import SUPPORT
from coleaf_framework.metrics.analysis import CLASS_COLUMNS, SEGMENT_TYPES, calibration, class_scores, type_table
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.record.log import LOG, read_log
from coleaf_framework.report import figures
from coleaf_framework.report.page import make_page
from coleaf_framework.report.pictures import loss_curves, pyplot, save
from coleaf_framework.results.comparison import Comparison, compare_runs
from coleaf_framework.results.event_types import true_types, types_table
from coleaf_framework.results.grouping import group_seeds, require_named_once
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.predictions_file import read_predictions
from coleaf_framework.results.rows import Member
from coleaf_framework.results.tables import heads_of
from coleaf_framework.storage import to_json, write_text

_ENDINGS = ("png", "svg")


class Report:
    """Compares runs by their scores, errors and training.

    Runs that differ only in their seed share a row. For the pairs of rows that are compared, see
    `results.comparison.compare_runs`.

    Args:
        runs: the run folders, each with predictions of the split (`coleaf predict`).
        split: the scored split.

    Raises:
        FileNotFoundError: a run is missing or has no predictions of the split.
        ValueError: a run is given twice, or the runs' videos, classes or ground truth differ.
    """

    def __init__(self, runs: Sequence[Path], split: str) -> None:
        require_named_once(runs)
        self.rows: dict[str, list[Member]] = group_seeds([(run, read_predictions(run, split)) for run in runs])
        self.comparison: Comparison = compare_runs(f"{len(runs)} runs", self.rows)

    @cached_property
    def numbers(self) -> dict[str, dict[str, Any]]:
        """The data of the figures: name of a row -> kind -> values.

        The kinds are "class_scores" (5,C), "type_table" (4,4) and "calibration" (modality -> `Calibration`), all from
        `metrics.analysis` and of the row's first run; and "history", the mean over the row's seeds. Where the ground
        truth does not tell audible from visible events, there are the scores of AV and the true type audible-visible
        alone, and no calibration, which is of one modality.
        """
        by_row: dict[str, dict[str, Any]] = {}
        for name, members in self.rows.items():
            predictions = members[0].predictions
            truth = predictions.known_truth
            decided = predictions.decided()
            class_rows = [CLASS_COLUMNS.index(column) for column in self._class_columns]
            type_rows = [SEGMENT_TYPES.index(kind) for kind in self._true_types]
            by_row[name] = {
                "class_scores": class_scores(decided, truth)[class_rows],
                "type_table": type_table(decided, truth, predictions.mask)[type_rows],
                "calibration": {
                    modality: calibration(predictions.segment_probs[:, :, m], truth[:, :, m], predictions.mask)
                    for m, modality in enumerate(MODALITIES)
                    if predictions.truth_kind == "modalities"
                },
                "history": mean_history([Path(member.run) for member in members]),
            }
        return by_row

    @property
    def _first(self) -> Predictions:
        return next(iter(self.rows.values()))[0].predictions

    @property
    def _class_columns(self) -> tuple[str, ...]:
        return tuple(column for column in CLASS_COLUMNS if f"segment/{column}" in self._first.columns)

    @property
    def _true_types(self) -> tuple[str, ...]:
        return true_types(self._first)

    def types_found(self, *, markdown: bool = False) -> str:
        """Table of the predicted event types of each true type; see `results.event_types`."""
        rows = {name: [member.predictions for member in members] for name, members in self.rows.items()}
        return types_table(rows, markdown=markdown)

    def figures(self) -> dict[str, tuple[str, Callable[[], Any]]]:
        """Name of a figure -> its caption, and a function that draws it."""
        which = " Of each row's first run." if any(len(members) > 1 for members in self.rows.values()) else ""
        classes = self._first.classes
        shown = [column for column in ("Ao", "Vo", "AV") if column in self._class_columns]

        def of(kind: str) -> dict[str, Any]:
            return {name: each[kind] for name, each in self.numbers.items()}

        by_name: dict[str, tuple[str, Callable[[], Any]]] = {
            "classes": (
                f"F of each class over the segments of all videos, by type of event.{which}",
                lambda: figures.class_bars(of("class_scores"), classes, shown, self._class_columns),
            ),
            "types": (
                f"True type of event by predicted type, percent of each true type.{which}",
                lambda: figures.type_tables(of("type_table"), self._true_types),
            ),
        }
        if self._first.truth_kind == "modalities":
            by_name["reliability"] = (
                f"Reliability curves: predicted probability against observed frequency.{which}",
                lambda: figures.reliability(of("calibration")),
            )
        heads = heads_of(self.comparison.columns)
        columns = [f"{SUPPORT}{level}/{column}" for level in ("segment", "event") for column in heads]
        differences = {
            pair.name: {column.removeprefix(SUPPORT): pair.difference.at(column) for column in columns}
            for pair in self.comparison.pairs
        }
        if differences:
            by_name["differences"] = (
                "Paired differences in the support-only columns, with 95 % intervals over videos and seeds.",
                lambda: figures.intervals(differences),
            )
        logged = {name: history for name, history in of("history").items() if history}
        if logged:
            by_name["losses"] = ("Loss terms over the epochs, means over seeds.", lambda: loss_curves(logged))
        with_theta = {name: history for name, history in logged.items() if any("theta" in entry for entry in history)}
        if with_theta:
            by_name["theta"] = (
                "The weights theta of the event-aware contrast over the epochs, means over seeds.",
                lambda: figures.theta_curves(with_theta),
            )
        return by_name

    def write_figures(self, folder: Path) -> None:
        """Write every figure as PNG and SVG, and their data as `numbers.json`.

        Args:
            folder: the folder to write to.

        Raises:
            ImportError: matplotlib is not installed.
        """
        for name, (_, draw) in self.figures().items():
            for ending in _ENDINGS:
                save(self._noted(draw()), folder / f"{name}.{ending}")
        content: dict[str, Any] = {"classes": self._first.classes, "class_columns": self._class_columns}
        content["types"] = SEGMENT_TYPES
        if self._true_types != SEGMENT_TYPES:
            content["true_types"] = self._true_types
        content |= {"rows": self.numbers, "notes": self.comparison.notes}
        write_text(folder / "numbers.json", to_json(_plain(content), indent=1) + "\n")

    def _noted(self, figure: Any) -> Any:
        """Write the caveats below a figure."""
        if self.comparison.notes:
            notes = "\n".join(textwrap.fill(f"NOTE: {note}", 100) for note in self.comparison.notes)
            figure.supxlabel(notes, fontsize=7)
        return figure

    def write_page(self, path: Path) -> int:
        """Write the HTML page, atomically.

        Args:
            path: the file to write.

        Returns:
            The size of the page in bytes.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: the page would be too large.
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
    """Losses and theta weights of each epoch, the mean over runs.

    Args:
        runs: run folders; those without a log are left out, and the shortest log gives the number of epochs.

    Raises:
        ValueError: a log is damaged; names the line.
    """
    logs = [log for run in runs if (log := read_log(run / LOG))]
    epochs = []
    for entries in zip(*logs, strict=False):
        epoch: dict[str, Any] = {"epoch": entries[0]["epoch"]}
        for kind in ("losses", "theta"):
            by_run: list[Mapping[str, float]] = [entry[kind] for entry in entries if kind in entry]
            if len(by_run) == len(entries):
                names = [name for name in by_run[0] if all(name in values for values in by_run)]
                epoch[kind] = {name: statistics.fmean(values[name] for values in by_run) for name in names}
        epochs.append(epoch)
    return epochs


def _svg(figure: Any) -> bytes:
    plt = pyplot()
    text = io.BytesIO()
    with plt.rc_context({"svg.fonttype": "none"}):
        figure.savefig(text, format="svg")
    plt.close(figure)
    return text.getvalue()
