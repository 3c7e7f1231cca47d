"""Running the service: worker, temporary folder, port and signals."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from coleaf_framework._text import say
from coleaf_framework.serving.app import make_app
from coleaf_framework.serving.guard import is_address
from coleaf_framework.serving.limits import Limits
from coleaf_framework.serving.queue import Queue
from coleaf_framework.serving.worker import Worker
from coleaf_framework.serving.worker_process import Load

_GRACE = 10
"""Seconds that requests in progress are given when the service is told to end."""


def serve(load: Load, limits: Limits, host: str = "127.0.0.1", port: int = 8000, hosts: Collection[str] = ()) -> None:
    """Serve until SIGINT (Ctrl-C) or SIGTERM. The port opens once the run is loaded.

    Args:
        load: Makes the parser in the worker process; picklable.
        limits: What is refused.
        host: Address to bind.
        port: Port to bind; a free one if 0.
        hosts: Further names under which the service may be addressed.

    Raises:
        OSError: The address cannot be bound.
        ValueError: The parser was refused.
    """
    with _bound(host, port) as bound, _private_folder() as folder, _ends_by_signal():
        worker = Worker(load, folder, limits)
        try:
            told = worker.start()
            names = {*hosts} if is_address(host) else {*hosts, host}
            app = make_app(Queue(worker, limits.waiting), folder, limits, told["about"], names)
            _announce(bound, told, limits)
            _run(app, bound)
        finally:
            worker.close()
    say("coleaf serve: ended")


def _announce(bound: socket.socket, told: dict[str, str], limits: Limits) -> None:
    address, port = bound.getsockname()[:2]
    if not _is_loopback(address):
        say(
            f"WARNING: {address} can be reached by other machines, and the service asks nobody who they are: whoever "
            "reaches it can use it. Put a proxy with authentication before it",
            sys.stderr,
        )
    bound.listen()
    shown = f"[{address}]" if ":" in address else address
    say(f"coleaf serve: http://{shown}:{port} parses with {told['about']}; Ctrl-C ends it")
    say(f"limits: {limits.told()}")
    say(told["memory"])
    sys.stdout.flush()


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def _run(app: Any, bound: socket.socket) -> None:
    logging.getLogger("coleaf_framework.serving").setLevel(logging.INFO)
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", access_log=False, log_config=None, proxy_headers=False,
        server_header=False, timeout_graceful_shutdown=_GRACE,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run(sockets=[bound])
    except (KeyboardInterrupt, SystemExit):  # uvicorn raises the signal that ended it again
        return


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound but does not listen yet: what connects is told at once that nobody is there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except socket.gaierror as problem:
        raise OSError(f"--host {host}: {problem.strerror}") from None
    with bound:
        if os.name == "posix":  # elsewhere it would let two services share the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as problem:
            raise OSError(f"{host}, port {port}: {problem.strerror}; --port 0 takes a free port") from None
        yield bound


@contextmanager
def _private_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="coleaf-serve-"))  # which only this user may enter
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ends_by_signal() -> Iterator[None]:
    """Within this, SIGTERM ends the process as `sys.exit(0)` does, so that files are removed."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
