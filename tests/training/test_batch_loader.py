"""Batches from files, from memory and from the device: the same; errors of reading processes come through."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data._utils import signal_handling

from coleaf_framework import Batch
from coleaf_framework.data import AVVPFolder, Video
from coleaf_framework.training.batch_loader import BatchLoader
from coleaf_framework.training.plan import MicroBatch
from tests.helpers.data import last

CPU = torch.device("cpu")
MICRO_BATCHES = [MicroBatch((2, 0), 0.5), MicroBatch((1,), 0.25), MicroBatch((0, 1, 2), 0.25)]


def assert_same(a: Batch, b: Batch) -> None:
    assert a.streams.keys() == b.streams.keys()
    for name in a.streams:
        torch.testing.assert_close(a.streams[name], b.streams[name], rtol=0, atol=0)
    for x, y in ((a.labels, b.labels), (a.segment_labels, b.segment_labels), (a.mask, b.mask)):
        assert (x is None) == (y is None)
        assert x is None or torch.equal(x, y)
    assert (a.ids, a.fraction) == (b.ids, b.fraction)


@pytest.mark.parametrize("cache", ["memory", "device"])
@pytest.mark.parametrize("lengths", [(4, 4, 4), (4, 6, 2), (1, 2, 7)])
def test_kept_videos_make_the_same_batches(data_root: Path, cache: Any, lengths: tuple[int, ...]) -> None:
    for i, segments in enumerate(lengths):
        last(data_root, f"va0{i}", segments)
    (data_root / "AVVP_eval_audio.csv").write_text(
        f"filename\tonset\toffset\tevent_labels\nva01_0_{lengths[1]}\t0\t1\tCar\n"
    )
    (data_root / "AVVP_eval_visual.csv").write_text("filename\tonset\toffset\tevent_labels\n")
    data = AVVPFolder(data_root, "val")
    kept = BatchLoader(data, CPU, cache=cache)
    for _ in range(2):
        for a, b in zip(kept(MICRO_BATCHES), BatchLoader(data, CPU)(MICRO_BATCHES), strict=True):
            assert_same(a, b)


def test_kept_videos_are_read_once(data_root: Path) -> None:
    data = AVVPFolder(data_root, "val")
    loader = BatchLoader(data, CPU, cache="memory")
    first = list(loader(MICRO_BATCHES))
    for path in (data_root / "feats").rglob("*.npy"):
        path.unlink()
    for a, b in zip(loader(MICRO_BATCHES), first, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanished_is_named(data_root: Path, workers: int) -> None:
    loader = BatchLoader(AVVPFolder(data_root, "val"), CPU, workers)
    (data_root / "feats/vggish/va01.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"^[^\n]*vggish/va01\.npy: no such file$"):
        list(loader([MicroBatch((0,)), MicroBatch((1,))]))


class Deadly(AVVPFolder):
    """Kills the process that reads its second video, as the system does when memory runs out."""

    def __getitem__(self, index: int) -> Video:
        if index == 1:
            os.kill(os.getpid(), 9)
        return super().__getitem__(index)


@pytest.mark.slow
def test_a_reading_process_that_dies_is_told(data_root: Path) -> None:
    loader = BatchLoader(Deadly(data_root, "val"), CPU, workers=1)
    with pytest.raises(
        ChildProcessError, match=r"a process that reads videos died \(DataLoader worker .*out of memory"
    ):
        list(loader([MicroBatch((0,)), MicroBatch((1,))]))


def test_reading_processes_live_longer_than_an_epoch(data_root: Path) -> None:
    loader = BatchLoader(AVVPFolder(data_root, "val"), CPU, workers=1)
    list(loader(MICRO_BATCHES))
    before = loader._loader
    for a, b in zip(
        loader(MICRO_BATCHES[::-1]), BatchLoader(AVVPFolder(data_root, "val"), CPU)(MICRO_BATCHES[::-1]), strict=True
    ):
        assert_same(a, b)
    assert loader._loader is before is not None


class Signalled(AVVPFolder):
    """Is sent what a scheduler sends to every process of a job."""

    def __getitem__(self, index: int) -> Video:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        return super().__getitem__(index)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_reading_processes_outlive_the_signals_of_a_job(data_root: Path) -> None:
    data = AVVPFolder(data_root, "val")
    for a, b in zip(
        BatchLoader(Signalled(data_root, "val"), CPU, workers=2)(MICRO_BATCHES),
        BatchLoader(data, CPU)(MICRO_BATCHES),
        strict=True,
    ):
        assert_same(a, b)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_reading_processes_end_when_their_parent_says_so(data_root: Path) -> None:
    loader = BatchLoader(AVVPFolder(data_root, "val"), CPU, workers=1)
    next(loader(MICRO_BATCHES))
    [reader] = loader._loader._iterator._workers  # type: ignore[attr-defined]
    reader.terminate()
    reader.join(20)
    assert reader.exitcode is not None


@pytest.fixture
def first_loader(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The state of a process whose loader is the first: PyTorch sets its handler of SIGCHLD once, for good."""
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.usefixtures("first_loader")
def test_a_death_is_told_where_a_batch_is_asked_for(data_root: Path) -> None:
    """Not by an exception in the middle of a step, which could not be resumed."""
    loader = BatchLoader(AVVPFolder(data_root, "val"), CPU, workers=1)
    batches = loader([MicroBatch((0,))] * 10)
    next(batches)
    [reader] = loader._loader._iterator._workers  # type: ignore[attr-defined]
    reader.kill()
    os.waitid(os.P_PID, reader.pid, os.WEXITED | os.WNOWAIT)  # would raise, were it told anywhere
    with pytest.raises(ChildProcessError, match="a process that reads videos died"):
        list(batches)


class Crowded(AVVPFolder):
    """Leaves its process no file to open."""

    def __getitem__(self, index: int) -> Video:
        import resource

        video = super().__getitem__(index)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return video


@pytest.mark.skipif(sys.platform != "linux", reason="limits open files, through which batches are sent here")
def test_a_batch_that_cannot_be_sent_is_an_error(data_root: Path) -> None:
    with pytest.raises((OSError, ValueError), match="Too many open files"):
        next(BatchLoader(Crowded(data_root, "val"), CPU, workers=1)([MicroBatch((0,))]))
