"""Text as a terminal, a table or a figure may show it, whatever names and messages hold."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import NoReturn, TextIO

# Control characters but the line break, line separators, marks that reverse the direction of writing, surrogates (as
# which Python holds the bytes of a path that are not UTF-8), and the two other characters that XML excludes.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

# An absolute path of two parts or more within a text, or one that begins at a home; a share (//host/x) and file://x are
# paths, and an address such as https://a/b is none.
_PART = r"(?:\\+|/(?!/)|(?<!:)/{2,})[^\s/\\:;,'\"()]+"
_PATH = re.compile(
    rf"(?<![\w./\\~])(?:~(?:[A-Za-z_][\w.-]*)?(?:{_PART})+|(?:file://[\w.-]*|[A-Za-z]:)?(?:{_PART}){{2,}})"
)


def printable(text: str) -> str:
    r"""The text with each control character as an escape such as `\x1b`; line breaks stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(name: str) -> str:
    r"""A name as a table, a figure or a progress bar shows it: `printable`, with line breaks as `\n`."""
    return printable(name).replace("\n", r"\n")


def counted(number: int, name: str) -> str:
    """A number with what it counts: "1 event", "2 events"."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


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


def without_folders(text: str) -> str:
    """A text in which of every absolute path only the last part is left.

    Example:
        >>> without_folders("its data are /home/ada/llp, not /data/llp: the features of 'test' differ")
        "its data are llp, not llp: the features of 'test' differ"
    """
    # The home itself is known, so that spaces in it do not end the path.
    home = rf"(?<![\w./\\~]){re.escape(str(Path.home()))}(?![\w.-])"
    text = re.sub(home, "~", text) if len(Path.home().parts) > 1 else text
    return _PATH.sub(lambda found: re.split(r"[/\\]", found[0])[-1], text)
