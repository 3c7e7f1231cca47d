"""Batches of a data set: read by `torch.utils.data.DataLoader`, or gathered from tensors that hold all videos."""

from __future__ import annotations

import errno
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.queues import Queue
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from coleaf_framework.data import AVVPDataset, Video, collate
from coleaf_framework.protocol import Batch
from coleaf_framework.record.config import Cache
from coleaf_framework.training.interrupts import STOPPING
from coleaf_framework.training.plan import MicroBatch
from coleaf_framework.training.resident import ResidentVideos


class BatchLoader:
    """Loads the requested batches of a data set, in the requested order.

    Args:
        data: the data set.
        device: of the batches.
        workers: processes that read videos.
        cache: "none" reads each video anew; "memory" keeps all in the main memory, "device" on the device, both
            from the first time on.
        dtype: of the streams that are kept on the device.
    """

    def __init__(
        self,
        data: AVVPDataset,
        device: torch.device,
        workers: int = 0,
        cache: Cache = "none",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.data, self.device, self.workers = data, device, workers
        self.cache, self.dtype = cache, dtype if cache == "device" else torch.float32
        self._order = _Order()
        self._resident: ResidentVideos | None = None
        self._loader: DataLoader[Video] | None = None

    def __call__(self, micro_batches: Sequence[MicroBatch]) -> Iterator[Batch]:
        """The batches of `micro_batches`, on the device.

        Raises:
            ChildProcessError: a process that reads videos died.
            OSError, ValueError: a video cannot be read; as the data set raises them.
            RuntimeError: the data set raised anything else; names the video.
        """
        if self.cache == "none":
            for batch, micro_batch in zip(
                self._read([micro_batch.videos for micro_batch in micro_batches]), micro_batches, strict=True
            ):
                yield replace(batch.to(self.device), fraction=micro_batch.fraction)
            return
        if self._resident is None:
            place = self.device if self.cache == "device" else torch.device("cpu")
            one_by_one = self._read([(i,) for i in range(len(self.data))])
            self._resident = ResidentVideos(one_by_one, self.data, place, self.dtype)
            self._loader = None  # its processes are not needed any more
        for micro_batch in micro_batches:
            yield replace(self._resident.batch(micro_batch.videos).to(self.device), fraction=micro_batch.fraction)

    def _read(self, videos: Sequence[tuple[int, ...]]) -> Iterator[Batch]:
        if self._loader is None:
            if self.workers:
                _require_files(self.workers, len(self.data.streams))
            self._loader = DataLoader(
                _Readable(self.data),
                batch_sampler=self._order,  # type: ignore[arg-type]
                num_workers=self.workers,
                persistent_workers=self.workers > 0,
                generator=torch.Generator(),  # the global one belongs to the training step
                pin_memory=self.device.type == "cuda" and self.cache != "device",
                collate_fn=functools.partial(_collate, streams=self.data.streams),
                worker_init_fn=_begin_reading,
            )
        self._order.videos = videos
        batches = self._begin(self._loader)
        while True:
            try:
                batch = next(batches, None)
            except RuntimeError as problem:
                if not any(word in str(problem) for word in ("DataLoader worker", "the workers")):
                    raise
                self._loader = None
                if "Too many open files" in str(problem):  # torch's words, whatever the system's language
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from None
                reason = str(problem).splitlines()[0]
                raise ChildProcessError(f"a process that reads videos died ({reason}); was it out of memory?") from None
            if batch is None:
                return
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def _begin(self, loader: DataLoader[Any]) -> Iterator[Any]:
        """Start the loader's iterator; only its `next` notices the death of a reading process."""
        if not (self.workers and hasattr(signal, "SIGCHLD")):
            return iter(loader)
        # Processes that start now inherit the mask, so no signal comes before `_begin_reading` has run.
        mask, deaths = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING), signal.getsignal(signal.SIGCHLD)
        try:
            return iter(loader)
        finally:
            if signal.getsignal(signal.SIGCHLD) is not deaths:
                # torch's handler would raise wherever this process is, such as in the middle of a step.
                signal.signal(signal.SIGCHLD, deaths or signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin_reading(worker: int) -> None:
    """Let a reading process ignore signals sent to all processes of a job; only its parent ends it."""
    Queue._on_queue_feeder_error = _send_error  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        threading.Thread(target=_end_with_parent, daemon=True).start()
    elif hasattr(os, "setpgrp"):  # macOS
        os.setpgrp()  # out of reach of a signal to the parent's group
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent.pid:
        pass
    os._exit(0)  # as torch's own handler does


def _send_error(queue: Any, problem: Exception, sent: tuple[int, Any]) -> None:
    """Send an error in place of a batch that cannot be sent; by default the parent would wait for it forever."""
    queue.put((sent[0], plain_error(problem)))


def _require_files(workers: int, streams: int) -> None:
    """Check that the limit on open files allows this many reading processes, by opening as many once.

    Later, too few open files would look like broken video files.

    Raises:
        OSError: there may not be as many.
    """
    tensors = streams + 6  # mask, and labels of all kinds, each of which is a file until it is dropped
    files: list[int] = []
    try:
        for _ in range(workers * (4 + 2 * tensors) + 4 * tensors):
            files.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as problem:
        raise OSError(problem.errno, f"{problem.strerror} for trainer.workers={workers}") from None
    finally:
        for file in files:
            os.close(file)


class _Order(Sampler[tuple[int, ...]]):
    """A batch sampler whose batches can be replaced, so that reading processes live longer than an epoch."""

    def __init__(self) -> None:
        self.videos: Sequence[tuple[int, ...]] = ()

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return iter(self.videos)

    def __len__(self) -> int:
        return len(self.videos)


class _Readable(Dataset[Any]):
    """A data set that returns its errors, since a worker's exception would arrive as text with a traceback."""

    def __init__(self, data: AVVPDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Video | Exception:
        try:
            return self.data[index]
        except (ValueError, OSError) as problem:
            return plain_error(problem)
        except Exception as problem:  # somebody's data set may raise anything
            return RuntimeError(f"video {self.data.ids[index]!r}: {type(problem).__name__}: {problem}")


def plain_error(problem: Exception, note: str = "") -> Exception:
    """Re-create the exception as the nearest built-in type, with the note appended."""
    text = f"{problem}; {note}" if note else str(problem)
    kind = next(k for k in type(problem).__mro__ if k.__module__ == "builtins")
    return kind(text) if issubclass(kind, OSError) else ValueError(text)


def _collate(videos: Sequence[Video | Exception], streams: Any) -> Batch | Exception:
    for video in videos:
        if isinstance(video, Exception):
            return video
    return collate([video for video in videos if isinstance(video, Video)], streams)
