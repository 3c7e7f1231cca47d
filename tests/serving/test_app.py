"""The service's routes with a worker that answers at once: limits, errors, cross-site requests, the queue, cleaning."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from httpx import ASGITransport, AsyncClient, Response
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from coleaf_framework.serving.app import make_app
from coleaf_framework.serving.containers import HEAD, ending_of
from coleaf_framework.serving.limits import Limits, Refusal
from coleaf_framework.serving.queue import Queue
from coleaf_framework.serving.uploads import display_name
from coleaf_framework.serving.worker_process import Job
from tests.helpers.command import Command

HERE = "http://127.0.0.1:8000"
MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(500)
LIMITS = Limits(upload_megabytes=0.2, page_megabytes=0.1, upload_seconds=5, waiting=2)


class Answering:
    """Stands in for the worker: answers with what it was asked, or raises."""

    def __init__(self) -> None:
        self.alive, self.jobs, self.kills = True, [], 0
        self.problem: Exception | None = None
        self.start_problem: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def start(self) -> None:
        if self.start_problem:
            raise self.start_problem
        self.alive = True

    def ask(self, job: Job) -> bytes:
        content = Path(job.folder, job.file).read_bytes()
        Path(job.folder, "litter").write_bytes(b"x")
        self.jobs.append(job)
        assert self.go.wait(20)
        if self.problem:
            raise self.problem
        return json.dumps({"name": job.name, "bytes": len(content), "form": job.form}).encode()

    def kill(self) -> None:
        self.alive, self.kills = False, self.kills + 1


class Served:
    """An application, its worker, its folder and a client."""

    def __init__(self, folder: Path, limits: Limits = LIMITS) -> None:
        self.worker, self.folder = Answering(), folder
        self.queue = Queue(self.worker, limits.waiting)
        self.app = make_app(self.queue, folder, limits, "HAN, recipe told", ["video.example"])
        self.client = TestClient(self.app, base_url=HERE)

    def post(self, path: str = "/parse", content: bytes = MP4, name: str = "clip.mp4", **more: Any) -> Response:
        response: Response = self.client.post(path, files={"video": (name, content)}, **more)
        assert not list(self.folder.iterdir())
        return response


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def refused(response: Response, status: int) -> str:
    """The sentence of an error."""
    assert response.status_code == status, response.text
    content = response.json()
    assert content.keys() == {"error"}
    assert "\n" not in content["error"]
    sentence: str = content["error"]
    return sentence


@pytest.mark.parametrize("path", ["/parse", "/page"])
def test_an_upload_is_parsed_whole_under_its_own_name(served: Served, path: str) -> None:
    response = served.post(path, MP4 + bytes(50_000), "my clip.mp4")
    assert response.status_code == 200
    assert response.json() == {
        "name": "my clip.mp4",
        "bytes": len(MP4) + 50_000,
        "form": {"/parse": "events"}.get(path, "page"),
    }


def test_a_clients_file_name_is_never_a_path(served: Served) -> None:
    response = served.post(name="../../etc/pass\x1bwd.sh")
    assert response.json()["name"] == r"pass\x1bwd.sh"
    assert re.fullmatch(r"[0-9a-f]{16}\.mp4", served.worker.jobs[0].file)


@given(st.text())
def test_a_shown_name_is_short_and_printable_and_has_no_folder(name: str) -> None:
    shown = display_name(name)
    assert len(shown) <= 100
    assert "/" not in shown
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", shown)


def test_too_large_is_refused_by_its_length_before_it_is_read(served: Served) -> None:
    body = b"x" * 300_000
    assert "0.2 MB" in refused(served.post(content=MP4 + body), 413)
    assert "0.1 MB" in refused(served.post("/page", MP4 + bytes(190_000)), 413)
    assert not served.worker.jobs


def chunked(content: bytes) -> Iterator[bytes]:
    """A form in chunks, so that no Content-Length says how long it is."""
    yield b'--b\r\nContent-Disposition: form-data; name="video"; filename="clip.mp4"\r\n\r\n' + content[:300]
    for start in range(300, len(content), 10_000):
        yield content[start : start + 10_000]
    yield b"\r\n--b--\r\n"


CHUNKED = {"Content-Type": "multipart/form-data; boundary=b"}


def test_too_large_is_refused_by_counting_where_no_length_is_told(served: Served) -> None:
    fits = served.client.post("/parse", content=chunked(MP4 + bytes(100_000)), headers=CHUNKED)
    assert fits.json()["bytes"] == len(MP4) + 100_000
    response = served.client.post("/parse", content=chunked(MP4 + bytes(200_000)), headers=CHUNKED)
    assert "0.2 MB" in refused(response, 413)
    assert not list(served.folder.iterdir())


def test_a_form_of_only_padding_is_bounded_too(served: Served) -> None:
    response = served.client.post("/parse", content=iter([b"\r\n" * 5_000] * 60), headers=CHUNKED)
    assert response.status_code in (400, 413)
    assert not list(served.folder.iterdir())


async def slow() -> AsyncIterator[bytes]:
    yield next(chunked(MP4))
    await asyncio.sleep(60)


def test_a_slow_upload_is_given_up_without_holding_the_worker(tmp_path: Path) -> None:
    served = Served(tmp_path, LIMITS.model_copy(update={"upload_seconds": 0.2}))

    async def check() -> None:
        async with AsyncClient(transport=ASGITransport(served.app), base_url=HERE) as client:
            upload = asyncio.create_task(client.post("/parse", content=slow(), headers=CHUNKED))
            await asyncio.sleep(0.05)
            assert (await client.post("/parse", files={"video": MP4})).status_code == 200
            assert "longer than 0.2 s" in refused(await upload, 408)

    asyncio.run(check())
    assert not list(tmp_path.iterdir())
    assert served.queue.uploads == 0


FIELD = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
FILE = b'; filename="a.mp4"'
END = b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (FIELD % (b"file", FILE) + MP4 + END, 422, "another field"),
        (FIELD % (b"video", b"") + MP4 + END, 422, "another field"),
        ((FIELD % (b"video", FILE) + MP4 + b"\r\n") * 2 + b"--b--\r\n", 422, "has more"),
        (FIELD % (b"video", FILE) + MP4, 400, "ends too early"),
        (FIELD % (b"video", FILE) + END, 422, "a.mp4: is empty"),
        (FIELD % (b"video", b'; filename=""') + END, 422, "no file was chosen"),
        (b"--b\r\nX: " + b"y" * 20_000 + b"\r\n\r\n" + END, 400, "header"),
        (b"nonsense", 400, "malformed"),
        (b"", 400, "ends too early"),
    ],
)
def test_another_form_is_refused_in_a_sentence(served: Served, body: bytes, status: int, sentence: str) -> None:
    response = served.client.post("/parse", content=body, headers=CHUNKED)
    assert sentence in refused(response, status)
    assert not list(served.folder.iterdir())


def test_no_form_is_refused_in_a_sentence(served: Served) -> None:
    assert "multipart/form-data" in refused(served.client.post("/parse", content=MP4), 415)
    assert "multipart/form-data" in refused(served.client.post("/parse", json={}), 415)


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile other.mp4\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"ID3\x03\x00\x00\x00\x00\x00\x00#EXTM3U\nfile:///etc/passwd\n",
        b"a text file named clip.mp4",
        b"\x00",
    ],
)
def test_what_is_no_media_file_never_reaches_ffmpeg(served: Served, content: bytes) -> None:
    assert "clip.mp4: begins as none of" in refused(served.post(content=content), 415)
    assert not served.worker.jobs


def test_a_files_kind_is_told_by_its_content() -> None:
    assert ending_of(MP4[:HEAD]) == ".mp4"
    assert ending_of(b"\x1aE\xdf\xa3" + bytes(20)) == ".webm"
    assert ending_of(b"RIFF\x00\x00\x00\x00AVI LIST") == ".avi"
    assert ending_of(b"RIFF\x00\x00\x00\x00WEBPVP8 ") is None
    packets = (b"G" + bytes(187)) * 3
    assert ending_of(packets[:HEAD]) == ".ts"
    assert ending_of(b"Good morning".ljust(HEAD)) is None


@pytest.mark.parametrize(
    ("problem", "status"),
    [(Refusal(422, "clip.mp4: damaged"), 422), (Refusal(504, "clip.mp4: was not parsed within 5 s"), 504)],
)
def test_what_the_worker_refuses_is_answered_and_nothing_stays(served: Served, problem: Refusal, status: int) -> None:
    served.worker.problem = problem
    assert refused(served.post(), status) == problem.sentence


def test_a_fault_is_logged_under_an_id_and_not_shown(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.worker.problem = RuntimeError("Traceback: secret place")
    response = served.post()
    sentence = refused(response, 500)
    assert "secret" not in response.text
    name = response.headers["X-Request-Id"]
    assert name in sentence
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert name in record.getMessage()
    assert "secret place" in str(record.exc_info)


def test_errors_of_the_routes_themselves_are_sentences(served: Served) -> None:
    assert "/docs" in refused(served.client.get("/nothing"), 404)
    assert "does not take GET" in refused(served.client.get("/parse"), 405)
    assert "'/parse/'" in refused(served.client.post("/parse/"), 404)
    assert refused(served.client.get("/%1b%5b2J%e2%80%ae"), 404).isprintable()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": HERE}, 200),
        ({"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": HERE, "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_page_of_another_origin_cannot_post(served: Served, headers: dict[str, str], status: int) -> None:
    response = served.post(headers=headers)
    assert response.status_code == status
    assert len(served.worker.jobs) == (status == 200)
    assert not any(name.startswith("access-control") for name in response.headers)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST.", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("192.168.0.7:8000", 200),
        ("video.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8000", 421),
        ("localhost@evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_name_that_is_not_the_services_is_refused(served: Served, host: str, status: int) -> None:
    assert served.client.get("/health", headers={"Host": host}).status_code == status


def test_every_answer_forbids_storing_sniffing_and_framing(served: Served) -> None:
    for response in (
        served.client.get("/"), served.client.get("/docs"), served.client.get("/openapi.json"), served.post(),
        served.post("/page"), served.client.get("/nothing"), served.client.get("/", headers={"Host": "evil.example"}),
    ):  # fmt: skip
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy


def test_the_player_cannot_call_the_service(served: Served) -> None:
    policy = served.post("/page").headers["Content-Security-Policy"]
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_no_page_loads_anything_from_the_network(served: Served, path: str) -> None:
    text = served.client.get(path).text
    assert not re.search(r"(?:src|href)=[\"'](?:https?:)?//", text)
    assert "<script src" not in text


def test_the_routes_page_and_openapi_name_every_route(served: Served) -> None:
    described = served.client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/", "/parse", "/page", "/health", "/docs"}
    schema = described["paths"]["/parse"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["video"]["format"] == "binary"
    text = served.client.get("/docs").text
    for path, methods in described["paths"].items():
        for method in methods:
            assert f"<td>{method.upper()} {path}</td>" in text
    assert "429" in text


def test_errors_are_described_as_the_json_that_they_are(served: Served) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    answers = paths["/page"]["post"]["responses"]
    assert list(answers["200"]["content"]) == ["text/html"]
    assert {tuple(told["content"]) for status, told in answers.items() if status != "200"} == {("application/json",)}
    assert served.post("/page", b"no video").headers["content-type"] == "application/json"


def test_names_of_runs_are_escaped_in_pages(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    app = make_app(Queue(Answering(), 1), tmp_path, LIMITS, nasty)
    client = TestClient(app, base_url=HERE)
    for path in ("/", "/docs"):
        assert nasty not in client.get(path).text


def test_health_tells_whether_the_worker_is_there(served: Served) -> None:
    told = served.client.get("/health")
    assert (told.status_code, told.json()) == (200, {"status": "ready", "parser": "HAN, recipe told", "inside": 0})
    served.worker.alive = False
    told = served.client.get("/health")
    assert (told.status_code, told.json()["status"]) == (503, "starting")


def test_asking_for_health_starts_a_worker_that_ended_while_nothing_was_parsed(served: Served) -> None:
    served.worker.alive = False

    async def check() -> int:
        async with AsyncClient(transport=ASGITransport(served.app), base_url=HERE) as client:
            for _ in range(200):
                status = (await client.get("/health")).status_code
                if status == 200:
                    break
                await asyncio.sleep(0.01)
            return status

    assert asyncio.run(check()) == 200


def test_a_full_line_refuses_at_once_and_says_when_to_come_again(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.worker.go.clear()

    async def check() -> None:
        async with AsyncClient(transport=ASGITransport(served.app), base_url=HERE, timeout=20) as client:

            def post() -> asyncio.Task[Response]:
                return asyncio.create_task(client.post("/parse", files={"video": MP4}))

            first = [post() for _ in range(LIMITS.waiting + 1)]
            while served.queue.inside <= LIMITS.waiting or not served.worker.jobs:
                await asyncio.sleep(0.01)
            late = await post()
            assert f"{LIMITS.waiting} wait" in refused(late, 429)
            assert int(late.headers["Retry-After"]) >= 1
            assert len(served.worker.jobs) == 1
            served.worker.go.set()
            assert [response.status_code for response in await asyncio.gather(*first)] == [200] * 3
            assert (await post()).status_code == 200

    asyncio.run(check())
    assert served.queue.inside == 0
    assert not list(tmp_path.iterdir())


def test_only_so_many_upload_at_a_time(tmp_path: Path) -> None:
    served = Served(tmp_path, LIMITS.model_copy(update={"upload_seconds": 1}))

    async def check() -> None:
        async with AsyncClient(transport=ASGITransport(served.app), base_url=HERE) as client:
            slow_ones = [
                asyncio.create_task(client.post("/parse", content=slow(), headers=CHUNKED))
                for _ in range(LIMITS.waiting + 1)
            ]
            while served.queue.uploads <= LIMITS.waiting:
                await asyncio.sleep(0.01)
            late = await client.post("/parse", files={"video": MP4})
            assert "3 videos are being uploaded" in refused(late, 429)
            assert [response.status_code for response in await asyncio.gather(*slow_ones)] == [408] * 3

    asyncio.run(check())
    assert not list(tmp_path.iterdir())


def test_a_cancelled_request_kills_the_worker_rather_than_leave_its_answer_to_the_next(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.worker.go.clear()

    async def check() -> None:
        async with AsyncClient(transport=ASGITransport(served.app), base_url=HERE) as client:
            request = asyncio.create_task(client.post("/parse", files={"video": MP4}))
            while not served.worker.jobs:
                await asyncio.sleep(0.01)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            assert served.worker.kills == 1
            served.worker.go.set()
            assert (await client.post("/parse", files={"video": MP4})).status_code == 200

    asyncio.run(check())
    assert not list(tmp_path.iterdir())


def test_who_left_while_waiting_is_not_parsed(served: Served) -> None:
    async def gone() -> bool:
        return True

    with pytest.raises(Refusal, match="left"):
        asyncio.run(served.queue.parse(Job("folder", "file", "clip.mp4", "events"), gone))
    assert not served.worker.jobs
    assert served.queue.inside == 0


def test_a_worker_that_does_not_start_again_is_said(served: Served) -> None:
    served.worker.alive, served.worker.start_problem = False, ValueError("runs/x: no such run")
    assert "no worker" in refused(served.post(), 503)
    served.worker.start_problem = None
    assert served.post().status_code == 200


def test_without_the_extra_the_command_says_how_to_install_it(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = coleaf("serve", "--run", "run", fails=True)
    assert "serving needs fastapi: pip install 'coleaf-framework[serve]'" in said


@settings(max_examples=60)
@given(
    st.sampled_from(["/parse", "/page"]),
    st.one_of(st.binary(max_size=2000), st.integers(0, 260_000).map(lambda n: MP4 + bytes(n))),
    st.text(max_size=40),
    st.sampled_from([None, Refusal(422, "no"), RuntimeError("fault"), ValueError("odd")]),
    st.integers(0, 60),
)
def test_no_file_is_left_whatever_is_sent(
    tmp_path_factory: pytest.TempPathFactory, path: str, content: bytes, name: str, problem: Any, cut: int
) -> None:
    served = Served(tmp_path_factory.mktemp("served"))
    served.worker.problem = problem
    body = b"".join(chunked(content)).replace(b"clip.mp4", re.sub(r'["\r\n]', "", name).encode("utf-8", "replace"))
    response = served.client.post(path, content=body[: len(body) - cut], headers=CHUNKED)
    assert response.status_code == 200 or response.json().keys() == {"error"}
    assert not list(served.folder.iterdir())
    assert (served.queue.inside, served.queue.uploads) == (0, 0)
