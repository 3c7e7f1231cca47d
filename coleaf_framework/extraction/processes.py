"""Extracting files in several processes, of which one that dies takes only its file with it."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from coleaf_framework._config import reason
from coleaf_framework._machine import cores
from coleaf_framework.extraction.one_file import FileExtractor, FileFeatures
from coleaf_framework.extraction.projection import Projection
from coleaf_framework.extraction.recipe import Recipe


@dataclass(frozen=True)
class Task:
    """A file, and the folder into which its features are written first."""

    file: Path
    folder: Path

    def remove(self) -> None:
        """Remove what is left of the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Setup:
    """What a process needs to make a `FileExtractor` for itself; the arguments are those of `extract`.

    Args:
        kind: Class of the recipe.
        weights: Folder with its weights.
        device: Where its networks run.
        projection: By what the streams are projected.
        window: Seconds of a window.
    """

    kind: type[Recipe]
    weights: Path | None
    device: str
    projection: Path | None
    window: int

    def make(self) -> FileExtractor:
        """Load the networks.

        Raises:
            FileNotFoundError, ImportError, ValueError: As the recipe and `Projection` do.
        """
        recipe = self.kind(self.weights, self.device)
        projection = None if self.projection is None else Projection(self.projection, recipe.streams)
        return FileExtractor(recipe, projection, self.window)


@dataclass(frozen=True)
class _Stopped:
    """An error that ends the whole extraction."""

    message: str
    users: bool  # a user's mistake or the machine's state, rather than a fault in the code


def in_processes(
    setup: Setup, tasks: Sequence[Task], jobs: int, progress: Callable[[Path, float], None]
) -> Iterator[tuple[Task, FileFeatures | str]]:
    """Do tasks in processes, each with networks of its own and its share of the cores.

    Args:
        setup: What each process makes.
        tasks: The files.
        jobs: Number of processes; no more than tasks are used.
        progress: See `extract`.

    Yields:
        Each task when it is done, in the order of their ends: what was written, or why nothing was.

    Raises:
        OSError: Nothing can be written any more, or a process ended while it loaded the networks.
        RuntimeError: A fault in the code of a recipe.
    """
    jobs = min(jobs, len(tasks))
    waiting = list(reversed(tasks))
    workers = [_Worker(setup, jobs) for _ in range(jobs)]
    try:
        while workers:
            for ready in connection.wait([worker.connection for worker in workers]):
                worker = next(worker for worker in workers if worker.connection is ready)
                task, message = worker.task, worker.receive()
                if isinstance(message, float):
                    assert task is not None
                    progress(task.file, message)
                    continue
                if isinstance(message, FileFeatures | str):
                    assert task is not None
                    yield task, message
                if not worker.alive:
                    workers.remove(worker)
                    if waiting:
                        workers.append(_Worker(setup, jobs))
                elif waiting:
                    worker.give(waiting.pop())
                else:
                    workers.remove(worker)
                    worker.end()
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process, as the one that gives it tasks sees it."""

    def __init__(self, setup: Setup, jobs: int) -> None:
        context = get_context("spawn")  # a copy of a process with threads can wait for a lock without end
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, setup, jobs), daemon=True)
        with _interrupts_held():
            self.process.start()
        theirs.close()
        self.task: Task | None = None
        self.alive = True

    def give(self, task: Task) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # it has died, of which `receive` tells
            self.connection.send(task)

    def receive(self) -> Any:
        """None when it is ready, seconds that are done, or a task's result; a process that died gives one too."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.alive = False
            return self._death()
        if isinstance(message, _Stopped):
            raise (OSError if message.users else RuntimeError)(message.message)
        return message

    def _death(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = "; where memory is short, fewer jobs or a shorter window take less" if code == -signal.SIGKILL else ""
        if self.task is None:
            raise OSError(f"a process {how} while it loaded the networks{hint}")
        return f"the process that extracted it {how}{hint}"

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process that is started within this never sees Ctrl-C, not even while it imports modules.

    It reaches the process that gives the tasks, which ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started by `start`, it would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(tasks: Connection, setup: Setup, jobs: int) -> None:
    """What a process does: tasks, until there are no more or the process that gives them has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(max(1, cores() // jobs))
    try:
        extractor = setup.make()
        tasks.send(None)
        while True:
            task: Task = tasks.recv()
            tasks.send(extractor.attempt(task.file, task.folder, lambda seconds: tasks.send(float(seconds))))
    except (EOFError, BrokenPipeError):
        return
    except Exception as problem:
        tasks.send(_Stopped(reason(problem), isinstance(problem, ValueError | OSError | ImportError)))
