"""Ctrl-C and SIGTERM: asked for at any time, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Notes SIGINT and SIGTERM instead of obeying them at once; a second SIGINT is obeyed at once.

    Does nothing outside the main thread, where no signal arrives.

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
    """Ignore further signals in a command that has been told to stop: they would spoil its message and exit code."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
