"""Requests that wait for the worker."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from coleaf_framework.serving.limits import Refusal
from coleaf_framework.serving.worker_process import Job

_log = logging.getLogger(__name__)


class Asked(Protocol):
    """What the queue needs of a `worker.Worker`; its methods block."""

    @property
    def alive(self) -> bool: ...
    def start(self) -> object: ...
    def ask(self, job: Job) -> bytes: ...
    def kill(self) -> None: ...


class Queue:
    """Requests that wait for the worker, first come, first served.

    Args:
        worker: Parses one video at a time.
        waiting: Requests that may wait while one is parsed. As many may be uploading, and one more.
    """

    def __init__(self, worker: Asked, waiting: int) -> None:
        self.worker, self.waiting = worker, waiting
        self.inside = 0  # parsed and waiting
        self.uploads = 0
        self._turn = asyncio.Lock()
        self._last_seconds = 1.0
        self._restarting: asyncio.Task[None] | None = None

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Within this, a video is being uploaded.

        Raises:
            Refusal: The queue is full, or too many upload already.
        """
        self.require_place()
        if self.uploads > self.waiting:
            raise self._full(f"{self.uploads} videos are being uploaded")
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1

    def require_place(self) -> None:
        """Check that the queue has a place.

        Raises:
            Refusal: It has none.
        """
        if self.inside > self.waiting:
            raise self._full(f"one video is being parsed and {self.inside - 1} wait")

    def _full(self, why: str) -> Refusal:
        later = max(1, math.ceil(self._last_seconds))  # a place is free once the video that is parsed now is done
        return Refusal(429, f"{why}; try again in {later} s", {"Retry-After": str(later)})

    async def parse(self, job: Job, gone: Callable[[], Awaitable[bool]]) -> bytes:
        """Wait for one's turn and parse.

        Args:
            job: The video.
            gone: Whether the client has left meanwhile.

        Raises:
            Refusal: The queue is full, or `worker.Worker.ask` refuses.
            RuntimeError: A fault, with its traceback.
        """
        self.require_place()
        self.inside += 1
        try:
            async with self._turn:
                if await gone():
                    raise Refusal(400, "the client left before its turn came")
                await self._start()
                return await self._ask(job)
        finally:
            self.inside -= 1

    async def _start(self) -> None:
        try:
            await asyncio.to_thread(self.worker.start)
        except (ValueError, RuntimeError) as problem:
            _log.error("the worker does not start again: %s", problem)
            raise Refusal(503, "there is no worker at present, since a new one does not start") from None

    async def _ask(self, job: Job) -> bytes:
        start = time.monotonic()
        try:
            return await asyncio.to_thread(self.worker.ask, job)
        except asyncio.CancelledError:
            self.worker.kill()  # or its answer would be taken for the next request's
            raise
        finally:
            self._last_seconds = time.monotonic() - start
            if not self.worker.alive:  # start another before somebody waits for it
                self.restart()

    def restart(self) -> None:
        """Start the worker in the background, as soon as its turn comes."""
        if self._restarting is None or self._restarting.done():
            self._restarting = asyncio.create_task(self._restart())

    async def _restart(self) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(self.worker.start)
            except (ValueError, RuntimeError) as problem:
                _log.error("the worker does not start again: %s", problem)
