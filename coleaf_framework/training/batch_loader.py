"""Batches of a data set: read by `torch.utils.data.DataLoader`, or gathered from tensors that hold all of it."""

from __future__ import annotations

import errno
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from multiprocessing.queues import Queue
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from coleaf_framework._machine import sent
from coleaf_framework.data import AVVPDataset, Video, collate
from coleaf_framework.protocol import Batch
from coleaf_framework.record.config import Cache
from coleaf_framework.training.interrupts import STOPPING
from coleaf_framework.training.plan import MicroBatch


class BatchLoader:
    """Loads the requested batches of a data set, in the requested order.

    Args:
        data: the data set.
        device: where batches are to be.
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
        self._resident: _Resident | None = None
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
            self._resident = _Resident(one_by_one, self.data, place, self.dtype)
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
        """Start the loader's iterator; the death of a reading process is noticed in its `next` alone."""
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
    """A data set that returns its errors, so that they arrive as errors and not as a traceback in a text."""

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


_BY_SEGMENT = ("segment_labels", "pseudo_labels", "pseudo_label_mask")  # fields (B,T,M,C) of a batch


class _Resident:
    """All videos of a data set in one tensor a stream, (segments of all videos, frames * width)."""

    def __init__(self, videos: Iterator[Batch], data: AVVPDataset, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.ids, self.streams = device, data.ids, data.streams
        rows: dict[str, _Rows] = {}
        by_segment: dict[str, _Rows] = {}
        labels: list[Tensor] = []
        modality_labels: list[Tensor] = []
        self.lengths: list[int] = []
        masked = False
        for batch in videos:
            for name, x in batch.streams.items():
                frames = rearrange(x[0], "(t k) d -> t (k d)", k=data.streams[name].frames)
                rows.setdefault(name, _Rows(len(data), device)).add(frames.to(dtype))
            labels.append(batch.labels.clone())  # a reading process's tensor would keep a file open
            if batch.modality_labels is not None:
                modality_labels.append(batch.modality_labels.clone())
            masked |= batch.pseudo_label_mask is not None
            for name in _BY_SEGMENT:
                given = getattr(batch, name)
                if given is None and name == "pseudo_label_mask" and batch.pseudo_labels is not None:
                    given = torch.ones_like(batch.pseudo_labels, dtype=torch.bool)  # they say something everywhere
                if given is not None:
                    by_segment.setdefault(name, _Rows(len(data), device)).add(given[0])
            self.lengths.append(len(frames))
        self.rows = {name: x.whole() for name, x in rows.items()}
        self.labels = torch.cat(labels).to(device)
        self.modality_labels = torch.cat(modality_labels).to(device) if modality_labels else None
        if not masked:
            by_segment.pop("pseudo_label_mask", None)
        self.by_segment = {name: x.whole() for name, x in by_segment.items()}
        for name, x in self.by_segment.items():
            _require_all(name, len(x), sum(self.lengths), data)
        if self.modality_labels is not None:
            _require_all("modality_labels", len(self.modality_labels), len(data), data)
        self.starts = torch.tensor([0, *accumulate(self.lengths)][:-1])
        self.segments = torch.tensor(self.lengths)

    def batch(self, videos: tuple[int, ...]) -> Batch:
        """The batch of these videos. The CPU computes indices only, so the device never waits."""
        chosen = torch.tensor(videos)
        lengths = self.segments[chosen, None]
        longest = max(self.lengths[i] for i in videos)
        at = torch.arange(longest)[None]
        real = at < lengths
        rows = sent(self.starts[chosen, None] + torch.minimum(at, lengths - 1), self.device)
        mask = None if bool(real.all()) else sent(real, self.device)

        def gather(x: Tensor) -> Tensor:
            found = x[rows]
            return found if mask is None else found * mask.view(*mask.shape, *[1] * (found.ndim - 2))

        videos_on_device = sent(chosen, self.device)
        return Batch(
            streams={
                name: rearrange(gather(x), "b t (k d) -> b (t k) d", k=self.streams[name].frames)
                for name, x in self.rows.items()
            },
            labels=self.labels[videos_on_device],
            mask=mask,
            modality_labels=None if self.modality_labels is None else self.modality_labels[videos_on_device],
            **{name: gather(x) for name, x in self.by_segment.items()},  # type: ignore[arg-type]
            ids=tuple(self.ids[i] for i in videos),
        )


def _require_all(field: str, found: int, expected: int, data: AVVPDataset) -> None:
    if found != expected:
        raise ValueError(
            f"{data.name} {data.split}: some videos have {field} and others not: all videos of a split must have them "
            "or none"
        )


class _Rows:
    """A tensor that grows by rows; sized at once for videos as long as the first."""

    def __init__(self, videos: int, device: torch.device) -> None:
        self.videos, self.device, self.used = videos, device, 0
        self.tensor = torch.empty(0)

    def add(self, x: Tensor) -> None:
        if not self.used:
            self.tensor = torch.empty(self.videos * len(x), *x.shape[1:], dtype=x.dtype, device=self.device)
        end = self.used + len(x)
        if end > len(self.tensor):
            more = torch.empty(end + len(self.tensor) // 4, *x.shape[1:], dtype=x.dtype, device=self.device)
            more[: self.used] = self.tensor[: self.used]
            self.tensor = more
        self.tensor[self.used : end] = x
        self.used = end

    def whole(self) -> Tensor:
        return self.tensor if self.used == len(self.tensor) else self.tensor[: self.used].clone()
