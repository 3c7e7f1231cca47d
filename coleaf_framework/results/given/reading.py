"""Read a file of events, whose form is recognised by its content."""

from __future__ import annotations

from pathlib import Path

from coleaf_framework._config import shown
from coleaf_framework.protocol import Modality
from coleaf_framework.results.given.delimited import ROW_FORMS, Rows, events_of_rows, read_rows
from coleaf_framework.results.given.event_json import events_of_json
from coleaf_framework.results.given.events import GivenEvents
from coleaf_framework.storage import require_file

FORMS = tuple(ROW_FORMS)
"""What `--format` may say of a file whose first line is no header."""


def read_events(path: Path, modality: Modality | None = None, form: str | None = None) -> GivenEvents:
    """Read a file of events.

    Args:
        path: JSON, or rows divided by tabs or commas.
        modality: whose events they are, for the forms that do not say so (DCASE's and LLP's).
        form: one of `FORMS`, for a file without a header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its form is not known, it says no modality and none is given, or it is malformed; names file and
            line, or file and video.
    """
    require_file(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: not a UTF-8 text file: {problem}") from None
    if not text.strip():
        raise ValueError(f"{path}: is empty")
    if "\0" in text:
        raise ValueError(f"{path}: not a text file: it holds a zero byte")
    if text.lstrip()[0] in "{[":
        if modality is not None:
            raise ValueError(f"{path}: a JSON file says every event's modality: give it without --{modality}-events")
        return events_of_json(path, text)
    rows = read_rows(path, text)
    chosen = _form_of(rows, form)
    named = ROW_FORMS[chosen]
    if named.modality is None and modality is None:
        raise ValueError(
            f"{path}: is {named.words}, which says no modality: give it as --audio-events {path} or --visual-events "
            f"{path}, or one file for each"
        )
    if named.modality is not None and modality is not None:
        raise ValueError(f"{path}: its rows say every event's modality: give it without --{modality}-events")
    return events_of_rows(rows, named, modality)


def _form_of(rows: Rows, asked: str | None) -> str:
    """The form of a file: by its header, or the requested one if it has none."""
    if rows.form is not None:
        return rows.form
    headers = "; ".join(f"{name}: {', '.join(form.columns)}" for name, form in ROW_FORMS.items())
    first = f"{rows.path}:1: its first line, {shown(rows.header)}, is no known header"
    if asked is None:
        raise ValueError(f"{first}: --format says what a file without one is ({headers})")
    expected = len(ROW_FORMS[asked].columns)
    if len(rows.header) != expected:
        raise ValueError(f"{first}, nor a row of --format {asked}, which has {expected} cells ({headers})")
    return asked
