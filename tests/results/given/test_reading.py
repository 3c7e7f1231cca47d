"""Files of events: which form they have, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coleaf_framework.protocol import Modality
from coleaf_framework.results.given import read_events

DCASE = "filename\tonset\toffset\tevent_label\n"
LLP = "filename\tonset\toffset\tevent_labels\n"
CSV = "id,modality,class,onset,offset\n"


def written(folder: Path, text: str, name: str = "theirs.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def event(**changes: Any) -> dict[str, Any]:
    return {"label": "Dog", "modality": "audible-only", "onset": 0, "offset": 1.5} | changes


def as_json(folder: Path, *events: dict[str, Any], **of_video: Any) -> Path:
    return written(folder, json.dumps({"videos": {"v": {"events": events} | of_video}}))


@pytest.mark.parametrize(
    ("text", "modality", "form", "modalities"),
    [
        (DCASE + "v\t0\t1.5\tDog\n", "audio", "DCASE's TSV, audio", (0,)),
        (LLP + "v\t0\t1.5\tDog\n", "visual", "LLP's TSV, visual", (1,)),
        (DCASE.replace("\t", ",") + "v,0,1.5,Dog\n", "audio", "DCASE's TSV, audio", (0,)),
        (CSV + "v,audio,Dog,0,1.5\n", None, "CSV with modalities", (0,)),
        (CSV + "v,audible-visible,Dog,0,1.5\n", None, "CSV with modalities", (0, 1)),
        ("\ufeff" + CSV + "v,visual,Dog,0,1.5\n", None, "CSV with modalities", (1,)),
        (CSV.replace("\n", "\r\n") + "v,visual,Dog,0,1.5\r\n\r\n", None, "CSV with modalities", (1,)),
        ("class,onset,offset,id,modality,confidence\nDog,0,1.5,v,visual,0.7\n", None, "CSV with modalities", (1,)),
        (json.dumps({"videos": {"v": {"events": [event()]}}, "model": "any"}), None, "JSON of events", (0,)),
    ],
)
def test_a_form_is_told_by_its_content(
    tmp_path: Path, text: str, modality: Modality | None, form: str, modalities: tuple[int, ...]
) -> None:
    given = read_events(written(tmp_path, text), modality)
    (found,) = given.videos["v"]
    assert (given.form, found.modalities, found.label, found.onset, found.offset) == (form, modalities, "Dog", 0, 1.5)
    assert given.read_as == f"{tmp_path / 'theirs.txt'}: read as {form}, 1 event in 1 video"


def test_a_comma_in_quotes_is_part_of_the_class(tmp_path: Path) -> None:
    given = read_events(written(tmp_path, CSV + 'v,audio,"Male speech, man speaking",0,1\n'))
    assert given.videos["v"][0].label == "Male speech, man speaking"


def test_a_row_of_a_name_alone_is_a_video_without_events(tmp_path: Path) -> None:
    assert read_events(written(tmp_path, DCASE + "v\t\t\t\n"), "audio").videos == {"v": []}


@pytest.mark.parametrize(("form", "row"), [("dcase", "v\t0\t1\tDog"), ("csv", "v,audio,Dog,0,1")])
def test_a_file_without_a_header_is_asked_about(tmp_path: Path, form: str, row: str) -> None:
    path = written(tmp_path, row + "\n")
    modality: Modality | None = "audio" if form == "dcase" else None
    with pytest.raises(ValueError, match=r"theirs.txt:1: .* is no known header: --format says what"):
        read_events(path, modality)
    assert read_events(path, modality, form).videos["v"][0].label == "Dog"


@pytest.mark.parametrize(
    ("text", "modality", "words"),
    [
        ("", None, "is empty"),
        (" \n", None, "is empty"),
        ("a\0b", None, "zero byte"),
        (DCASE + "v\t0\t1\tDog\n", None, "says no modality: give it as --audio-events"),
        (CSV + "v,audio,Dog,0,1\n", "audio", "give it without --audio-events"),
        ('{"videos": {}}', "visual", "give it without --visual-events"),
        (DCASE + "v\t0\t1\n", "audio", "theirs.txt:2: expected 4 cells"),
        (DCASE + "v\t0\t1\t\n", "audio", "theirs.txt:2: names no class"),
        (DCASE + "\t0\t1\tDog\n", "audio", "theirs.txt:2: names no video"),
        (DCASE + "v\t0\tnan\tDog\n", "audio", "theirs.txt:2: offset is 'nan', where a number of seconds"),
        (DCASE + "v\t1_0\t12\tDog\n", "audio", "onset is '1_0'"),
        (DCASE + "v\t-1\t1\tDog\n", "audio", "theirs.txt:2: onset is -1"),
        (DCASE + "v\t0\t1e999\tDog\n", "audio", "offset is inf"),
        (DCASE + "v\t3\t3\tDog\n", "audio", "theirs.txt:2: offset 3 is not after onset 3"),
        (DCASE + "v\t0\t1\tDog\nv\t\t\t\n", "audio", "theirs.txt:3: says that video 'v' has no events"),
        (CSV + "v,sound,Dog,0,1\n", None, "theirs.txt:2: modality 'sound' is none of audio, visual"),
        (CSV + 'v,audio,"Dog,0,1\n', None, "not rows of cells"),
        ("[]", None, r'expected {"videos"'),
        ('{"video": {}}', None, r"found the keys \['video'\]"),
        ('{"videos": {"v": {"events": []}, "v": {"events": []}}}', None, "the key 'v' stands twice"),
        ('{"videos": {"v": []}}', None, "video 'v': expected keys with values"),
        ('{"videos": {"v": {}}}', None, "video 'v': events: Field required"),
        ('{"videos": ', None, "not JSON"),
        ("[" * 100_000, None, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, modality: Modality | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_events(written(tmp_path, text), modality)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"onset": float("nan")}, "events.0.onset"),
        ({"onset": "0"}, "events.0.onset"),
        ({"onset": True}, "onset: expected a number"),
        ({"onset": 2}, "video 'v', event 0: offset 1.5 is not after onset 2"),
        ({"onset": -1}, "video 'v', event 0: onset is -1"),
        ({"modality": "both"}, "video 'v', event 0: modality 'both' is none of"),
        ({"label": ""}, "events.0.label"),
        ({"confidence": 2}, "events.0.confidence"),
        ({"why": "barks"}, "no key 'why'"),
    ],
)
def test_a_wrong_field_of_an_event_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_events(as_json(tmp_path, event(**changes)))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a UTF-8 text file"):
        read_events(path)
