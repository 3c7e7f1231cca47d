"""What reaches a terminal, a table or a figure, whatever names hold."""

from __future__ import annotations

import io
import logging
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework._text import log_to_stderr, one_line, printable, say

anything = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x1b]0;title\a", r"\x1b]0;title\x07"),
        ("a\0b\rc\x7f", r"a\x00b\rc\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("caf\udcff", r"caf\udcff"),
        ("\u2028\u202egpj", r"\u2028\u202egpj"),
        ("two\nlines", "two\nlines"),
        ("Käse, 犬, 🐶, [/], a|b", "Käse, 犬, 🐶, [/], a|b"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(anything)
def test_any_text_becomes_valid_xml(text: str) -> None:
    ElementTree.fromstring(f"<text>{escape(printable(text))}</text>".encode())


def test_a_name_stays_on_one_line() -> None:
    assert one_line("two\nlines") == r"two\nlines"


def test_what_a_stream_cannot_encode_is_said_in_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    say("Käse \x1b ±", stream)
    stream.flush()
    assert raw.getvalue() == b"K\\xe4se \\x1b \\xb1\n"


def test_log_messages_are_shown_so_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    log_to_stderr()
    logging.getLogger("some").warning("%s: no such file", "\x1b[2J")
    assert capsys.readouterr().err == "WARNING: \\x1b[2J: no such file\n"
