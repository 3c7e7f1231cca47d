"""`coleaf serve` as a process: a real run, real clients, a browser, signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
pytest.importorskip("av", reason="needs the extra `video`")

from coleaf_framework.parsing import VideoParser
from coleaf_framework.results.events_file import write_events
from coleaf_framework.serving.limits import Limits
from tests.helpers.browser import Browser, needs_browser
from tests.helpers.command import Command
from tests.helpers.parsing import CLIPS, write_run

CLIP = next(clip for clip in CLIPS if clip.stem == "tuxva000002")
pytestmark = pytest.mark.slow


class Server:
    """A running service."""

    def __init__(self, run: Path, folder: Path, *options: object) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coleaf_framework", "serve", "--run", str(run), "--port", "0", *map(str, options)],
            stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ, "TMPDIR": str(self.temporary)},
        )  # fmt: skip
        self.said = [self.process.stdout.readline() for _ in range(3)]
        self.url = re.search(r"http://\S+", self.said[0])[0]

    def post(self, path: str, content: bytes, name: str = "clip.mp4", timeout: float = 120) -> tuple[int, bytes]:
        """Status and content."""
        head = f'--b\r\nContent-Disposition: form-data; name="video"; filename="{name}"\r\n\r\n'.encode()
        request = urllib.request.Request(
            self.url + path, head + content + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as problem:
            return problem.code, problem.read()

    def end(self, number: int = signal.SIGTERM) -> str:
        """End it by a signal, and return what it still prints."""
        self.process.send_signal(number)
        printed, _ = self.process.communicate(timeout=60)
        return printed

    def left(self) -> list[str]:
        """Its temporary files."""
        return [path.name for path in self.temporary.glob("coleaf*")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(run, tmp_path_factory.mktemp("server"), "--max-megabytes", 3, "--max-seconds", 60)
    yield started
    started.process.kill()
    started.process.communicate()


def test_its_first_lines_say_where_it_is_what_parses_and_what_is_refused(server: Server) -> None:
    assert re.match(r"coleaf serve: http://127\.0\.0\.1:\d+ parses with HAN.* \(small\), recipe tiny", server.said[0])
    assert "3 MB" in server.said[1]
    assert "memory" in server.said[2]
    with urllib.request.urlopen(f"{server.url}/health") as response:
        assert json.load(response)["status"] == "ready"


def test_a_client_gets_the_events_that_the_parser_gives(server: Server, run: Path, tmp_path: Path) -> None:
    status, content = server.post("/parse", CLIP.read_bytes(), CLIP.name)
    assert status == 200
    (expected,), failed = VideoParser(run).parse([CLIP])
    assert not failed
    assert expected.events()
    path = tmp_path / "events.json"
    write_events(path, expected.parser, "media files", "test", [expected.as_video_events()], expected.notes)
    assert json.loads(content) == json.loads(path.read_text())
    (folder,) = server.temporary.glob("coleaf-serve-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(folder.iterdir())


def test_a_client_that_reads_only_after_it_has_sent_everything_is_told_why(server: Server) -> None:
    status, content = server.post("/parse", CLIP.read_bytes() + bytes(9_000_000))
    assert (status, "3 MB" in json.loads(content)["error"]) == (413, True)


@pytest.mark.parametrize(
    ("content", "statuses"),
    [(CLIP.read_bytes()[:40_000], (415, 422)), (b"\x00\x00\x00\x18ftypisom" + os.urandom(3000), (415, 422))],
)
def test_a_damaged_video_is_refused_by_the_clients_name(
    server: Server, content: bytes, statuses: tuple[int, ...]
) -> None:
    status, answer = server.post("/parse", content, "hurt.mp4")
    assert status in statuses
    assert json.loads(answer)["error"].startswith("hurt.mp4: ")
    assert str(server.temporary) not in answer.decode()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs_browser()
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def choose(browser: Browser, file: Path) -> None:
    """Choose a file in the form, as a user does."""
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#video")["nodeId"]
    browser.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)


PLAYS = """(async () => { let v;
  while (!(v = document.querySelector('video'))) await new Promise((done) => setTimeout(done, 20));
  if (v.readyState < 1) await new Promise((done, fail) => { v.onloadedmetadata = done; v.onerror = fail; });
  return v.duration; })()"""


def test_a_video_uploaded_in_a_browser_plays_beside_its_events(server: Server, browser: Browser) -> None:
    browser.open(server.url)
    choose(browser, CLIP)
    browser.run("document.getElementById('video').focus()")
    browser.press("Tab")
    browser.press("Enter")  # by keyboard alone
    browser.until("!document.getElementById('result').hidden", 60)
    assert browser.run("document.getElementById('status').textContent") == f"Done: {CLIP.name}"
    assert browser.run_in_frame(PLAYS) == pytest.approx(10, abs=0.2)
    assert CLIP.stem in browser.run_in_frame("document.body.textContent")
    saved = browser.download("document.getElementById('link')")
    assert saved.name == f"{CLIP.name}.html"
    assert "data:video/mp4;base64," in saved.read_text()


def test_the_form_alone_leads_to_the_player_without_our_script(server: Server, browser: Browser) -> None:
    browser.open(server.url)
    choose(browser, CLIP)
    browser.run("HTMLFormElement.prototype.submit.call(document.getElementById('form'))")
    browser.until("location.pathname === '/page' && document.readyState === 'complete'", 60)
    assert browser.run(PLAYS) == pytest.approx(10, abs=0.2)
    assert browser.run(f"fetch('{server.url}/health').then(() => 'came through', () => 'refused')") == "refused"


def test_errors_stand_on_the_upload_page(server: Server, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    browser.open(server.url)
    choose(browser, tmp_path / "notes.mp4")
    browser.click("document.getElementById('send')")
    assert browser.until("document.getElementById('error').textContent", 30).startswith("notes.mp4: begins as none of")
    (tmp_path / "large.mp4").write_bytes(bytes(4_000_000))
    choose(browser, tmp_path / "large.mp4")
    browser.click("document.getElementById('send')")
    said = browser.until("/large/.test(document.getElementById('error').textContent) && error.textContent", 30)
    assert "at most 3" in said


def test_pages_fit_a_phone(server: Server, browser: Browser) -> None:
    browser.size(360, 700)
    for path in ("/", "/docs"):
        browser.open(server.url + path)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), path
    browser.size(1280, 900)


def test_a_page_of_another_origin_cannot_use_the_service(server: Server, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "evil.html"
    page.write_text("evil")
    browser.open(page.as_uri())
    script = f"fetch('{server.url}/%s', {{method: '%s', mode: '%s'}}).then((r) => r.type + r.status, () => 'refused')"
    assert browser.run(script % ("health", "GET", "cors")) == "refused"
    assert browser.run(script % ("parse", "POST", "cors")) == "refused"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_after_an_upload_was_broken_off(run: Path, tmp_path: Path, number: int) -> None:
    server = Server(run, tmp_path)
    assert server.left()
    with socket.create_connection(server.url.rpartition("/")[2].split(":")) as client:
        client.sendall(b"POST /parse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
                       b"Content-Type: multipart/form-data; boundary=b\r\n\r\n")  # fmt: skip
        client.sendall(b'--b\r\nContent-Disposition: form-data; name="video"; filename="a"\r\n\r\n' + bytes(5000))
        while not list(server.temporary.glob("coleaf-serve-*/*")):
            time.sleep(0.01)
    assert server.end(number) == "coleaf serve: ended\n"
    assert server.process.returncode == 0
    assert not server.left()
    server.log.seek(0)
    assert "Traceback" not in server.log.read()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_signal_ends_it_even_while_a_video_is_parsed_without_end(run: Path, tmp_path: Path) -> None:
    server = Server(run, tmp_path)
    (worker,) = workers(server.process.pid)
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(server.post, "/parse", CLIP.read_bytes())
        while not list(server.temporary.glob("coleaf-serve-*/*/*.mp4")):
            time.sleep(0.01)
        assert server.end() == "coleaf serve: ended\n"
        with contextlib.suppress(OSError):  # the connection ends, with an answer or without
            assert waiting.result()[0] >= 500
    assert server.process.returncode == 0
    assert not server.left()
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_after_a_video_that_takes_too_long_a_new_worker_parses_the_next(run: Path, tmp_path: Path) -> None:
    server = Server(run, tmp_path, "--timeout", "10")
    try:
        (old,) = workers(server.process.pid)
        os.kill(old, signal.SIGSTOP)
        status, content = server.post("/parse", CLIP.read_bytes())
        assert (status, json.loads(content)["error"]) == (504, "clip.mp4: was not parsed within 10 s")
        status, content = server.post("/parse", CLIP.read_bytes())
        assert (status, list(json.loads(content)["videos"])) == (200, ["clip"])
        (new,) = workers(server.process.pid)
        assert new != old
        (folder,) = server.temporary.glob("coleaf-serve-*")
        assert not list(folder.iterdir())
    finally:
        server.end()
    assert not server.left()


def workers(server: int) -> list[int]:
    """Ids of a server's worker processes."""
    found = Path(f"/proc/{server}/task").glob("*/children")
    children = [child for path in found for child in path.read_text().split()]
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


def test_what_cannot_be_served_is_refused_before_the_port_opens(coleaf: Command, run: Path, tmp_path: Path) -> None:
    assert "no such" in coleaf("serve", "--run", tmp_path / "none", "--port", "0", fails=True)
    assert "page_megabytes" in coleaf("serve", "--run", run, "--max-page-megabytes", "0", fails=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = coleaf("serve", "--run", run, "--port", port, fails=True)
    assert f"127.0.0.1, port {port}: Address already in use" in said
    assert "trained on features of the recipe" in coleaf(
        "serve", "--run", run, "--port", "0", "--features", "llp", fails=True
    )


def test_the_commands_defaults_are_those_of_the_limits() -> None:
    from inspect import signature

    from coleaf_framework.cli.serving import serve

    given = {name: parameter.default for name, parameter in signature(serve).parameters.items()}
    limits = Limits()
    assert (given["max_megabytes"], given["max_page_megabytes"]) == (limits.upload_megabytes, limits.page_megabytes)
    assert (given["max_seconds"], given["upload_timeout"]) == (limits.video_seconds, limits.upload_seconds)
    assert (given["timeout"], given["waiting"]) == (limits.parse_seconds, limits.waiting)
    assert given["memory"] == limits.memory_megabytes


def test_an_address_that_others_reach_is_warned_of(run: Path, tmp_path: Path) -> None:
    server = Server(run, tmp_path, "--host", "0.0.0.0")
    server.end()
    server.log.seek(0)
    assert "0.0.0.0 can be reached by other machines, and the service asks nobody who they are" in server.log.read()
