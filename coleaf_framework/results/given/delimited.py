"""Files with one event a row, divided by tabs or commas: DCASE's, LLP's, and a plain CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coleaf_framework._config import shown
from coleaf_framework.protocol import MODALITIES, Modality
from coleaf_framework.results.given.events import GivenEvent, GivenEvents, modalities_at

_OPTIONAL = "confidence"  # read by nobody: a file of events says what was decided
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class RowForm:
    """A form of rows.

    Args:
        words: what it is, in words.
        columns: the header, which is also the order of the cells where a file has none.
        video: name of the column with the video.
        label: name of the column with the class.
        modality: name of the column with the modality; None where a file is of one.
    """

    words: str
    columns: tuple[str, ...]
    video: str
    label: str
    modality: str | None = None

    def fits(self, header: list[str]) -> bool:
        """Whether a header has these columns, in any order, with or without a confidence."""
        return sorted(name for name in header if name != _OPTIONAL) == sorted(self.columns)


ROW_FORMS: Mapping[str, RowForm] = {
    "dcase": RowForm("DCASE's TSV", ("filename", "onset", "offset", "event_label"), "filename", "event_label"),
    "llp": RowForm("LLP's TSV", ("filename", "onset", "offset", "event_labels"), "filename", "event_labels"),
    "csv": RowForm("CSV with modalities", ("id", "modality", "class", "onset", "offset"), "id", "class", "modality"),
}


@dataclass(frozen=True)
class Rows:
    """The cells of a file, and the form that its header indicates.

    Args:
        path: the file.
        form: name of the form in `ROW_FORMS`; None where its first line is no known header.
        header: the first line's cells, lower case.
        cells: "FILE:LINE" and cells of every line but a header.
    """

    path: Path
    form: str | None
    header: list[str]
    cells: list[tuple[str, list[str]]]


def read_rows(path: Path, text: str) -> Rows:
    """Divide a text into cells: by tabs if its first line has one, else by commas, with quotes.

    Raises:
        ValueError: it cannot be divided; names the line.
    """
    tabs = "\t" in text.partition("\n")[0]
    kind = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"delimiter": ",", "strict": True}
    reader = csv.reader(io.StringIO(text, newline=""), **kind)  # type: ignore[arg-type]
    cells = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                cells.append((f"{path}:{reader.line_num}", [cell.strip() for cell in row]))
    except csv.Error as problem:
        raise ValueError(f"{path}:{reader.line_num}: not rows of cells: {problem}") from None
    header = [cell.lower() for cell in cells[0][1]]
    form = next((name for name, known in ROW_FORMS.items() if known.fits(header)), None)
    return Rows(path, form, header, cells if form is None else cells[1:])


def events_of_rows(rows: Rows, form: RowForm, modality: Modality | None) -> GivenEvents:
    """The events of a file of rows.

    Args:
        rows: its cells.
        form: what they are.
        modality: whose events they are, where the rows do not say so.

    Raises:
        ValueError: a row is malformed; names file and line.
    """
    columns = list(form.columns) if rows.form is None else rows.header
    videos: dict[str, list[GivenEvent]] = {}
    where: dict[str, str] = {}
    silent: dict[str, str] = {}
    for at, cells in rows.cells:
        if len(cells) != len(columns):
            raise ValueError(f"{at}: expected {len(columns)} cells ({', '.join(columns)}), found {len(cells)}")
        row = dict(zip(columns, cells, strict=True))
        video = row[form.video]
        if not video:
            raise ValueError(f"{at}: names no video in the column {form.video!r}")
        where.setdefault(video, at)
        events = videos.setdefault(video, [])
        if not (row["onset"] or row["offset"] or row[form.label]):  # DCASE's way to name a video without events
            silent[video] = at
            continue
        events.extend(_events_of_row(at, row, form, modality))
    for video, at in silent.items():
        if videos[video]:
            raise ValueError(f"{at}: says that video {video!r} has no events, which {where[video]} contradicts")
    whose = f", {modality}" if modality is not None else ""
    return GivenEvents(str(rows.path), rows.path.stem, form.words + whose, videos, where)


def _events_of_row(at: str, row: Mapping[str, str], form: RowForm, modality: Modality | None) -> Iterator[GivenEvent]:
    onset, offset = (_seconds(at, name, row[name]) for name in ("onset", "offset"))
    if not row[form.label]:
        raise ValueError(f"{at}: names no class in the column {form.label!r}")
    if modality is not None:
        yield GivenEvent(at, row[form.label], (MODALITIES.index(modality),), onset, offset)
    else:
        assert form.modality is not None
        modalities, only = modalities_at(at, row[form.modality])
        yield GivenEvent(at, row[form.label], modalities, onset, offset, only)


def _seconds(at: str, name: str, text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{at}: {name} is {shown(text)}, where a number of seconds was expected")
    return float(text)
