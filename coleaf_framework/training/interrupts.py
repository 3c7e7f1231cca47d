"""Ctrl-C and SIGTERM end a run between two training steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Records SIGINT and SIGTERM, to be handled between two steps; a second SIGINT raises at once.

    Does nothing outside the main thread, since signals arrive only there.

    Args:
        patient: a second SIGINT is only noted too, since torchrun repeats the terminal's.
    """

    def __init__(self, *, patient: bool) -> None:
        self.patient, self.requested = patient, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT and not self.patient:
            raise KeyboardInterrupt
        self.requested = True


def end_undisturbed() -> None:
    """Ignore further signals while a command ends, so that they change neither its message nor its exit code."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
