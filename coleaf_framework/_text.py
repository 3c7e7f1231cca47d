"""Text as a terminal, a table or a figure may show it, whatever names and messages hold."""

from __future__ import annotations

import logging
import re
import sys
from typing import NoReturn, TextIO

# Control characters but the line break, line separators, marks that reverse the direction of writing, surrogates (as
# which Python holds the bytes of a path that are not UTF-8), and the two other characters that XML excludes.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    r"""The text with each control character as an escape such as `\x1b`; line breaks stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(name: str) -> str:
    r"""A name as a table, a figure or a progress bar shows it: `printable`, with line breaks as `\n`."""
    return printable(name).replace("\n", r"\n")


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text of one or more lines, on standard output where `file` is None.

    What the stream cannot encode is printed as escapes too.
    """
    file = file or sys.stdout
    encoding = getattr(file, "encoding", None) or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding), file=file)


def end_interrupted(stopped: KeyboardInterrupt) -> NoReturn:
    """Say that Ctrl-C ended the command, and what was saved where that is known; exit code 130."""
    known = str(stopped).strip()
    say("coleaf: interrupted" + (f"; {known}" if known else ""), sys.stderr)
    sys.exit(130)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr() -> None:
    """Print log messages on standard error, with their level."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
