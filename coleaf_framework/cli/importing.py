"""Ctrl-C while modules are imported."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Within this, Ctrl-C ends the process at once, in a sentence and with exit code 130.

    A KeyboardInterrupt would not do: modules catch it while they are imported, or turn it into a failed import. Use it
    before a command has begun to write anything.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # whoever started this process has it ignored, or handles it
        yield
        return
    signal.signal(signal.SIGINT, _end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_at_once(*_: object) -> None:
    os.write(2, b"coleaf: interrupted\n")
    os._exit(130)
