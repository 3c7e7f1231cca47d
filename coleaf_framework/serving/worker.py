"""The server's side of the worker process: start, ask, replace."""

from __future__ import annotations

import json
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from coleaf_framework.serving.limits import Limits, Refusal
from coleaf_framework.serving.worker_process import Job, Load, ask, run_worker

_ENDING = "the service is ending"


class Worker:
    """One process that parses videos, replaced when it runs out of time or memory. Its methods block.

    Args:
        load: Makes the parser in the process; picklable.
        folder: The service's temporary folder.
        limits: Time and memory, and the longest video.
    """

    def __init__(self, load: Load, folder: Path, limits: Limits) -> None:
        self._arguments = (load, str(folder), limits.memory_megabytes, limits.video_seconds)
        self._limits = limits
        self._process: SpawnProcess | None = None
        self._connection: Connection
        self._lock = threading.Lock()  # one thread asks or starts at a time
        self._loaded = self._closed = False

    @property
    def alive(self) -> bool:
        """Whether there is a process that can be asked: it runs, and has loaded the parser."""
        return self._loaded and self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Id of the process."""
        return self._process.pid if self._process is not None else None

    def start(self) -> dict[str, str]:
        """Start the process unless there is one, and wait until the parser is loaded.

        Returns:
            "about", what the parser is, and "memory", what bounds the process's memory; empty if it was started before.

        Raises:
            ValueError: The parser was refused, or the process ended; why, in a sentence.
            RuntimeError: A fault, with its traceback.
        """
        with self._lock:
            if self.alive:
                return {}
            if self._closed:
                raise ValueError(_ENDING)
            context = multiprocessing.get_context("spawn")
            self._connection, others_end = context.Pipe()
            process = context.Process(target=run_worker, args=(others_end, *self._arguments), daemon=True)
            with _signals_blocked():
                process.start()
            others_end.close()
            self._process, self._loaded = process, False
            try:
                kind, content = self._receive()
            except (EOFError, OSError):
                self.kill()
                raise ValueError(f"the worker process ended before the run was loaded ({self._ended()})") from None
            if kind == "done":
                self._loaded = True
                told: dict[str, str] = json.loads(content)
                return told
            self.kill()
            raise ValueError(content.decode()) if kind == "refused" else RuntimeError(content.decode())

    def ask(self, job: Job) -> bytes:
        """Parse a video.

        Returns:
            JSON or HTML, UTF-8.

        Raises:
            Refusal: The video cannot be parsed within the limits. The process may be gone then.
            RuntimeError: A fault, with its traceback.
        """
        with self._lock:
            try:
                ask(self._connection, job)
                if not self._connection.poll(self._limits.parse_seconds):
                    self.kill()
                    raise Refusal(504, f"{job.name}: was not parsed within {self._limits.parse_seconds:g} s")
                kind, content = self._receive()
            except (EOFError, OSError):
                self.kill()
                raise Refusal(503, _ENDING if self._closed else f"{job.name}: the worker ended while it parsed this "
                              f"({self._ended()}), most likely for lack of memory") from None  # fmt: skip
        if kind == "done":
            return content
        if kind == "fault":
            raise RuntimeError(content.decode())
        if kind == "memory":
            self.kill()  # what is left of its memory may be in pieces
            most = self._limits.memory_megabytes
            raise Refusal(507, f"{job.name}: parsing it takes more memory than the {most} MB that the worker may have")
        if kind == "disk":
            raise Refusal(507, f"{job.name}: the disk is full, so that it cannot be parsed")
        raise Refusal(415 if kind == "type" else 422, content.decode())

    def kill(self) -> None:
        """End the process at once; another thread that waits for its answer is told so."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def close(self) -> None:
        """End the process for good."""
        self._closed = True
        self.kill()

    def _receive(self) -> tuple[str, bytes]:
        kind, _, content = self._connection.recv_bytes().partition(b"\n")
        return kind.decode(), content

    def _ended(self) -> str:
        code = self._process.exitcode if self._process is not None else None
        return f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Within this, a process is started that Ctrl-C and SIGTERM do not reach: the server ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
