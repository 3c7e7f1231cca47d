"""The worker process: what it answers, and how it is replaced when it runs out of time or memory."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs the extra `video`")

from coleaf_framework.report.player import LARGEST_EMBEDDED
from coleaf_framework.serving.limits import MEGA, Limits, Refusal
from coleaf_framework.serving.worker import Worker
from coleaf_framework.serving.worker_process import Form, Job
from tests.helpers.serving import load_dying, load_refused, load_told

CLIP = Path(__file__).resolve().parents[2] / "examples" / "clips" / "tuxva000002.mp4"
LIMITS = Limits(parse_seconds=4, video_seconds=60, memory_megabytes=4000)
pytestmark = pytest.mark.slow  # each worker imports PyTorch anew


class Working:
    """A worker that follows orders, and its service's folder."""

    def __init__(self, root: Path, limits: Limits = LIMITS) -> None:
        self.folder, self.orders = root / "service", root / "orders"
        self.folder.mkdir()
        self.orders.mkdir()
        self.worker = Worker(partial(load_told, self.orders), self.folder, limits)
        self.told = self.worker.start()

    def ask(
        self, order: str = "", *, content: bytes | None = None, form: Form = "events", name: str = "my clip.mp4"
    ) -> bytes:
        for old in self.orders.iterdir():
            old.unlink()
        if order:
            (self.orders / order).touch()
        request = self.folder / "request"
        shutil.rmtree(request, ignore_errors=True)
        request.mkdir()
        (request / "0a1b.mp4").write_bytes(CLIP.read_bytes() if content is None else content)
        return self.worker.ask(Job(str(request), "0a1b.mp4", name, form))

    def refused(self, order: str = "", *, content: bytes | None = None, name: str = "my clip.mp4") -> tuple[int, str]:
        with pytest.raises(Refusal) as raised:
            self.ask(order, content=content, name=name)
        return raised.value.status, raised.value.sentence


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Working]:
    made = Working(tmp_path)
    yield made
    made.worker.close()


def test_it_answers_and_refuses_and_stays_the_same_process(working: Working) -> None:
    assert working.told["about"] == "HAN, recipe told"
    pid = working.worker.pid
    assert working.worker.start() == {}
    answer = json.loads(working.ask())
    assert list(answer["videos"]) == ["my_clip"]  # the id that parse gives it
    assert answer["notes"] == ["my clip.mp4 has no sound"]
    (event,) = answer["videos"]["my_clip"]["events"]
    assert event == {"label": "Dog", "modality": "audible-visible", "onset": 0.0, "offset": 2.0, "confidence": 0.75}
    assert b"my clip.mp4" in working.ask(form="page")
    assert working.refused("fail") == (422, "my clip.mp4: damaged after 2 s")
    status, sentence = working.refused(content=b"\x00\x00\x00\x18ftypisom" + bytes(300))
    assert status == 415
    assert sentence.startswith("my clip.mp4: ")
    assert str(working.folder) not in sentence
    assert working.refused("full") == (507, "my clip.mp4: the disk is full, so that it cannot be parsed")
    with pytest.raises(RuntimeError, match="an inner fault"):
        working.ask("fault")
    assert working.worker.pid == pid


def test_a_video_that_is_too_long_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    working = Working(tmp_path, LIMITS.model_copy(update={"video_seconds": 5}))
    assert working.refused() == (422, "my clip.mp4: lasts 10.0 s; at most 5 are taken")
    assert not (working.orders / "parsed").exists()
    working.worker.close()


def test_out_of_time_the_process_is_killed_and_the_next_video_is_parsed(working: Working) -> None:
    pid = working.worker.pid
    assert working.refused("sleep") == (504, "my clip.mp4: was not parsed within 4 s")
    assert not working.worker.alive
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    working.worker.start()
    assert working.worker.pid != pid
    assert b"Dog" in working.ask()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a limit that holds")
def test_out_of_memory_is_refused_and_the_process_replaced(working: Working) -> None:
    assert "bounded to 4000 MB" in working.told["memory"]
    status, sentence = working.refused("hog")
    assert (status, "more memory than the 4000 MB" in sentence) == (507, True)
    assert not working.worker.alive
    working.worker.start()
    assert working.refused("scant") == (status, sentence)
    working.worker.start()
    assert b"Dog" in working.ask()


@pytest.mark.parametrize("order", ["", "fail"])
def test_a_name_that_speaks_of_memory_does_not_end_the_process(working: Working, order: str) -> None:
    name = f"{os.strerror(errno.ENOMEM)}.mp4"
    status, sentence = working.refused(order, content=None if order else b"no video", name=name)
    assert (status, sentence.startswith(f"{name}: ")) == (422 if order else 415, True)
    assert working.worker.alive


def test_a_name_of_one_letter_stands_before_the_sentence(working: Working) -> None:
    assert working.refused("fail", name="a") == (422, "a: damaged after 2 s")


def test_a_process_that_still_loads_cannot_be_asked(working: Working) -> None:
    working.worker.kill()
    seen = []
    starting = threading.Thread(target=working.worker.start)
    starting.start()
    while starting.is_alive():
        seen.append(working.worker.alive)
        time.sleep(0.05)
    assert not seen[0]
    assert not any(seen[: len(seen) // 2])
    assert working.worker.alive


def test_a_process_that_dies_is_said_and_what_it_left_lies_in_the_requests_folder(working: Working) -> None:
    status, sentence = working.refused("litter")
    assert (status, "by signal 9" in sentence) == (503, True)
    assert [path.name for path in working.folder.iterdir()] == ["request"]
    assert len(list((working.folder / "request").iterdir())) == 2  # the upload, and what the parser left


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a limit that holds")
def test_a_bound_below_what_the_run_takes_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds \d+ MB once the run is loaded; its bound is 20: raise --memory"):
        Working(tmp_path, LIMITS.model_copy(update={"memory_megabytes": 20}))


def test_a_run_that_is_refused_or_ends_the_process_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^runs/x: no such run$"):
        Worker(load_refused, tmp_path, LIMITS).start()
    with pytest.raises(ValueError, match="ended before the run was loaded .with exit code 7"):
        Worker(load_dying, tmp_path, LIMITS).start()


def test_a_page_embeds_what_the_player_can_hold() -> None:
    assert Limits(page_megabytes=LARGEST_EMBEDDED / MEGA)
    with pytest.raises(ValueError, match="page_megabytes"):
        Limits(page_megabytes=LARGEST_EMBEDDED / MEGA + 1)


def test_closed_it_does_not_start_again(working: Working) -> None:
    working.worker.close()
    assert not working.worker.alive
    with pytest.raises(ValueError, match="ending"):
        working.worker.start()


def test_it_ends_with_its_server_and_removes_the_files(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "upload").touch()
    server = multiprocessing.get_context("spawn").Process(target=start_and_wait, args=(tmp_path,))
    server.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert server.is_alive()
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    server.kill()
    server.join()
    end = time.monotonic() + 30
    while _runs(pid) or (tmp_path / "service").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether a process that need not be a child's has not ended (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def start_and_wait(root: Path) -> None:
    """A server that is killed."""
    worker = Worker(partial(load_told, root / "orders"), root / "service", LIMITS)
    worker.start()
    (root / "pid").write_text(str(worker.pid))
    time.sleep(600)
