"""The worker process: loads the parser once, then answers one request after the other.

Only here do FFmpeg and the networks touch what was uploaded. Messages both ways are bytes without pickle: a request is
JSON; an answer is its kind ("done", "type", "refused", "memory", "disk" or "fault"), a line break, and its content.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from coleaf_framework._config import out_of_memory, reason
from coleaf_framework.serving.limits import MEGA

if TYPE_CHECKING:  # the server's process imports this module too, and needs no PyTorch
    from coleaf_framework.results.parsed_video import ParsedVideo

Form = Literal["events", "page"]


@dataclass(frozen=True)
class Job:
    """A video to be parsed.

    Args:
        folder: The request's own folder, in which the worker may write.
        file: Name of the uploaded file in it.
        name: What the client calls the video.
        form: Whether JSON or the page is wanted.
    """

    folder: str
    file: str
    name: str
    form: Form


class Parser(Protocol):
    """What a worker needs of `parsing.VideoParser`."""

    def parse(self, videos: Sequence[Path]) -> tuple[list[ParsedVideo], dict[Path, str]]:
        """See `parsing.VideoParser.parse`."""
        ...


@dataclass(frozen=True)
class Loaded:
    """A parser, and what the service's start line says of it.

    Args:
        parser: The parser.
        about: What it is, such as "HAN in CoLeaF, recipe tiny".
    """

    parser: Parser
    about: str


Load = Callable[[], Loaded]
"""Makes the parser in the worker process, so it must be picklable; raises as `parsing.VideoParser`."""


def run_worker(connection: Connection, load: Load, folder: str, memory_megabytes: int, video_seconds: float) -> None:
    """The process's main function.

    Args:
        connection: To the server.
        load: Makes the parser.
        folder: The service's temporary folder.
        memory_megabytes: Bound of the process's data.
        video_seconds: Longest video.
    """
    ending = threading.Thread(target=_end_with_parent, args=(folder,), daemon=True)
    ending.start()
    try:
        loaded = load()
        for module in ("media", "serving.forms"):  # now, rather than in the first request's time
            importlib.import_module(f"coleaf_framework.{module}")
        about = {"about": loaded.about, "memory": bound_memory(memory_megabytes)}
    except (ValueError, OSError, ImportError) as problem:
        return connection.send_bytes(f"refused\n{problem}".encode())
    except Exception:
        return connection.send_bytes(f"fault\n{traceback.format_exc()}".encode())
    try:
        connection.send_bytes(f"done\n{json.dumps(about)}".encode())
        while True:
            job = Job(**json.loads(connection.recv_bytes()))
            connection.send_bytes(b"\n".join(_answer(loaded.parser, job, video_seconds)))
    except (EOFError, ConnectionError):  # the server ends; its files are the thread's to remove first
        ending.join()


def ask(connection: Connection, job: Job) -> None:
    """Send a request to the process."""
    connection.send_bytes(json.dumps(asdict(job)).encode())


def _end_with_parent(folder: str) -> None:
    """End when the server ends, however it does, and remove its files in its place."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def bound_memory(megabytes: int) -> str:
    """Bound this process's data (Linux): heap and private writable mappings, which are what allocations take.

    The address space (RLIMIT_AS) would count mapped libraries and reserved ranges too, of which CUDA has terabytes.

    Returns:
        A sentence on what bounds it.

    Raises:
        ValueError: The process holds more already.
    """
    status = Path("/proc/self/status")
    if sys.platform != "linux" or not status.exists():
        return "the worker's memory is NOT bounded, since this system has no limit that would hold"
    import resource

    line = next(line for line in status.read_text().splitlines() if line.startswith("VmData:"))
    held = int(line.split()[1]) * 1024 // MEGA
    if held >= megabytes:
        raise ValueError(f"the worker holds {held} MB once the run is loaded; its bound is {megabytes}: raise --memory")
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = megabytes * MEGA
    wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
    return f"the worker's memory is bounded to {wanted // MEGA} MB (RLIMIT_DATA)"


_NO_MEMORY = (os.strerror(errno.ENOMEM), reason(MemoryError()))  # in sentences of FFmpeg, and of the extraction


def _answer(parser: Parser, job: Job, video_seconds: float) -> tuple[bytes, bytes]:
    """Kind and content of the answer to a request."""
    try:
        kind, content = _parsed(parser, Path(job.folder, job.file), job, video_seconds)
    except Exception as problem:
        code = problem.errno if isinstance(problem, OSError) else None
        memory = out_of_memory(problem) or code == errno.ENOMEM
        kind = "memory" if memory else "disk" if code in (errno.ENOSPC, errno.EDQUOT) else "fault"
        content = traceback.format_exc()
    return kind.encode(), content.encode("utf-8", "backslashreplace")


def _parsed(parser: Parser, path: Path, job: Job, video_seconds: float) -> tuple[str, str]:
    from coleaf_framework.extraction.naming import file_id
    from coleaf_framework.media import probe
    from coleaf_framework.serving.forms import as_events, as_page

    tempfile.tempdir = job.folder  # what the parser leaves there when it is killed is removed with the request
    try:
        info = probe(path)
    except ValueError as problem:
        return _refused("type", str(problem), path, job)
    if info.seconds > video_seconds:
        return "refused", f"{job.name}: lasts {info.seconds:.1f} s; at most {video_seconds:g} are taken"
    parsed, failed = parser.parse([path])
    if failed:
        why = next(iter(failed.values()))
        return _refused("refused", why if path.name in why else f"{path.name}: {why}", path, job)
    notes = tuple(_named(note, path, job) for note in parsed[0].notes)
    video = replace(parsed[0], file=Path(job.name), id=file_id(Path(job.name)) or "video", notes=notes)
    return "done", as_events(video) if job.form == "events" else as_page(video, path)


def _refused(kind: str, why: str, path: Path, job: Job) -> tuple[str, str]:
    """Kind and sentence of a refusal. Before the client's name, which may say anything, is put into the sentence."""
    return "memory" if any(sentence in why for sentence in _NO_MEMORY) else kind, _named(why, path, job)


def _named(sentence: str, path: Path, job: Job) -> str:
    """The sentence with the client's name of the file in place of ours, which is random and so stands for itself."""
    return sentence.replace(str(path), job.name).replace(path.name, job.name)
