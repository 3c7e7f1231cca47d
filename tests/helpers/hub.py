"""A stand-in for the Hugging Face Hub: as much of its API as pushing and fetching a repository needs, on loopback.

It keeps commits in memory and answers huggingface_hub's own requests, so that the real client is tested. Small files
are committed in the request itself and those that git would keep by LFS are uploaded first, as on the Hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_stand_in"
_LFS = (".safetensors", ".bin")


@dataclass
class Repository:
    """Commits, oldest first, and what the Hub says of it; `error` is the code with which it refuses to be read."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    private: bool = False
    error: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)  # that it claims, of files that are not so large

    def commit(self, files: dict[str, bytes], message: str = "") -> str:
        sha = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[sha] = files
        self.messages.append(message)
        return sha

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def resolved(self, revision: str) -> str | None:
        return self.head if revision == "main" and self.commits else revision if revision in self.commits else None


class StandIn:
    """The Hub: its repositories, and every request that reached it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.broken = False
        self.url = ""

    def fetched(self) -> set[str]:
        """Names of the files that were asked for."""
        return {path.rpartition("/")[2] for path in self.requests if "/resolve/" in path}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, body: bytes | Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {"error": code}, X_Error_Code=code)

    def _handle(self) -> None:
        self.path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {self.path}")
        if self.hub.broken:
            self._answer(503)
            return
        writes = self.command in ("POST", "PUT") and not self.path.startswith("/blobs/")
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
            return
        for pattern, method in _ROUTES:
            if found := re.fullmatch(pattern, self.path):
                method(self, body, **found.groupdict())
                return
        self._refuse(404, "RepoNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.hub.repositories
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories.setdefault(name, Repository(private=private))
        self._answer(409 if known else 200, {"url": f"{self.hub.url}/{name}"})

    def _validate(self, body: bytes) -> None:
        assert json.loads(body)["content"].startswith("---\n")
        self._answer(200, {"errors": [], "warnings": []})

    def _preupload(self, body: bytes, repo: str, revision: str) -> None:
        if revision != "main":
            self._refuse(404, "RevisionNotFound")
            return
        files = [
            {"path": x["path"], "uploadMode": "lfs" if x["path"].endswith(_LFS) else "regular", "shouldIgnore": False}
            for x in json.loads(body)["files"]
        ]
        self._answer(200, {"files": files})

    def _batch(self, body: bytes, repo: str) -> None:
        objects = [
            {
                "oid": x["oid"],
                "size": x["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/blobs/{x['oid']}", "header": {}}},
            }
            for x in json.loads(body)["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _upload(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.blobs[oid] = body
        self._answer(200)

    def _commit(self, body: bytes, repo: str, revision: str) -> None:
        repository = self.hub.repositories[repo]
        files = dict(repository.commits[repository.head]) if repository.commits else {}
        message = ""
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files, message)
        self._answer(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{sha}", "commitOid": sha, "success": True})

    def _files(self, repo: str, revision: str) -> tuple[Repository, str, dict[str, bytes]] | None:
        repository = self.hub.repositories.get(repo)
        seen = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not seen):
            self._refuse(401, "RepoNotFound")
            return None
        if repository.error is not None:
            self._refuse(403, repository.error)
            return None
        sha = repository.resolved(revision)
        if sha is None and repository.commits:
            self._refuse(404, "RevisionNotFound")
            return None
        return repository, sha or "0" * 40, repository.commits[sha] if sha else {}

    def _info(self, body: bytes, repo: str, revision: str = "main") -> None:
        if found := self._files(repo, revision):
            repository, sha, files = found
            sizes = {name: len(content) for name, content in files.items()} | repository.sizes
            siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
            self._answer(200, {"id": repo, "sha": sha, "private": repository.private, "siblings": siblings})

    def _tree(self, body: bytes, repo: str, revision: str) -> None:
        if found := self._files(repo, revision):
            entries = [
                {"type": "file", "path": name, "size": len(x), "oid": hashlib.sha1(x).hexdigest()} | _lfs(name, x)
                for name, x in found[2].items()
            ]
            self._answer(200, entries)

    def _resolve(self, body: bytes, repo: str, revision: str, name: str) -> None:
        found = self._files(repo, revision)
        if found is None:
            return
        if name not in found[2]:
            self._refuse(404, "EntryNotFound")
            return
        content = found[2][name]
        self._answer(
            200,
            content,
            X_Repo_Commit=found[1],
            ETag=f'"{hashlib.sha256(content).hexdigest()}"',
            Content_Length=str(len(content)),
            Accept_Ranges="bytes",
        )


def _lfs(name: str, content: bytes) -> dict[str, Any]:
    if not name.endswith(_LFS):
        return {}
    return {"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}


_REPO, _REVISION = r"(?P<repo>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
_ROUTES: list[tuple[str, Any]] = [
    (r"/api/repos/create", _Handler._create),
    (r"/api/validate-yaml", _Handler._validate),
    (rf"/api/models/{_REPO}/preupload/{_REVISION}", _Handler._preupload),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler._batch),
    (r"/blobs/(?P<oid>\w+)", _Handler._upload),
    (rf"/api/models/{_REPO}/commit/{_REVISION}", _Handler._commit),
    (rf"/api/models/{_REPO}/revision/{_REVISION}", _Handler._info),
    (rf"/api/models/{_REPO}/tree/{_REVISION}", _Handler._tree),
    (rf"/api/models/{_REPO}", _Handler._info),
    (rf"/{_REPO}/resolve/{_REVISION}/(?P<name>.+)", _Handler._resolve),
]


@contextmanager
def stand_in(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The Hub that huggingface_hub talks to in this process, with a cache of its own; nothing else can be reached."""
    from huggingface_hub import constants, file_download

    hub = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    for module in (constants, file_download):  # older versions keep a copy
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # unknown to older ones
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    _allow_loopback_alone(monkeypatch)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _allow_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a test reaches out to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
