"""What every request passes first: its host, where it comes from, its id, headers of the answer, and a last net."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coleaf_framework._text import one_line
from coleaf_framework.serving.limits import Refusal

_log = logging.getLogger(__name__)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with "no-referrer" browsers send "Origin: null" with a form
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """The outermost part of the application.

    Args:
        app: The rest.
        hosts: Names under which the service may be addressed; IP addresses and localhost always may.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        name, start, status = secrets.token_hex(4), time.monotonic(), 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = name
                for key, value in _HEADERS.items():
                    headers.setdefault(key, value)
            await send(message)

        try:
            self._check(scope["method"], Headers(scope=scope))
            await self._app(scope, receive, send_on)
        except Refusal as refusal:
            await answer(refusal)(scope, receive, send_on)
        except Exception:
            _log.exception("request %s failed", name)
            if not status:
                sentence = f"a fault of the service, whose log tells more under {name}"
                await answer(Refusal(500, sentence))(scope, receive, send_on)
        finally:
            seconds = time.monotonic() - start
            _log.info("%s %s %s %s %.2f s", name, scope["method"], one_line(scope["path"])[:80], status or "-", seconds)
        return None

    def _check(self, method: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._known(host):
            raise Refusal(
                421, f"this service is not called {one_line(host)[:80]!r}: name it with --allow-host if it is"
            )
        if method in ("GET", "HEAD", "OPTIONS"):  # change nothing, and other origins cannot read the answer
            return
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site not in (None, "same-origin", "none") or (origin is not None and _place(origin) != host.lower()):
            raise Refusal(403, "a page of another origin sent this; only the service's own page and programs may")

    def _known(self, host: str) -> bool:
        """Whether a Host header is an address, or a name that the service has.

        A page on another machine can make its own name lead here (DNS rebinding), but not an address.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:  # such as an open bracket
            return False
        return name in self._hosts or is_address(name)


def _place(origin: str) -> str:
    """Host and port of an Origin header; empty if it has none, as "null"."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # such as an open bracket
        return ""


def is_address(name: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def answer(refusal: Refusal) -> JSONResponse:
    """The response of a refusal."""
    return JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)
